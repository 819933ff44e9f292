"""Which pictures are made of a set's people: a list of trials for each protocol. Makes none itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .. import controls, images
from ..bundles import STYLE_PARTS, Bundle
from ..people import Person, Photo
from ..placing import own_fit
from ..request import Control, ControlName, Request
from . import pulid
from .attributes import AGES, ASKED_LOOKS, SEXES, draw_wishes, write_prompt
from .sets import Subject, style_picture

DEFAULT, OFF = "default strengths", "without the face"
HALF, FULL = "strengths 0.5", "strengths 1"
OTHER, SEVERAL, NO_NET = "someone else’s face", "several references", "without IdentityNet"
WORDS, FACE = "words alone", "portrait for likeness"
POSE_ALONE = "pose control, without IdentityNet"
PRESET, STYLE, LESS_CONTENT = "style preset", "style picture", "style picture, content taken out"
STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
CONTROL_STRENGTH = 1.0  # all that a ControlNet was trained to say


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One picture to make, and what it is to show.

    Args:
        condition: what the protocol calls this way to make it.
        subject: number of whom it is to be like; `given`: of whose face is given.
        prompt: in words, without a preset's.
        wishes: what is asked for, by `attributes.ATTRIBUTES`.
        keypoints: (5, 2), where the face is to go, canvas pixels.
        style_of: number of the subject whose painted photo is the style picture, or None.
    """

    condition: str
    subject: int
    given: int
    prompt: str
    wishes: Mapping[str, str]
    keypoints: np.ndarray
    request: Request
    style_of: int | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Which trials of other conditions differ from this one in nothing else."""
        return self.prompt, self.request.seed


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What a protocol gets to plan with.

    Args:
        folder: for style pictures.
        pictures: of each person and prompt, per condition.
        settings: of all requests, by the names of their fields.
        annotators: what reads control maps off photos.
    """

    bundle: Bundle
    subjects: Sequence[Subject]
    folder: Path
    pictures: int
    seed: int
    settings: Mapping[str, object]
    annotators: controls.Annotators

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the pictures."""
        defaults = self.bundle.defaults
        return self.settings.get("width", defaults.width), self.settings.get("height", defaults.height)

    def wanted(self, subject: int, photo: int) -> np.ndarray:
        """(5, 2) keypoints of a photo's face, laid on the canvas as the bundle lays one that poses itself."""
        return self._fit(subject, photo).keypoints(self.subjects[subject].faces[photo].keypoints)

    def control_map(self, name: ControlName, subject: int, photo: int) -> Image.Image:
        """The map of a photo that lies on the canvas as `wanted` has it, RGB."""
        picture = self.subjects[subject].picture(photo)
        draw, pixel = self.annotators.draw, self.bundle.defaults.map_pixel
        return self._fit(subject, photo).reading(picture, lambda placed: draw(name, placed, Control()), pixel)

    def _fit(self, subject: int, photo: int) -> images.Fit:
        who, least = self.subjects[subject], self.bundle.defaults.least_face
        return own_fit(who.sizes[photo], who.faces[photo], self.size, least)

    def trial(
        self,
        condition: str,
        subject: int,
        prompt: str,
        seed: int,
        *,
        wishes: Mapping[str, str] | None = None,
        given: int | None = None,
        references: int = 1,
        posing: int = -1,
        style_of: int | None = None,
        **changes: object,
    ) -> Trial:
        """A picture of somebody, posed by another photo of theirs; `changes` are of the request."""
        given = subject if given is None else given
        keypoints = self.wanted(subject, posing)
        person = Person(
            references=self.subjects[given].references[:references],
            keypoints=np.clip(keypoints / self.size, -1, 2).tolist(),
        )
        width, height = self.size
        own = {"people": [person], "prompt": prompt, "seed": seed, "width": width, "height": height}
        return Trial(
            condition=condition,
            subject=subject,
            given=given,
            prompt=prompt,
            wishes=wishes or {},
            keypoints=keypoints,
            request=Request(**(dict(self.settings) | own | changes)),
            style_of=style_of,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Planned:
    """Trials, and by condition why others cannot be."""

    trials: list[Trial]
    missing: dict[str, str]


def default(plan: Plan) -> Planned:
    """Default strengths, and the same pictures without the face: likeness, prompt following, pose, speed."""
    trials = []
    for subject, prompt, wishes, seed in _asked(plan, prompts=2):
        trials.append(plan.trial(DEFAULT, subject, prompt, seed, wishes=wishes))
        trials.append(plan.trial(OFF, subject, prompt, seed, wishes=wishes, **_both(0.0)))
    return Planned(trials=trials, missing={})


def strengths(plan: Plan) -> Planned:
    """Both strengths together, from 0 to 1.2: what likeness costs in prompt following."""
    trials = [
        plan.trial(strength_name(strength), subject, prompt, seed, wishes=wishes, **_both(strength))
        for subject, prompt, wishes, seed in _asked(plan)
        for strength in STRENGTHS
    ]
    return Planned(trials=trials, missing={})


def pulid_protocol(plan: Plan) -> Planned:
    """PuLID's prompts and counts, its strength for InstantID, and each person's own pose."""
    trials = []
    for i in range(pulid.PICTURES):
        for prompt in (pulid.FACE_PROMPT, *pulid.PROMPTS):
            for subject in range(len(plan.subjects)):
                condition = DEFAULT if prompt in pulid.PROMPTS else FACE
                both = _both(pulid.STRENGTH)
                trials.append(plan.trial(condition, subject, prompt, plan.seed + i, posing=0, **both))
            if prompt in pulid.PROMPTS:  # without a face it is the same picture for everybody
                trials.append(plan.trial(OFF, 0, prompt, plan.seed + i, posing=0, **_both(0.0)))
    return Planned(trials=trials, missing={})


def mini(plan: Plan) -> Planned:
    """All that the embedded bundle is judged by, in one go."""
    missing = _missing(plan)
    random = np.random.default_rng(plan.seed)
    trials = []
    for number, asked in enumerate(_asked(plan)):
        drawn = draw_wishes(random, sex=str(random.choice(SEXES)), age=str(random.choice(AGES)))
        look = ASKED_LOOKS[number % len(ASKED_LOOKS)]
        for condition, words, wishes, changes in _ways(plan, missing, asked, drawn, look):
            trials.append(plan.trial(condition, asked[0], words, asked[3], wishes=wishes, **changes))
    return Planned(trials=trials, missing=missing)


_Asked = tuple[int, str, dict[str, str], int]
"""(subject, prompt, wishes, seed)."""
_Way = tuple[str, str, Mapping[str, str], dict[str, object]]
"""(condition, prompt, wishes, what else `Plan.trial` takes)."""


def _ways(
    plan: Plan, missing: Mapping[str, str], asked: _Asked, drawn: Mapping[str, str], look: str
) -> list[_Way]:
    """Every way to make one picture; those that cannot be are left out."""
    subject, prompt, wishes, _ = asked
    who, other = plan.subjects[subject], (subject + 1) % len(plan.subjects)
    same: list[tuple[str, dict[str, object]]] = [
        (DEFAULT, {}),
        (OFF, _both(0.0)),
        (HALF, _both(0.5)),
        (FULL, _both(1.0)),
        (OTHER, {"given": other}),
        (SEVERAL, {"references": len(who.references)}),
        (NO_NET, {"identity_strength": 0.0}),
    ]
    for name in controls_of(plan.bundle):
        ready = Photo(image=plan.control_map(name, subject, -1))
        control = {name: Control(strength=CONTROL_STRENGTH, map=ready)}
        same.append((control_name(name), {"controls": control}))
        if name == "pose":
            same.append((POSE_ALONE, {"controls": control, "identity_strength": 0.0}))
    ways: list[_Way] = [(condition, prompt, wishes, changes) for condition, changes in same]
    kept = {name: value for name, value in wishes.items() if name in ("sex", "age")}
    ways.append((WORDS, write_prompt(drawn), drawn, _both(0.0)))
    ways.append((PRESET, _who(kept), {"look": look}, {"style": look}))
    if STYLE not in missing:
        painted = {"style_image": _painted(plan, other, look), "style_of": other}
        content = {"style_content": f"a photo of a {plan.subjects[other].sex or 'person'}"}
        ways.append((STYLE, prompt, {"look": look}, painted))
        ways.append((LESS_CONTENT, prompt, {"look": look}, painted | content))
    return [way for way in ways if way[0] not in missing]


PROTOCOLS: dict[str, Callable[[Plan], Planned]] = {
    "default": default,
    "strengths": strengths,
    "pulid": pulid_protocol,
    "mini": mini,
}


def strength_name(strength: float) -> str:
    """What the condition with both strengths at this is called."""
    return f"strengths {strength:g}"


def control_name(name: str) -> str:
    """What the condition with an extra ControlNet is called."""
    return f"{name} control"


def controls_of(bundle: Bundle) -> tuple[ControlName, ...]:
    """The controls whose effect can be measured: their network and what reads their map are here."""
    readable = controls.readable(bundle)
    return tuple(name for name in controls.usable(bundle) if name in readable)


def _asked(plan: Plan, prompts: int = 1) -> list[_Asked]:
    """What each picture of a condition is asked for."""
    random = np.random.default_rng(plan.seed)
    asked = []
    for subject, who in enumerate(plan.subjects):
        for _ in range(prompts):
            wishes = draw_wishes(random, sex=who.sex, age=who.age)
            asked += [(subject, write_prompt(wishes), wishes, plan.seed + i) for i in range(plan.pictures)]
    return asked


def _missing(plan: Plan) -> dict[str, str]:
    bundle, missing = plan.bundle, {}
    lacking = [part.replace("_", " ") for part in STYLE_PARTS if not bundle.present(part)]
    if lacking:
        missing |= dict.fromkeys((STYLE, LESS_CONTENT), f"the bundle has no {' and no '.join(lacking)}")
    for name in ("pose", "canny", "depth"):
        if name not in controls.usable(bundle):
            missing[control_name(name)] = f"the bundle has no {name} ControlNet"
        elif name not in controls.readable(bundle):
            missing[control_name(name)] = f"the bundle has no {name} annotator"
    if (pose := control_name("pose")) in missing:
        missing[POSE_ALONE] = missing[pose]
    if len(plan.subjects) < 2:
        missing |= dict.fromkeys((OTHER, STYLE, LESS_CONTENT), "there is one person in the set")
    if all(len(who.photos) < 3 for who in plan.subjects):
        missing[SEVERAL] = "nobody in the set has three photos"
    return missing


def _painted(plan: Plan, subject: int, look: str) -> Photo:
    return Photo(image=style_picture(plan.subjects[subject], look, plan.folder))


def _who(kept: Mapping[str, str]) -> str:
    said = " ".join(kept[name] for name in ("age", "sex") if name in kept)
    said = said if "sex" in kept else f"{said} person".strip()
    return f"an {said}" if said[0] in "aeiou" else f"a {said}"


def _both(strength: float) -> dict[str, float]:
    return {"identity_strength": strength, "adapter_strength": strength}
