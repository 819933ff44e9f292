"""How somebody stands, holds the head and looks: a library of poses, drawn with some play in every joint.

Angles as `description.Figure.pose` tells them: (forward, outward, twist) in degrees.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .description import Angles
from .draws import bell, between, pick, weighted

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
APART = both(hip=(0, 13, 10), ankle=(0, -8, 0))
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

LEGS: dict[str, Pose] = {"straight": STRAIGHT, "easy": EASY, "apart": APART}
ARMS: dict[str, Pose] = {
    "hanging": HANGING, "hands on hips": ON_HIPS, "arms folded": FOLDED, "hands clasped": CLASPED,
    "hands behind": BEHIND, "waving": HANGING | WAVE, "pointing": HANGING | POINT, "hand at the chin": CHIN,
    "arms open": OPEN, "on the phone": HANGING | PHONE,
}  # fmt: skip
POSES: dict[str, Pose] = {
    **{f"standing, {name}": STRAIGHT | pose for name, pose in ARMS.items()},
    "walking": STEP | SWING_WALK,
    "running": STRIDE | SWING_RUN,
    "cheering": APART | RAISED,
    "arms spread": APART | WIDE,
    "reaching up": EASY | HANGING | REACH,
    "fighting": LUNGE | FISTS,
    "lunging": LUNGE | ON_HIPS,
    "on one leg": ONE_LEG | WIDE,
}
"""Standing poses are drawn with any of `LEGS`."""
CALM = {
    f"standing, {name}": 1.0
    for name in ("hanging", "hands clasped", "hands behind", "hands on hips", "arms folded")
}

# Apple's ARKit names; what goes together and how far it may go before it looks put on.
EXPRESSIONS: dict[str, dict[str, float]] = {
    # The mesh at rest looks stern: its brows are low and its mouth's corners hang.
    "neutral": {
        "mouthSmileLeft": 0.22, "mouthSmileRight": 0.22, "browInnerUp": 0.2,
        "browOuterUpLeft": 0.15, "browOuterUpRight": 0.15,
    },
    "slight smile": {
        "mouthSmileLeft": 0.6, "mouthSmileRight": 0.6, "cheekSquintLeft": 0.2, "cheekSquintRight": 0.2,
        "browInnerUp": 0.2, "browOuterUpLeft": 0.15, "browOuterUpRight": 0.15,
    },
    "smile": {
        "mouthSmileLeft": 0.95, "mouthSmileRight": 0.95, "cheekSquintLeft": 0.45, "cheekSquintRight": 0.45,
        "mouthDimpleLeft": 0.3, "mouthDimpleRight": 0.3,
    },
    "laugh": {
        "mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "jawOpen": 0.3,
        "cheekSquintLeft": 0.6, "cheekSquintRight": 0.6, "eyeSquintLeft": 0.3, "eyeSquintRight": 0.3,
        "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3,
    },
    "frown": {"browDownLeft": 0.6, "browDownRight": 0.6, "mouthFrownLeft": 0.4, "mouthFrownRight": 0.4},
    "sad": {"browInnerUp": 0.7, "mouthFrownLeft": 0.5, "mouthFrownRight": 0.5, "mouthShrugLower": 0.2},
    "surprise": {
        "browInnerUp": 0.6, "browOuterUpLeft": 0.6, "browOuterUpRight": 0.6, "eyeWideLeft": 0.5, "eyeWideRight": 0.5,
        "jawOpen": 0.3,
    },
    "speaking": {"jawOpen": 0.22, "mouthFunnel": 0.2},
    "smirk": {"mouthSmileLeft": 0.65, "mouthSmileRight": 0.1, "browOuterUpRight": 0.3},
    "squint": {"eyeSquintLeft": 0.5, "eyeSquintRight": 0.5, "browDownLeft": 0.25, "browDownRight": 0.25},
    "pout": {"mouthPucker": 0.5, "browInnerUp": 0.2},
}  # fmt: skip
LIKELY = {
    "neutral": 3.5, "slight smile": 3, "smile": 3, "laugh": 1.2, "frown": 0.4, "sad": 0.3, "surprise": 0.7,
    "speaking": 1, "smirk": 0.7, "squint": 0.6, "pout": 0.4,
}  # fmt: skip


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


def sample_pose(random: np.random.Generator, *, calm: bool = False) -> dict[str, Angles]:
    """Draw a pose of the body; the head stays straight.

    Args:
        calm: arms at the body only, for pictures that stop at the hips or of people side by side.
    """
    name = weighted(random, CALM) if calm else pick(random, tuple(POSES))
    pose = dict(POSES[name])
    if name.startswith("standing"):
        pose |= pick(random, tuple(LEGS.values()))
    if random.random() < 0.5:
        pose = _mirrored(pose)
    pose.setdefault("waist", (0, 0, 0))
    pose.setdefault("chest", (0, 0, 0))
    return {
        joint: tuple(round(angle + bell(random, 3, 7), 1) for angle in angles)
        for joint, angles in pose.items()
    }


def sample_expression(random: np.random.Generator) -> dict[str, float]:
    """Draw an expression, stronger or weaker."""
    name = weighted(random, LIKELY)
    strength = random.uniform(0.65, 1)
    weights = {unit: strength * weight * random.uniform(0.8, 1) for unit, weight in EXPRESSIONS[name].items()}
    if random.random() < 0.5:
        lids = between(random, 0, 0.18)
        weights |= {"eyeBlinkLeft": lids, "eyeBlinkRight": lids}
    return {unit: round(float(weight), 3) for unit, weight in weights.items()}


def _mirrored(pose: Pose) -> dict[str, Angles]:
    other = {"left": "right", "right": "left"}
    turned = {}
    for joint, (forward, outward, twist) in pose.items():
        side, _, rest = joint.partition("_")
        if side in other:
            turned[f"{other[side]}_{rest}"] = (forward, outward, twist)
        else:
            turned[joint] = (forward, -outward, -twist)
    return turned
