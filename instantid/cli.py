"""`python -m instantid …`: pictures, weights and a look at the machine, without the page."""

import logging
import os
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from .errors import InstantIDError, InvalidRequest
from .request import Person, Photo, Request, Step

app = typer.Typer(
    help="InstantID Studio: one photo of a face becomes any picture of that person.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
# Unwrapped: paths and the commands that repair things are there to be copied.
console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def _about(field: str) -> str:
    return Request.model_fields[field].description or ""


BUNDLES = "mini, sdxl, sdxl:<base>, or a folder with bundle.json."
BundleOption = Annotated[str, typer.Option(help=BUNDLES)]
DeviceOption = Annotated[str | None, typer.Option(help="cuda, mps or cpu. Default: the fastest there is.")]
PlacementOption = Annotated[
    str | None, typer.Option(help="resident, “model offload” or “group offload”. Default: by free memory.")
]


def _told(command: Callable[..., None]) -> Callable[..., None]:
    """Say what a user can mend in one line, and end with 1. Anything else is a bug and shows its trace."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except InstantIDError as error:
            console.print(f"[red]Error:[/red] {escape(str(error))}")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            console.print("Stopped.")
            raise typer.Exit(130) from None

    return run


@app.callback()
def _quiet() -> None:
    quieten()


@app.command()
@_told
def generate(
    face: Annotated[
        list[Path], typer.Option(help="A photo of the face. Several of one person are averaged.")
    ],
    prompt: Annotated[str | None, typer.Option(help=_about("prompt"))] = None,
    pose: Annotated[Path | None, typer.Option(help=_about("pose_image"))] = None,
    style: Annotated[str | None, typer.Option(help=_about("style"))] = None,
    control: Annotated[
        list[str] | None, typer.Option(help="pose, canny or depth and its strength, such as canny=0.4.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the PNG goes. Several are numbered.")] = Path(
        "picture.png"
    ),
    negative: Annotated[str | None, typer.Option(help=_about("negative_prompt"))] = None,
    seed: Annotated[int | None, typer.Option(help="Default: a random one, which is told.")] = None,
    steps: Annotated[int | None, typer.Option(help=_about("steps"))] = None,
    cfg: Annotated[float | None, typer.Option(help=_about("guidance_scale"))] = None,
    scheduler: Annotated[str | None, typer.Option(help=_about("scheduler"))] = None,
    identity_strength: Annotated[float | None, typer.Option(help=_about("identity_strength"))] = None,
    adapter_strength: Annotated[float | None, typer.Option(help=_about("adapter_strength"))] = None,
    face_region: Annotated[bool | None, typer.Option(help=_about("face_region"))] = None,
    width: Annotated[int | None, typer.Option(help=_about("width"))] = None,
    height: Annotated[int | None, typer.Option(help=_about("height"))] = None,
    images: Annotated[int | None, typer.Option(help=_about("images"))] = None,
    face_number: Annotated[int, typer.Option(help="Which face of each face photo; 1 is the largest.")] = 1,
    pose_face_number: Annotated[int, typer.Option(help="Which face of the pose photo.")] = 1,
    from_: Annotated[
        Path | None, typer.Option("--from", help="Repeat this picture of ours; other options change it.")
    ] = None,
    styles: Annotated[
        list[Path] | None, typer.Option(help="A folder of your own presets, in the format of style_presets/.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist.")] = False,
    bundle: Annotated[
        str | None, typer.Option(help=f"{BUNDLES} Default: the one of --from, else mini.")
    ] = None,
    device: DeviceOption = None,
    placement: PlacementOption = None,
) -> None:
    """Make a picture of the person in the photos."""
    from . import metadata
    from .images import open_image
    from .styles import find_style, load_styles

    settings = {
        "prompt": prompt,
        "negative_prompt": negative,
        "style": style,
        "controls": _controls(control) if control else None,
        "seed": seed,
        "steps": steps,
        "guidance_scale": cfg,
        "scheduler": scheduler,
        "identity_strength": identity_strength,
        "adapter_strength": adapter_strength,
        "face_region": face_region,
        "width": width,
        "height": height,
        "images": images,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    references = [Photo(image=path, face=face_number) for path in face]
    pose_image = Photo(image=pose, face=pose_face_number) if pose else None
    record = metadata.read(from_) if from_ else None
    bundle = bundle or (_bundle_of(record.bundle) if record else "mini")
    if record is None:
        people = [Person(references=references)]
        request = Request(people=people, pose_image=pose_image, **({"seed": None} | given))
    else:
        request, differences = metadata.restore(record, references, pose_image=pose_image, **given)
        for difference in differences:
            console.print(f"[yellow]Note:[/yellow] {escape(difference)} The result will differ.")
    # Loading takes minutes with large weights: what can be refused is refused before.
    paths = _paths(out, request.images, overwrite)
    presets = load_styles(*(styles or ()))
    if request.style is not None:
        find_style(presets, request.style)
    for photo in (*references, *([pose_image] if pose_image else [])):
        open_image(photo.image)
    engine = _engine(bundle, device, placement, presets)
    columns = (TextColumn("Generating"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        for event in engine.stream(request):
            if isinstance(event, Step):
                bar.update(task, completed=event.step, total=event.total)
            else:
                result = event
    metadata.save(result, paths)
    for i, path in enumerate(paths):
        likeness = result.likeness and result.likeness[i]
        told = f", likeness {likeness:.2f}" if likeness is not None else ", no face found in it"
        console.print(f"Wrote {escape(str(path))}: seed {result.seeds[i]}{told if result.likeness else ''}")
    if record is not None:
        for difference in metadata.made_otherwise(record, result.bundle):
            console.print(f"[yellow]Note:[/yellow] {escape(difference)} The result may differ.")
    if result.bundle["untrained"]:
        console.print("[yellow]Note:[/yellow] these weights are untrained: the picture is abstract.")


@app.command()
@_told
def fetch(
    bundle: BundleOption = "mini",
    part: Annotated[list[str] | None, typer.Option(help="Only this part, such as controlnets.canny.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what only some requests need.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Accept the licences shown.")] = False,
) -> None:
    """Bring a bundle's weights to this machine. Resumes where it stopped."""
    from . import bundles, loading

    opened = loading.open_bundle(bundle)
    parts = tuple(part or (opened.sources if everything else bundles.essential_parts(opened)))
    for name in parts:
        opened.place(name)  # refuses what the bundle does not have
    missing = [status.name for status in opened.parts() if status.name in parts and not status.present]
    if not missing:
        console.print(f"Everything asked for is here already: {', '.join(parts)}.")
        return
    console.print(bundles.licence_notice(opened, missing), markup=False)
    if not yes and not typer.confirm("Fetch them on these terms?", err=True):
        raise typer.Exit(1)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        tasks: dict[str, Any] = {}

        def on_progress(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        bundles.fetch(opened, parts, on_progress=on_progress)
    console.print("Done.")


@app.command()
@_told
def doctor(
    bundle: BundleOption = "mini",
    try_: Annotated[
        bool, typer.Option("--try", help="Load it, run every mode, write a page of pictures.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for the page of --try.")] = Path("trial"),
    device: DeviceOption = None,
    placement: PlacementOption = None,
) -> None:
    """Look at this machine and a bundle, and say how to repair what is wrong."""
    from . import doctor as checks

    if try_ and out.exists() and not out.is_dir():
        raise InvalidRequest(f"--out wants a folder for the page of --try; {out} is a file.")
    findings = checks.examine(bundle)
    for finding in findings:
        mark = "[green]ok[/green]  " if finding.good else "[red]bad[/red] "
        console.print(f"{mark} {escape(finding.subject)}: {escape(finding.found)}")
        if finding.repair:
            console.print(f"      repair: {escape(finding.repair)}")
    if try_:
        from . import trial

        outcomes = trial.run(
            _engine(bundle, device, placement), out, lambda line: console.print(line, markup=False)
        )
        console.print(f"Wrote {out / 'index.html'}. Open it in a browser.", markup=False)
        raise typer.Exit(1 if any(outcome.problems for outcome in outcomes) else 0)
    raise typer.Exit(0 if all(finding.good for finding in findings) else 1)


def quieten() -> None:
    """Keep the libraries' chatter off the terminal: it reads like errors to who does not know them.

    Takes effect on libraries that are not imported yet; what the user has set stays.
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning)
    for name in ("DIFFUSERS_VERBOSITY", "TRANSFORMERS_VERBOSITY"):
        os.environ.setdefault(name, "error")


def _engine(
    bundle: str, device: str | None, placement: str | None, styles: Mapping[str, Any] | None = None
) -> Any:
    from . import hosting

    with console.status(f"Loading {escape(bundle)} …"):
        opened = hosting.open_bundle(bundle)
        return hosting.load_engine(opened, device=device, placement=placement, styles=styles)


def _bundle_of(made_with: Mapping[str, Any]) -> str:
    """The bundle that a picture names. Never a folder: the file may be a stranger's."""
    name = str(made_with.get("name"))
    if name not in ("mini", "sdxl") and not name.startswith("sdxl:"):
        raise InvalidRequest(
            f"The picture was made with a bundle called “{name}”: give its folder as --bundle."
        )
    return name


def _controls(given: list[str]) -> dict[str, float]:
    controls = {}
    for text in given:
        name, _, strength = text.partition("=")
        try:
            controls[name] = float(strength)
        except ValueError:
            raise InvalidRequest(
                f"--control wants a name and a strength, such as canny=0.4; got {text!r}."
            ) from None
    return controls


def _paths(out: Path, images: int, overwrite: bool) -> list[Path]:
    """Where the pictures go; refused early what could not be written after minutes of work."""
    if out.suffix.lower() != ".png":
        raise InvalidRequest(f"--out must end in .png, which carries the request; got {out}.")
    if not out.parent.is_dir():
        raise InvalidRequest(f"There is no folder {out.parent} for {out.name}. Make it first.")
    paths = [out] if images == 1 else [out.with_stem(f"{out.stem}-{i + 1}") for i in range(images)]
    for path in paths:
        if path.exists() and not overwrite:
            raise InvalidRequest(f"{path} exists. Choose another --out, or add --overwrite.")
    return paths


def main() -> None:
    """The entry point of `python -m instantid`."""
    app(prog_name="python -m instantid")
