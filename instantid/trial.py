"""First contact with published weights: run every mode on fixed inputs, check, and write a page of pictures.

What could only be tested small elsewhere is confirmed here in minutes: `python -m instantid doctor --try`.
"""

import html
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from . import controls, metadata, recipes
from .bundles import FACEID_PARTS, STYLE_PARTS
from .engine import Engine
from .errors import Cancelled, InstantIDError
from .recipes import RECIPES
from .request import Control, Person, Place, Request, Result

logger = logging.getLogger(__name__)
EXAMPLES = Path(__file__).parents[1] / "assets" / "examples"
FACE, OTHER_FACE = EXAMPLES / "eileen-collins.jpg", EXAMPLES / "grace-hopper.jpg"
POSE = EXAMPLES / "pose-tilted.jpg"
STYLE = EXAMPLES / "pose-photographer.jpg"
TWO = [Person(references=[FACE]), Person(references=[OTHER_FACE])]
SMALL = Person(references=[FACE], view="front", place=Place(x=0.5, y=0.35, size=0.12))
# Cosines of antelopev2 between the result and the reference, as SceneWorks published them for InstantID: frontal
# about .88, with IdentityNet off about .15; from .80 strong, under .55 weak (shared/peers.md).
STRONG, WEAK = 0.80, 0.55


@dataclass(frozen=True)
class Mode:
    """One way to run the engine, and the band its likeness must fall in (None: not judged).

    Sizes are given as differences from 1024, and scaled to the bundle's own size.
    """

    name: str
    changes: dict
    likeness: tuple[float, float] | None = (WEAK, 1.0)


MODES = (
    Mode("defaults", {}, (STRONG, 1.0)),
    Mode("both strengths 0", {"identity_strength": 0, "adapter_strength": 0}, (-1.0, WEAK)),
    Mode("IdentityNet only", {"adapter_strength": 0}, None),
    Mode("image adapter only", {"identity_strength": 0}, None),
    Mode("strengths 1.2", {"identity_strength": 1.2, "adapter_strength": 1.2}),
    Mode("whole picture", {"face_region": False}),
    Mode("pose photo", {"pose_image": POSE}),
    Mode("pose photo and canny", {"pose_image": POSE, "controls": {"canny": 0.4}}),
    Mode("pose photo and pose", {"pose_image": POSE, "controls": {"pose": 0.4}}),
    Mode("pose photo and depth", {"pose_image": POSE, "controls": {"depth": 0.4}}),
    Mode(
        "canny for the first half",
        {"pose_image": POSE, "controls": {"canny": Control(strength=0.8, end=0.5)}},
    ),
    Mode("free pose", {"free_pose": True}, None),
    Mode("three-quarter view", {"people": [Person(references=[FACE], view="three-quarter left")]}),
    Mode("profile", {"people": [Person(references=[FACE], view="profile right")]}, None),
    Mode("two people", {"people": TWO, "prompt": "two women, portrait photo", "width": 256, "height": -192}),
    Mode("style picture", {"style_image": STYLE}, None),
    Mode("style picture, its content left out", {"style_image": STYLE, "style_content": "a man"}, None),
    Mode("style picture, layout", {"style_image": STYLE, "style_mode": "layout"}, None),
    Mode("style picture, whole image", {"style_image": STYLE, "style_mode": "whole image"}, None),
    Mode("IP-Adapter FaceID", {"faceid_strength": 0.8, "identity_strength": 0, "adapter_strength": 0}, None),
    Mode("from a picture", {"start_image": POSE, "start_strength": 0.6}),
    Mode("face swap", {"start_image": POSE, "repaint": "face", "start_strength": 0.8}),
    Mode("larger", {"upscale": 1.5}),
    Mode("larger, by latents", {"upscale": 1.5, "upscale_by": "latents", "upscale_strength": 0.55}),
    Mode("a small face", {"people": [SMALL]}, None),
    Mode("a small face in detail", {"people": [SMALL], "face_detail": True}),
    Mode("rescaled guidance", {"guidance_scale": 8.0, "cfg_rescale": 0.7}),
    Mode("noise as the negative face", {"negative_noise": 0.35}),
    Mode("perturbed negative", {"perturbed_negative": 0.2}),
    *(Mode(name, {"recipe": name}, None) for name in RECIPES),
    Mode("style Watercolor", {"style": "Watercolor"}, None),
    Mode("style Film Noir", {"style": "Film Noir"}, None),
    Mode("no guidance", {"guidance_scale": 1.0}, None),
    Mode("two images", {"images": 2}),
    Mode("two references", {"people": [Person(references=[FACE, FACE])]}),
    Mode("weighted prompt", {"prompt": "a (woman:1.2) in a [dark] coat, " + "rain on a city street, " * 20}),
    Mode(
        "a little smaller", {"width": -32, "height": -32}
    ),  # 1024 × 1024 draws the training data's watermarks (#280)
    Mode("wide", {"width": 192, "height": -192}),
    Mode("DPM++ 2M SDE Karras", {"scheduler": "DPM++ 2M SDE Karras"}),
    Mode("UniPC, 15 steps", {"scheduler": "UniPC", "steps": 15}),
)


