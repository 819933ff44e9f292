"""`train`: the papers' training, one stage at a time, and what makes data ready for it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
import yaml
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..errors import InvalidRequest
from .terminal import BUNDLES, console

if TYPE_CHECKING:
    from ..bundles import Bundle
    from ..training.loop import Progress as Standing

STAGES = {
    "autoencoder": "The VAE, from pictures alone. SDXL has one.",
    "clip": "Text encoders and image encoder, from pictures and captions. SDXL has them.",
    "base": "The UNet, from captions.",
    "projector": "What faces look like, for the identity adapter's projector alone. For small models.",
    "placing": "What each face looks like wherever keypoints are, for IdentityNet alone. For small models.",
    "identity": "IdentityNet and the identity adapter: InstantID.",
    "likeness": "Identity again, by how well a face recognition model knows those who are painted.",
    "adversarial": "Likeness again, and pictures in four steps that a discriminator takes for true ones.",
    "decoder": "The VAE's decoder again: what the UNet makes comes out as a picture. For small models.",
    "twins": "What words change, from pictures that differ in nothing else. For small models.",
    "style": "The style adapter: IP-Adapter, and InstantStyle's way of it.",
    "drawing": "What pictures with such maps look like, for the Union ControlNet alone. For small models.",
    "control": "A ControlNet for edges, depth or skeletons, or one for all of them.",
    "annotator": "What reads a skeleton or a depth map off a photo. SDXL has them.",
    "lora": "A LoRA of one person or look: DreamBooth.",
    "distillation": "A LoRA that needs few steps: LCM.",
}
RunArgument = Annotated[
    Path,
    typer.Argument(
        help="The run's YAML file: bundle, data, out, settings, options. instantid/training/configs has commented "
        "ones with the papers' values."
    ),
]
SetOption = Annotated[
    list[str],
    typer.Option("--set", help="Instead of what the file says, such as settings.steps=200; repeatable."),
]
OutArgument = Annotated[Path, typer.Argument(help="Folder of what is prepared.")]
FacesOption = Annotated[str, typer.Option(help=f"Whose face models look at the pictures. {BUNDLES}")]


def command(stage: str) -> Callable[..., None]:
    """The command that trains one stage."""

    def run_stage(file: RunArgument, changes: SetOption = ()) -> None:
        from ..training import runs

        run = runs.read_run(file, dict(_change(text) for text in changes))
        with stopping() as stopped, console.status(f"Loading {run.bundle} …") as status:
            for progress in runs.start(stage, run, stopping=stopped):
                status.stop()
                console.quiet = not runs.speaks()
                console.print(_line(stage, progress), markup=False, highlight=False)
        if stopped():
            console.print("Paused; the same command goes on.", markup=False)
            raise typer.Exit(130)
        console.print(f"The bundle is in {run.out / 'bundle'}.", markup=False)

    run_stage.__doc__ = (
        f"{STAGES[stage]}\n\nCtrl-C pauses the run after its step; the same command goes on. Several GPUs or "
        "machines: accelerate launch -m instantid train …"
    )
    return run_stage


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of photos, with NAME.txt or NAME.json beside them; WebDataset shards (.tar); or rendered "
            "people, as `data make` makes them."
        ),
    ],
    out: OutArgument,
    size: Annotated[int, typer.Option(min=64, help="Width and height in pixels. SDXL: 1024.")] = 128,
    bundle: FacesOption = "mini",
    workers: Annotated[int, typer.Option(min=1, help="Processes; each takes a core.")] = 1,
    gpu: Annotated[bool, typer.Option("--gpu", help="Look for faces on CUDA.")] = False,
    persons: Annotated[
        Literal["folders", "unknown"],
        typer.Option(help="Photos: whether those in the same sub-folder show the same person."),
    ] = "folders",
    min_side: Annotated[
        int | None,
        typer.Option(
            min=32, help="Photos: leave smaller ones out. Default: --size, so that none is enlarged."
        ),
    ] = None,
    min_face: Annotated[
        int, typer.Option(min=0, help="Photos: leave those out whose largest face has fewer pixels a side.")
    ] = 64,
    faceless: Annotated[
        bool, typer.Option("--faceless", help="Photos: keep those without such a face, too.")
    ] = False,
    alone: Annotated[
        bool, typer.Option("--alone", help="Photos: leave those with several such faces out.")
    ] = False,
    fill: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.95,
            help="Rendered people: cut out so that the face fills so much of the width. 0: whole.",
        ),
    ] = 0.0,
) -> None:
    """Make pictures ready for training: cut square around the face that the bundle's models find, with its embedding.

    Damaged pictures are counted and named. Stop it with Ctrl-C; the same command goes on.
    """
    from .. import bundles, loading
    from ..training import preparing

    found = preparing.recognise(source, persons=persons == "folders")
    console.print(f"{found}.", markup=False)
    opened = loading.open_bundle(bundle)
    if opened.carries_opencv("faces"):
        bundles.fetch(opened, ("faces",))
    models = (_face_kind(opened), opened.require("faces"))
    wishes = preparing.Wishes(
        size=size, min_side=min_side or size, min_face=min_face, faceless=faceless, alone=alone, fill=fill
    )
    with _bar("Preparing", len(found.photos) or None) as advance:
        report = preparing.prepare(
            found, out, wishes, models, gpu=gpu, workers=workers, on_report=lambda part: advance(part.read)
        )
    console.print(preparing.summary(report), markup=False)
    console.print(f"Ready in {out}. Next: python -m instantid train latents {out} BUNDLE", markup=False)


def latents(
    data: Annotated[Path, typer.Argument(help="A folder of prepared data.")],
    bundle: Annotated[str, typer.Argument(help=f"Whose VAE encodes them. {BUNDLES}")],
    batch: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 4,
    device: Annotated[str | None, typer.Option(help="cuda or cpu. Default: the fastest there is.")] = None,
) -> None:
    """Encode prepared pictures by a bundle's VAE, which every stage but autoencoder and clip needs."""
    from .. import acceleration, loading
    from ..training import latents as encoding
    from ..training.prepared import Prepared

    prepared, opened = Prepared(data), loading.open_bundle(bundle)
    if device:
        acceleration.check_device(device)
    with _bar("Encoding", len(prepared)) as advance:
        chosen = device or acceleration.choose_device()
        encoding.encode(prepared, opened, chosen, batch=batch, on_pictures=advance)
    console.print(f"{len(prepared)} latents are in {data}.", markup=False)


def _face_kind(bundle: "Bundle") -> str:
    if bundle.faces is None:
        raise InvalidRequest(
            f"The bundle “{bundle.name}” has no face models, and finds nobody. Choose another --bundle."
        )
    return bundle.faces.kind


def _change(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequest(f"--set wants NAME=VALUE, such as settings.steps=200; got {text!r}.")
    try:
        return name.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise InvalidRequest(f"--set {name}: {value!r} is no value that YAML knows.") from None


def _line(stage: str, progress: "Standing") -> str:
    told = "  ".join(f"{name} {value:.4g}" for name, value in progress.figures.items())
    return (
        f"{stage} {progress.step}/{progress.steps}  {progress.seconds / 60:.1f} min  "
        f"{progress.examples_a_second:.1f} examples/s  {told}"
    )


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Take the first Ctrl-C as a wish, to be asked for between steps; the second one ends at once, as always."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)
        console.print("Pausing after this step (Ctrl-C again: at once, back to the last checkpoint) …")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _bar(about: str, total: int | None) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(about, total=total)
        yield lambda count: bar.advance(task, count)
