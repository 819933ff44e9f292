"""The whole family, small: rendered people, then one stage after the other, each going on with the last one's bundle.

A plan (`plans/*.yaml`) says what is made and how long each stage takes. It may be stopped at any moment: the same
call goes on where it was, and what is done is not done again.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from .. import bundles, loading
from ..bundles import Trained
from ..errors import InvalidRequest
from ..people import STRENGTHS, Frozen, Strength
from . import latents, preparing, runs
from .blending import blend
from .bundle_file import set_defaults
from .checkpoints import hours, steps_done
from .doubling import double
from .packing import Packed, pack
from .people import making
from .people.orders import Order
from .photos import Wishes
from .prepared import Prepared
from .settings import Settings
from .several import start_several

PLANS = Path(__file__).parent / "plans"
HEIGHT = 1.2  # of a face's box, by its width: what learned large faces is to paint such
Tell = Callable[[str], None]
FEWEST = 40  # people in a plan that is only tried: what is told apart by regression wants some
TRAINED_BY = {
    "style": ("style_adapter", "image_encoder"),
    "control": ("controlnets",),
    "annotator": ("annotators",),
    "distillation": ("loras",),
}
"""Parts that a bundle does without, and has no use of before their stage is done."""


class NothingToPack(InvalidRequest):
    """There is nobody's face in what is trained so far."""


class StagePlan(Frozen):
    """One stage of a plan."""

    stage: runs.Stage
    called: str | None = Field(None, description="Its folder's name, where a plan has the same stage twice.")
    settings: Settings = Settings()
    options: dict[str, Any] = Field({}, description="Of the stage.")
    blended: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        {},
        description="How much of the way, from what the plan began with to what this stage came to, a part's weights "
        "lie that are gone on with; of parts that are not named: all. Of what learning costs there is less half-way.",
    )
    louder: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {},
        description="How many times as strong ControlNets are then, where strength 1 leads less than it could.",
    )

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.called or self.stage


