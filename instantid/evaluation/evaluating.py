"""A set, a protocol, a bundle → a folder with pictures and a report. Reads as the recipe."""

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .. import bundles
from ..controls import Annotators
from ..engine import Engine
from ..errors import DownloadError, InvalidRequest
from ..training.people.making import OpenRenderer, open_renderer
from ..training.people.separation import Interval
from . import attribute_judge, inception, observing, pictures, sections
from .attribute_judge import AttributeJudge
from .clip import Clip, open_clip
from .pictures import Made
from .protocols import PROTOCOLS, Plan
from .report import Report
from .rows import Measured, Row
from .sets import People, open_set


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What goes on: “people”, “pictures”, “judge of attributes” or “measuring”, and how far it is."""

    stage: str
    done: int
    total: int
    seconds_left: float | None = None


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be evaluated.

    Args:
        set: as `sets.open_set` takes it.
        protocol: one of `PROTOCOLS`.
        people: at most so many; pictures: of each person, prompt and condition (PuLID's protocol has its own).
        clip: as `clip.open_clip` takes it.
        data: a folder of rendered people that the judge of attributes is trained on; None: there is no judge.
        fid: also measure FID by clean-fid.
        settings: of all requests, such as {"steps": 8}.
    """

    set: str = "synthetic"
    protocol: str = "default"
    people: int = 24
    pictures: int = 2
    seed: int = 0
    clip: str | None = None
    data: Path | None = None
    fid: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)


def evaluate(
    engine: Engine,
    wanted: Wanted,
    out: Path,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    *,
    open_renderer: OpenRenderer = open_renderer,
) -> Report:
    """Make the pictures that are missing in `out`, measure all, and write the report there.

    Raises:
        InvalidRequest: there is no such protocol or set, or `out` holds pictures of something else.
        BundleError: the bundle has no face model.
    """
    if wanted.protocol not in PROTOCOLS:
        raise InvalidRequest(f"There is no protocol “{wanted.protocol}”. There are: {', '.join(PROTOCOLS)}.")

    def tell(stage: str) -> Callable[..., None]:
        return lambda done, total, left=None: on_progress(
            Progress(stage=stage, done=done, total=total, seconds_left=left)
        )

    defaults = engine.bundle.defaults
    people = open_set(
        wanted.set,
        out / "people",
        engine.face_finder,
        people=wanted.people,
        seed=wanted.seed,
        side=max(defaults.width, defaults.height),
        open_renderer=open_renderer,
        on_people=tell("people"),
    )
    annotators = Annotators(engine.bundle, engine.plan.spare_device)
    plan = Plan(
        bundle=engine.bundle,
        subjects=people.subjects,
        folder=out / "style",
        pictures=wanted.pictures,
        seed=wanted.seed,
        settings=wanted.settings,
        annotators=annotators,
    )
    planned = PROTOCOLS[wanted.protocol](plan)
    made, peak, failed = pictures.make(
        planned.trials, people.subjects, engine, out / "pictures", tell("pictures")
    )
    if not made:
        raise InvalidRequest(f"No picture could be made. {' '.join(failed[:3])}")
    clip, no_clip = _clip(wanted, engine)
    judge, no_judge = _judge(wanted, tell("judge of attributes"))
    judges = observing.judges_for(engine.face_finder)
    true = {each.name: observing.embed_photos(people.subjects, each) for each in judges}
    widths = [photos.shape[1] for photos in true.values()]
    seen = observing.observe(made, engine, annotators, judges, clip, judge, widths, tell("measuring"))
    told = Measured(
        subjects=people.subjects,
        observed=seen,
        there={name: observing.people_of(people.subjects, photos) for name, photos in true.items()},
        held_out={
            name: observing.people_of(people.subjects, photos, held_out=True) for name, photos in true.items()
        },
        photos=true | _seen_by(clip, people),
        clip=clip and clip.name,
        no_clip=no_clip,
        judge=judge,
        no_judge=no_judge,
        missing=planned.missing,
        memory=peak,
    )
    report = _report(engine, wanted, people, told, failed, _fid(wanted, made, people) if wanted.fid else [])
    report.write(out)
    return report


