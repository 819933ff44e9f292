"""The whole family, small: rendered people, then one stage after the other, each going on with the last one's bundle.

A plan (`plans/*.yaml`) says what is made and how long each stage takes. It may be stopped at any moment: the same
call goes on where it was, and what is done is not done again.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from .. import bundles, faces
from ..errors import InvalidRequest
from ..people import Frozen
from . import latents, rendered, runs
from .loop import steps_done
from .people import making
from .people.orders import Order
from .prepared import Prepared
from .settings import Settings

PLANS = Path(__file__).parent / "plans"
Tell = Callable[[str], None]


class StagePlan(Frozen):
    """One stage of a plan."""

    stage: runs.Stage
    settings: Settings = Settings()
    options: dict[str, Any] = Field({}, description="Of the stage.")


class Plan(Frozen):
    """What to make, and how. `people`: an `Order` of rendered people."""

    start: str = Field(description="“new:small”, “new:large”, or a bundle to go on with.")
    people: dict[str, Any]
    held_out: int = 60
    stages: tuple[StagePlan, ...]


def read_plan(name: str) -> Plan:
    """A plan that comes with the program, by name, or one's own YAML file.

    Raises:
        InvalidRequest: there is none of that name, or it says something that is not known.
    """
    import yaml

    file = PLANS / f"{name}.yaml" if "." not in name else Path(name)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError:
        there = ", ".join(sorted(path.stem for path in PLANS.glob("*.yaml")))
        raise InvalidRequest(f"There is no plan {name}. There are: {there}; or name a YAML file.") from None
    return runs.checked(Plan, content, str(file))


def train_family(
    plan: Plan,
    folder: Path,
    *,
    device: str,
    workers: int = 1,
    minutes: float = 1e9,
    tell: Tell = lambda line: None,
) -> Path | None:
    """Make the data and train every stage, or as much as there is time for.

    Args:
        folder: of everything: data, prepared data, and a run's folder for each stage.
        device: "cpu" or "cuda".
        workers: processes that make data.
        minutes: after so many it pauses; the same call goes on.

    Returns:
        The finished bundle's folder, or None where the time was over first.
    """
    until = time.monotonic() + 60 * minutes
    prepared = _data(plan, folder, device, workers, tell)
    source = plan.start
    for stage in plan.stages:
        run = _run(plan, stage, folder, source, device, until)
        for line in _train(stage, run, prepared, device, until):
            tell(line)
        if steps_done(run.out) < run.settings.steps:
            return None
        source = str(run.out / "bundle")
    return Path(source)


def _data(plan: Plan, folder: Path, device: str, workers: int, tell: Tell) -> Prepared:
    order = Order(**{**plan.people, "framings": tuple(plan.people.get("framings", ()))})
    shards, ready = folder / "people", folder / "prepared"
    tell(f"{order.pictures} pictures of {order.people} rendered people, in {shards}")
    making.make(order, shards, device=device, workers=workers)
    finder = faces.load_finder("opencv", _face_files())
    for shard in sorted(shards.glob("people-*.tar")):
        rendered.prepare_shard(shard, ready, finder, size=order.size)
    return Prepared(ready)


def _face_files() -> Path:
    folder = bundles.face_files_folder()
    bundles.fetch_face_files(folder)
    return folder


def _run(plan: Plan, stage: StagePlan, folder: Path, source: str, device: str, until: float) -> runs.Run:
    left = max((until - time.monotonic()) / 60, 0.01)
    settings = stage.settings.model_copy(
        update={"device": "cpu" if device == "cpu" else "auto", "minutes": min(left, stage.settings.minutes)}
    )
    return runs.Run(
        bundle=source,
        data=folder / "prepared",
        out=folder / stage.stage,
        held_out=plan.held_out,
        settings=settings,
        options=stage.options,
    )


def _train(stage: StagePlan, run: runs.Run, prepared: Prepared, device: str, until: float) -> Iterator[str]:
    if steps_done(run.out) >= run.settings.steps:
        return
    bundle = bundles.open_bundle(runs.lay_out_bundle(run))
    if stage.stage not in ("autoencoder", "clip"):
        latents.encode(prepared, bundle, device)
    for progress in runs.start(stage.stage, run):
        speed = f"{progress.examples_a_second:.0f} a second"
        told = ", ".join(f"{name} {value:.4g}" for name, value in progress.figures.items())
        yield f"{stage.stage}: {progress.step} of {progress.steps}, {speed}, {told}"