class Plan(Frozen):
    """What to make, and how. `people`: an `Order` of rendered people."""

    start: str = Field(description="“new:small”, “new:large”, or a bundle to go on with.")
    people: dict[str, Any]
    double: bool = Field(
        False, description="What it begins with makes pictures of twice the side from then on."
    )
    size: int = Field(
        0,
        ge=0,
        description="Side of the pictures that are learned from, in pixels; 0: as they are rendered. Of faces that "
        "are cut out close, more pixels have to be rendered.",
    )
    fill: float = Field(
        0.0, ge=0, lt=1, description="How much of a picture's width faces fill; 0: as they are drawn."
    )
    strengths: Strength | None = Field(
        None,
        description="IdentityNet's and the image adapter's where a request names none; left out: as they are. They "
        "learn at 1.",
    )
    held_out: int = 60
    stages: tuple[StagePlan, ...]

    @model_validator(mode="after")
    def _folders(self) -> "Plan":
        names = [stage.name for stage in self.stages]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{min(twice)} is there twice: give each a folder of its own by called: …")
        if self.start.startswith("new:") and any(stage.blended for stage in self.stages):
            raise ValueError(
                "half-way from nothing is nothing: blended is for plans that begin with a bundle"
            )
        return self

    def scaled(self, share: float) -> "Plan":
        """So much of all people and steps, to see that everything goes through; what it trains is worth nothing."""
        if share == 1:
            return self
        people = max(round(share * self.people["people"]), FEWEST)
        stages = []
        for stage in self.stages:
            steps = max(1, round(share * stage.settings.steps))
            settings = stage.settings.model_copy(update={"steps": steps})
            stages.append(stage.model_copy(update={"settings": settings}))
        fewer = {"people": self.people | {"people": people}, "held_out": min(self.held_out, people // 4)}
        return self.model_copy(update=fewer | {"stages": tuple(stages)})

    @property
    def order(self) -> Order:
        """The data set of rendered people."""
        return Order(**{**self.people, "framings": tuple(self.people.get("framings", ()))})


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
    processes: int = 1,
    minutes: float = 1e9,
    tell: Tell = lambda line: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Path | None:
    """Make the data and train every stage, or as much as there is time for.

    Args:
        folder: of everything: data, prepared data, and a run's folder for each stage.
        device: "cpu" or "cuda".
        workers: processes that make data.
        processes: that learn, one per GPU or core; they share each batch.
        minutes: after so many it pauses; the same call goes on.
        stopping: asked after each step; True pauses it.

    Returns:
        The finished bundle's folder, or None where the time was over first.
    """
    until = time.monotonic() + 60 * minutes
    prepared = _data(plan, folder, device, workers, tell)
    source = begun = plan.start
    if plan.double:
        doubled = folder / "doubled"
        source = begun = str(
            doubled if doubled.exists() else double(loading.open_bundle(plan.start), doubled)
        )
    for stage in plan.stages:
        run = _run(plan, stage, folder, source, device, until)
        usual = {} if plan.strengths is None else dict.fromkeys(STRENGTHS, plan.strengths)
        if plan.fill:
            usual["least_face"] = round(HEIGHT * plan.fill, 2)
        set_defaults(runs.lay_out_bundle(run), usual)
        for line in _train(stage, run, prepared, device, processes, stopping):
            tell(line)
        if steps_done(run.out) < run.settings.steps:
            return None
        source = str(_outcome(stage, folder))
        if not Path(source).exists():
            blend(
                loading.open_bundle(begun),
                bundles.open_bundle(run.out / "bundle"),
                stage.blended,
                Path(source),
                louder=stage.louder,
            )
    return Path(source)


def _outcome(stage: StagePlan, folder: Path) -> Path:
    """The bundle that is gone on with."""
    return folder / stage.name / ("blended" if stage.blended or stage.louder else "bundle")


def _data(plan: Plan, folder: Path, device: str, workers: int, tell: Tell) -> Prepared:
    order = plan.order
    shards, ready, size = folder / "people", folder / "prepared", plan.size or order.size
    tell(f"{order.pictures} pictures of {order.people} rendered people, in {shards}")
    making.make(order, shards, device=device, workers=workers)
    bundles.fetch_face_files(bundles.face_files_folder())
    source = preparing.recognise(shards)
    preparing.prepare(
        source,
        ready,
        Wishes(size=size, min_side=size, fill=plan.fill),
        ("opencv", bundles.face_files_folder()),
        workers=workers,
    )
    return Prepared(ready)


def _run(plan: Plan, stage: StagePlan, folder: Path, source: str, device: str, until: float) -> runs.Run:
    left = max((until - time.monotonic()) / 60, 1e-4)
    settings = stage.settings.model_copy(
        update={"device": "cpu" if device == "cpu" else "auto", "minutes": min(left, stage.settings.minutes)}
    )
    return runs.Run(
        bundle=source,
        data=folder / "prepared",
        out=folder / stage.name,
        held_out=plan.held_out,
        settings=settings,
        options=stage.options,
    )


def _train(
    stage: StagePlan,
    run: runs.Run,
    prepared: Prepared,
    device: str,
    processes: int,
    stopping: Callable[[], bool],
) -> Iterator[str]:
    if steps_done(run.out) >= run.settings.steps:
        return
    bundle = bundles.open_bundle(runs.lay_out_bundle(run))
    if stage.stage not in ("autoencoder", "clip"):
        latents.encode(prepared, bundle, device)
    if processes > 1:
        yield from start_several(stage.stage, run, processes, stopping=stopping)
        return
    for progress in runs.start(stage.stage, run, stopping=stopping):
        speed = f"{progress.examples_a_second:.0f} a second"
        told = ", ".join(f"{name} {value:.4g}" for name, value in progress.figures.items())
        yield f"{stage.stage}: {progress.step} of {progress.steps}, {speed}, {told}"


def pack_family(
    plan: Plan, folder: Path, target: Path, *, hardware: str, command: str, commit: str
) -> Packed:
    """Pack what is trained so far, for the repository: the bundle of the last finished stage, with its history.

    Raises:
        NothingToPack: no stage is done; or the plan began with nobody's face, and the identity stage is not done.
    """
    done = [stage for stage in plan.stages if steps_done(folder / stage.name) >= stage.settings.steps]
    learned = {stage.stage for stage in done}
    if any(stage.options.get("guided") for stage in done):
        learned.add("control")
    bundle = bundles.open_bundle(_outcome(done[-1], folder)) if done else None
    if bundle is None or not (bundle.trained or "identity" in learned):
        raise NothingToPack(
            f"The identity stage of {folder} is not done: go on with python -m instantid train mini {folder}"
        )
    idle = [part for stage, parts in TRAINED_BY.items() if stage not in learned for part in parts]
    if bundle.trained:  # what was gone on with has nothing that nobody trained
        idle = []
    before = bundle.trained.hours if bundle.trained else 0.0
    trained = Trained(
        on=f"{plan.order.pictures:,} pictures of {plan.order.people:,} rendered people",
        hours=round(max(before + sum(hours(folder / stage.name) for stage in done), 0.01), 2),
        hardware=hardware,
        command=command,
        date=time.strftime("%Y-%m-%d"),
        commit=commit,
    )
    without = [part for part in bundle.sources if part.split(".")[0] in idle]
    return pack(bundle.folder, target, trained=trained, without=without)
