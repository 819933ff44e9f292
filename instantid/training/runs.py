"""A run of one stage: which bundle it goes on with, what it reads, how long. What a YAML file says.

A run's folder holds the bundle it makes (`bundle/`), its checkpoint, log and sample sheets. The bundle begins as the
one it goes on with (see `starts`), and can be opened by `Engine.load` whenever the run is not writing.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import yaml
from accelerate import PartialState
from pydantic import Field, ValidationError

from .. import bundles, loading, mini
from ..errors import InvalidRequest
from ..people import Frozen
from . import (
    adversarial,
    annotator,
    autoencoder,
    base,
    clip,
    control,
    decoder,
    distillation,
    drawing,
    identity,
    likeness,
    lora,
    placing,
    projector,
    starts,
    style,
    twins,
)
from .checkpoints import LOG
from .loop import Progress, Task, on_cpu, train
from .memory import spare
from .prepared import Prepared
from .settings import Settings

STAGES = {
    "autoencoder": (autoencoder.AutoencoderTask, autoencoder.Options),
    "clip": (clip.ClipTask, clip.Options),
    "base": (base.BaseTask, base.Options),
    "projector": (projector.ProjectorTask, projector.Options),
    "placing": (placing.PlacingTask, placing.Options),
    "identity": (identity.IdentityTask, identity.Options),
    "likeness": (likeness.LikenessTask, likeness.Options),
    "adversarial": (adversarial.AdversarialTask, adversarial.Options),
    "decoder": (decoder.DecoderTask, decoder.Options),
    "twins": (twins.TwinsTask, twins.Options),
    "style": (style.StyleTask, style.Options),
    "drawing": (drawing.DrawingTask, drawing.Options),
    "control": (control.ControlTask, control.Options),
    "annotator": (annotator.AnnotatorTask, annotator.Options),
    "distillation": (distillation.DistillationTask, distillation.Options),
    "lora": (lora.LoraTask, lora.Options),
}
NEW = {"new:small": mini.SMALL, "new:large": mini.LARGE}
Stage = Literal[tuple(STAGES)]
Model = TypeVar("Model", bound=Frozen)


class Run(Frozen):
    """One stage's run, as its YAML file has it."""

    bundle: str = Field(
        description="What it goes on with: a bundle's name or folder, “new:small” or “new:large”."
    )
    data: Path = Field(description="A folder of prepared data.")
    out: Path = Field(description="The run's folder.")
    held_out: int = Field(60, ge=1, description="People that are kept for looking and measuring.")
    settings: Settings = Settings()
    options: dict[str, Any] = Field({}, description="Of the stage.")


def read_run(file: Path, changes: dict[str, Any] | None = None) -> Run:
    """A run from its YAML file.

    Args:
        changes: instead of what the file says, by dotted name: {"settings.steps": 100}.

    Raises:
        InvalidRequest: the file cannot be read, or says something that is not known.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequest(f"The run's file {file} cannot be read: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise InvalidRequest(f"{file} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise InvalidRequest(f"{file} says nothing: a run names at least its bundle, data and out.")
    for name, value in (changes or {}).items():
        *path, last = name.split(".")
        place = content
        for part in path:
            if place.get(part) is None:
                place[part] = {}
            place = place[part]
            if not isinstance(place, dict):
                raise InvalidRequest(f"{name} cannot be set: {file} says {place!r} for {part}.")
        place[last] = value
    return checked(Run, content, str(file))


def checked(kind: type[Model], content: dict[str, Any], where: str) -> Model:
    """The content as that model, or what is wrong with it in one line each."""
    try:
        return kind(**content)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors()]
        raise InvalidRequest(f"{where}: {'; '.join(problems)}.") from None


def start(stage: Stage, run: Run, *, stopping: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
    """Go on with a run, from its beginning or from where it stopped; yields how it goes.

    Args:
        stopping: asked after each step; True pauses the run.

    Raises:
        InvalidRequest: something that the run names is not there or not right.
    """
    if missing := [name for name in run.settings.trackers if find_spec(name) is None]:
        raise InvalidRequest(
            f"settings.trackers names {', '.join(missing)}, which is not installed here. Run: pip install "
            f"{' '.join(missing)}. Figures are in {run.out / LOG} either way."
        )
    # With several processes, the first one lays things out for all.
    with PartialState(cpu=on_cpu(run.settings)).main_process_first():
        task = make_task(stage, run)
    spare(task, run.settings)
    return train(task, run.settings, run.out, run.out / "bundle", stopping=stopping)


def speaks() -> bool:
    """Whether this process tells how a run goes: one of several does."""
    return PartialState().is_main_process


def make_task(stage: Stage, run: Run) -> Task:
    """A stage's task, with its bundle laid out in the run's folder."""
    kind, options = STAGES[stage]
    chosen_options = checked(options, run.options, f"options of {stage}")
    prepared = Prepared(run.data)
    chosen, held = split(prepared, run.held_out)
    shown = held[prepared.found[held]]
    shown = shown[:: max(1, len(shown) // 8)][:8]
    return kind(lay_out_bundle(run), prepared, chosen, shown, chosen_options)


def split(prepared: Prepared, held_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Which pictures are learned from, and those of the last `held_out` people, which are not."""
    # Whom nobody knows is somebody else in each picture.
    persons = np.where(prepared.persons < 0, -1 - np.arange(len(prepared)), prepared.persons)
    people = np.unique(persons)
    if len(people) <= held_out:
        raise InvalidRequest(
            f"{prepared.folder} shows {len(people)} people; with held_out {held_out} none is left to learn from."
        )
    held = np.isin(persons, people[-held_out:])
    return np.flatnonzero(~held), np.flatnonzero(held)


def lay_out_bundle(run: Run) -> Path:
    """The run's own bundle, over the one it goes on with, or that which is there from before."""
    folder = run.out / "bundle"
    if folder.exists():
        return folder
    if run.bundle in NEW:
        faces = {"kind": "opencv", "path": str(bundles.face_files_folder().absolute())}
        return mini.build(folder, NEW[run.bundle], faces=faces)
    return starts.lay_out(loading.open_bundle(run.bundle), folder)