def _clip(wanted: Wanted, engine: Engine) -> tuple[Clip | None, str]:
    try:
        return open_clip(wanted.clip, engine.bundle, engine.plan.device), ""
    except InvalidRequest as error:  # a model that was named and cannot be had raises DownloadError instead
        return None, str(error)


def _judge(wanted: Wanted, tell: Callable[[int, int], None]) -> tuple[AttributeJudge | None, str]:
    if wanted.data is None:
        return None, "no rendered people to train the judge of attributes on: --data FOLDER"
    cache = bundles.default_cache() / "evaluation"
    return attribute_judge.open_judge(wanted.data, cache, on_step=tell), ""


def _seen_by(clip: Clip | None, people: People) -> dict[str, np.ndarray]:
    """The CLIP's features of all true photos, in the order of subjects."""
    if clip is None:
        return {}
    photos = [who.picture(i) for who in people.subjects for i in range(len(who.photos))]
    return {clip.name: clip.embed_pictures(photos)}


def _fid(wanted: Wanted, made: list[Made], people: People) -> list[Row]:
    true = [photo.image for who in people.subjects for photo in who.photos if isinstance(photo.image, Path)]
    condition = made[0].trial.condition
    files = [each.file for each in made if each.trial.condition == condition]
    row = {"section": "Variety", "what": "FID to the set’s photos (clean-fid)", "condition": condition}
    try:
        value = inception.fid(files, true)
    except DownloadError as error:
        return [Row(**row, why=str(error))]
    return [
        Row(
            **row,
            value=Interval(value=value, low=np.nan, high=np.nan),
            pictures=len(files),
            over_people=False,
        )
    ]


def _report(
    engine: Engine, wanted: Wanted, people: People, told: Measured, failed: list[str], more: list[Row]
) -> Report:
    bundle, plan = engine.bundle, engine.plan
    untrained = [f"The bundle “{bundle.name}” is untrained: its pictures are noise, and figures say nothing."]
    versions = (
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "diffusers", "transformers")
    )
    limits = [
        "Cosines of faces mean something only against others of the same set, not against thresholds for photos.",
        "Intervals resample people, not pictures.",
    ]
    if told.judge:
        limits.append(
            f"Attributes are judged by a small network trained on {told.judge.trained_on} pictures of rendered "
            "people; its accuracy on other rendered people stands beside each figure."
        )
    return Report(
        facts={
            "bundle": bundle.name,
            "set": people.name,
            "protocol": wanted.protocol,
            "people": str(len(people.subjects)),
            "pictures": str(len(told.observed.made)),
            "seed": str(wanted.seed),
            "settings": ", ".join(f"{name} {value}" for name, value in wanted.settings.items())
            or "the bundle’s own",
            "device": f"{plan.device.type}, {str(plan.dtype).removeprefix('torch.')}",
            "judges of likeness": ", ".join(told.there),
            "libraries": ", ".join(versions),
        },
        warnings=untrained if bundle.untrained else [],
        rows=[*sections.rows(wanted.protocol, told), *more],
        plots=sections.plots(wanted.protocol, told),
        pictures=_gallery(told),
        notes=[*limits, *people.notes, *failed],
        cited=wanted.protocol == "pulid",
    )


def _gallery(told: Measured) -> dict[str, dict[str, np.ndarray]]:
    """Of each person the reference and the first picture in every condition."""
    shown: dict[str, dict[str, np.ndarray]] = {}
    for who in told.subjects:
        photo = who.picture(0)
        photo.thumbnail((observing.THUMB, observing.THUMB))
        shown[who.name] = {"reference": np.asarray(photo)}
    for each, thumb in zip(told.observed.made, told.observed.thumbs, strict=True):
        shown[told.subjects[each.trial.subject].name].setdefault(each.trial.condition, thumb)
    return shown