@dataclass(frozen=True)
class Outcome:
    """What became of one mode: pictures or an error, and what was wrong with it, if anything."""

    mode: str
    problems: list[str]
    result: Result | None = None
    seconds: float = 0.0


def run(engine: Engine, folder: Path, tell: Callable[[str], None]) -> list[Outcome]:
    """Run all modes and write `folder`/index.html with the pictures beside it.

    Args:
        tell: called with one line per mode as it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base = Request(people=[Person(references=[FACE])], prompt="a woman, portrait photo", seed=42)
    outcomes = []
    for mode in _possible(engine):
        outcome = _try(engine, mode, base.replace(**_sized(engine, mode.changes)))
        tell(_line(outcome))
        outcomes.append(outcome)
    for outcome in (_repeats(engine, base, outcomes[0]), _survives_cancelling(engine, base, outcomes[0])):
        tell(_line(outcome))
        outcomes.append(outcome)
    (folder / "index.html").write_text(_page(engine, outcomes, folder), encoding="utf-8")
    return outcomes


def _possible(engine: Engine) -> list[Mode]:
    """Modes whose weights are here; what was not fetched cannot be tried."""
    bundle = engine.bundle
    readable = set(controls.usable(bundle)) & set(controls.readable(bundle))
    with_style, with_faceid = bundle.present(*STYLE_PARTS), bundle.present(*FACEID_PARTS)
    steps = recipes.usable(bundle)
    return [
        mode
        for mode in MODES
        if readable >= mode.changes.get("controls", {}).keys()
        and ("style_image" not in mode.changes or with_style)
        and ("faceid_strength" not in mode.changes or with_faceid)
        and mode.changes.get("recipe") in (None, *steps)
    ]


def _sized(engine: Engine, changes: dict) -> dict:
    sides = {"width": engine.bundle.defaults.width, "height": engine.bundle.defaults.height}
    return changes | {
        name: round(side * (1024 + changes[name]) / 1024 / 8) * 8
        for name, side in sides.items()
        if name in changes
    }


def _try(engine: Engine, mode: Mode, request: Request) -> Outcome:
    start = time.perf_counter()
    try:
        result = engine.generate(request)
    except InstantIDError as error:
        return Outcome(mode.name, [str(error)])
    except Exception as error:  # a bug in one mode is a finding: the others are still to be tried
        logger.exception("The mode “%s” failed", mode.name)
        return Outcome(mode.name, [repr(error)])
    seconds = time.perf_counter() - start
    problems = [f"image {i + 1} is {flaw}" for i, image in enumerate(result.images) if (flaw := _flaw(image))]
    if mode.likeness is not None and result.likeness is not None and _unjudged(engine) is None:
        least, most = mode.likeness
        for likeness in result.likeness:
            if likeness is None:
                problems.append("no face found in the result")
            elif not least <= likeness <= most:
                problems.append(f"likeness {likeness:.2f} is not within {least:.2f}…{most:.2f}")
    return Outcome(mode.name, problems, result, seconds)


def _unjudged(engine: Engine) -> str | None:
    """Why likeness is not held against the published figures, if it is not."""
    if engine.bundle.untrained:
        return "Untrained weights: likeness is not judged."
    return engine.bundle.about and f"Likeness is not judged by what large models reach. {engine.bundle.about}"


def _flaw(image: Image.Image) -> str | None:
    """Half precision gone wrong shows as one flat colour, mostly black."""
    return "of one flat colour" if np.asarray(image).std() < 2 else None


def _repeats(engine: Engine, base: Request, first: Outcome) -> Outcome:
    """Nothing of all the modes may have stayed behind: the first request gives the first picture again."""
    again = _try(engine, Mode("defaults again, after all others", {}, None), base)
    if first.result and again.result and first.result.images[0].tobytes() != again.result.images[0].tobytes():
        again.problems.append("the same request no longer gives the same picture")
    return again


def _survives_cancelling(engine: Engine, base: Request, first: Outcome) -> Outcome:
    problems = []
    try:
        engine.generate(base, lambda step, total, preview: step < 2)
        problems.append("the run was not cancelled")
    except Cancelled:
        pass
    except Exception as error:
        problems.append(f"the run to be cancelled failed: {error!r}")
    after = _try(engine, Mode("defaults, after cancelling a run", {}, None), base)
    if first.result and after.result and first.result.images[0].tobytes() != after.result.images[0].tobytes():
        problems.append("the picture changed after a cancelled run")
    return Outcome(after.mode, [*after.problems, *problems], after.result, after.seconds)


def _line(outcome: Outcome) -> str:
    mark = "ok " if not outcome.problems else "BAD"
    return f"{mark} {outcome.mode}: {_details(outcome)}" + "".join(
        f"; {problem}" for problem in outcome.problems
    )


def _details(outcome: Outcome) -> str:
    if outcome.result is None:
        return "no picture"
    values = outcome.result.likeness or []
    likeness = ", ".join("no face" if value is None else f"likeness {value:.2f}" for value in values)
    return f"{outcome.seconds:.1f} s" + (f", {likeness}" if likeness else "")


def _page(engine: Engine, outcomes: list[Outcome], folder: Path) -> str:
    cards = []
    for number, outcome in enumerate(outcomes):
        pictures = ""
        if outcome.result is not None:
            paths = [folder / f"{number:02}-{i}.png" for i in range(len(outcome.result.images))]
            metadata.save(outcome.result, paths)
            names = [path.name for path in paths]
            for name, control_map in outcome.result.control_maps.items():
                control_map.save(folder / f"{number:02}-{name}.png")
                names.append(f"{number:02}-{name}.png")
            pictures = "".join(f'<img src="{name}" alt="">' for name in names)
        problems = "".join(f"<p class=bad>{html.escape(problem)}</p>" for problem in outcome.problems)
        cards.append(
            f"<section><h2>{html.escape(outcome.mode)}</h2><p>{_details(outcome)}</p>{problems}{pictures}</section>"
        )
    bad = sum(bool(outcome.problems) for outcome in outcomes)
    unjudged = f"<p class=bad>{html.escape(why)}</p>" if (why := _unjudged(engine)) else ""
    verdict = "all as expected" if not bad else f"{bad} of {len(outcomes)} not as expected"
    return (
        "<!doctype html><meta charset=utf-8><title>InstantID Studio: trial</title><style>body{font:16px sans-serif;"
        "margin:2rem}img{height:16rem;margin:.2rem}.bad{color:#b00}</style>"
        f"<h1>Trial of {html.escape(engine.bundle.name)} on {html.escape(str(engine.plan))}: {verdict}</h1>"
        f"{unjudged}{''.join(cards)}"
    )
