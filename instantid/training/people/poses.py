"""How somebody stands or sits and holds head and hands: a library of poses, drawn with some play in every joint.

Angles as `description.Figure.pose` tells them: (forward, outward, twist) in degrees.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .description import Angles
from .draws import bell, pick, weighted

Pose = Mapping[str, Angles]


def both(**angles: Angles) -> dict[str, Angles]:
    """The same for the left and the right joint: outward and twist are already told as mirrored."""
    return {f"{side}_{joint}": each for joint, each in angles.items() for side in ("left", "right")}


HANGING = both(shoulder=(4, 9, 0), elbow=(16, 0, 0))
ON_HIPS = both(shoulder=(-14, 42, -42), elbow=(98, 0, 0), wrist=(10, 0, 0))
FOLDED = {
    "left_shoulder": (24, 2, -66), "left_elbow": (92, 0, 0),
    "right_shoulder": (32, 2, -62), "right_elbow": (88, 0, 0),
}  # fmt: skip
CLASPED = both(shoulder=(14, 8, -42), elbow=(58, 0, 0))
BEHIND = both(shoulder=(-28, 14, -30), elbow=(42, 0, 0))
RAISED = both(shoulder=(8, 150, 0), elbow=(14, 0, 0))
OPEN = both(shoulder=(10, 52, 30), elbow=(42, 0, 0), wrist=(-12, 0, 0))
WIDE = both(shoulder=(4, 84, 0), elbow=(8, 0, 0))
WAVE = {"right_shoulder": (8, 78, 82), "right_elbow": (96, 0, 0), "right_wrist": (-6, 0, 0)}
POINT = {"right_shoulder": (82, 10, 0), "right_elbow": (6, 0, 0)}
CHIN = {
    "right_shoulder": (34, 2, -38),
    "right_elbow": (132, 0, 0),
    "left_shoulder": (20, 4, -50),
    "left_elbow": (88, 0, 0),
}
PHONE = {"right_shoulder": (30, 26, -20), "right_elbow": (140, 0, 0)}
REACH = {"left_shoulder": (150, 12, 0), "left_elbow": (12, 0, 0)}
FISTS = {
    "left_shoulder": (42, 10, -12), "left_elbow": (108, 0, 0),
    "right_shoulder": (28, 12, -14), "right_elbow": (122, 0, 0),
}  # fmt: skip

STRAIGHT = both(hip=(0, 4, 4), knee=(-2, 0, 0))
APART = both(hip=(0, 8, 8), ankle=(0, -5, 0))
EASY = {
    "left_hip": (2, 5, 4), "left_knee": (-3, 0, 0), "right_hip": (14, 9, 14), "right_knee": (-24, 0, 0),
    "right_ankle": (8, 0, 0), "waist": (0, 4, 0), "chest": (0, -4, 0),
}  # fmt: skip
STEP = {
    "left_hip": (24, 2, 0), "left_knee": (-8, 0, 0), "right_hip": (-18, 2, 0), "right_knee": (-20, 0, 0),
    "right_ankle": (-14, 0, 0),
}  # fmt: skip
STRIDE = {
    "left_hip": (58, 2, 0), "left_knee": (-62, 0, 0), "right_hip": (-30, 2, 0), "right_knee": (-38, 0, 0),
    "right_ankle": (-28, 0, 0), "waist": (8, 0, 0),
}  # fmt: skip
LUNGE = {
    "left_hip": (62, 8, 8), "left_knee": (-64, 0, 0), "right_hip": (-34, 6, 0), "right_knee": (-14, 0, 0),
    "right_ankle": (24, 0, 0),
}  # fmt: skip
ONE_LEG = {"left_hip": (0, 2, 0), "right_hip": (48, 22, 28), "right_knee": (-96, 0, 0)}
SWING_WALK = {
    "left_shoulder": (-22, 7, 0),
    "left_elbow": (16, 0, 0),
    "right_shoulder": (26, 7, 0),
    "right_elbow": (28, 0, 0),
}
SWING_RUN = {
    "left_shoulder": (-40, 10, 0),
    "left_elbow": (88, 0, 0),
    "right_shoulder": (38, 8, 0),
    "right_elbow": (92, 0, 0),
}

SITTING = both(hip=(84, 9, 6), knee=(-86, 0, 0))
SITTING_WIDE = both(hip=(82, 20, 14), knee=(-84, 0, 0))
ONE_FOOT_AHEAD = {**SITTING, "left_hip": (76, 7, 4), "left_knee": (-46, 0, 0), "left_ankle": (-28, 0, 0)}
ON_THIGHS = both(shoulder=(20, 7, -14), elbow=(44, 0, 0))
ON_KNEES = both(shoulder=(46, 8, -16), elbow=(50, 0, 0)) | {"waist": (14, 0, 0), "chest": (12, 0, 0)}
IN_LAP = both(shoulder=(16, 7, -44), elbow=(62, 0, 0))


@dataclass(frozen=True, kw_only=True)
class Stance:
    """A pose: its joints as `Figure.pose`, what the left and the right hand do, and whether it wants a seat."""

    joints: Pose
    hands: tuple[str, str] = ("relaxed", "relaxed")
    sits: bool = False

    def mirrored(self) -> "Stance":
        """Left and right changed over."""
        other = {"left": "right", "right": "left"}
        turned = {}
        for joint, (forward, outward, twist) in self.joints.items():
            side, _, rest = joint.partition("_")
            if side in other:
                turned[f"{other[side]}_{rest}"] = (forward, outward, twist)
            else:
                turned[joint] = (forward, -outward, -twist)
        return replace(self, joints=turned, hands=self.hands[::-1])


LEGS: dict[str, Pose] = {"straight": STRAIGHT, "easy": EASY, "apart": APART}
SEATED_LEGS: dict[str, Pose] = {"sitting": SITTING, "wide": SITTING_WIDE, "one foot ahead": ONE_FOOT_AHEAD}
ARMS: dict[str, Stance] = {
    "hanging": Stance(joints=HANGING),
    "hands on hips": Stance(joints=ON_HIPS),
    "arms folded": Stance(joints=FOLDED),
    "hands clasped": Stance(joints=CLASPED),
    "hands behind": Stance(joints=BEHIND),
    "waving": Stance(joints=HANGING | WAVE, hands=("relaxed", "open")),
    "pointing": Stance(joints=HANGING | POINT, hands=("relaxed", "pointing")),
    "hand at the chin": Stance(joints=CHIN, hands=("relaxed", "fist")),
    "arms open": Stance(joints=OPEN, hands=("open", "open")),
    "on the phone": Stance(joints=HANGING | PHONE, hands=("relaxed", "fist")),
}
STANCES: dict[str, Stance] = {
    **{f"standing, {name}": replace(arms, joints=STRAIGHT | arms.joints) for name, arms in ARMS.items()},
    "walking": Stance(joints=STEP | SWING_WALK),
    "running": Stance(joints=STRIDE | SWING_RUN, hands=("fist", "fist")),
    "cheering": Stance(joints=APART | RAISED, hands=("fist", "open")),
    "arms spread": Stance(joints=APART | WIDE, hands=("open", "open")),
    "reaching up": Stance(joints=EASY | HANGING | REACH, hands=("open", "relaxed")),
    "fighting": Stance(joints=LUNGE | FISTS, hands=("fist", "fist")),
    "lunging": Stance(joints=LUNGE | ON_HIPS),
    "on one leg": Stance(joints=ONE_LEG | WIDE, hands=("open", "open")),
    **{
        f"sitting, {name}": Stance(joints=SITTING | arms, sits=True)
        for name, arms in (
            ("hands on thighs", ON_THIGHS), ("leaning on the knees", ON_KNEES), ("hands in the lap", IN_LAP),
            ("arms folded", FOLDED),
        )
    },
}  # fmt: skip
"""Standing and sitting ones are drawn with any of `LEGS` or `SEATED_LEGS`."""
CALM = {
    f"standing, {name}": 1.0
    for name in ("hanging", "hands clasped", "hands behind", "hands on hips", "arms folded")
}


@dataclass(frozen=True, kw_only=True)
class Head:
    """How the head is held against the body: degrees, yaw to the person's left, pitch + bows, roll to their left."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    def joints(self) -> dict[str, Angles]:
        """Share the turn between neck and head, as people do."""
        return {
            "neck": (0.4 * self.pitch, 0.4 * self.roll, 0.4 * self.yaw),
            "head": (0.6 * self.pitch, 0.6 * self.roll, 0.6 * self.yaw),
        }


def sample_stance(random: np.random.Generator, *, calm: bool = False, may_sit: bool = True) -> Stance:
    """Draw a pose of the body; the head stays straight.

    Args:
        calm: arms at the body only, for pictures that stop above the hips or of people side by side.
        may_sit: not in a skirt, whose mesh would be pulled apart.
    """
    able = [name for name, stance in STANCES.items() if may_sit or not stance.sits]
    name = weighted(random, CALM) if calm else pick(random, able)
    stance = STANCES[name]
    joints = {"waist": (0, 0, 0), "chest": (0, 0, 0), **stance.joints}
    if name.startswith("standing"):
        joints |= pick(random, tuple(LEGS.values()))
    elif stance.sits:
        joints |= pick(random, tuple(SEATED_LEGS.values()))
    stance = replace(stance, joints=joints)
    if random.random() < 0.5:
        stance = stance.mirrored()
    moved = {
        joint: tuple(round(angle + bell(random, 3, 7), 1) for angle in angles)
        for joint, angles in stance.joints.items()
    }
    hands = tuple(
        pick(random, ("relaxed", "open", "fist")) if hand == "relaxed" and random.random() < 0.25 else hand
        for hand in stance.hands
    )
    return replace(stance, joints=moved, hands=hands)
