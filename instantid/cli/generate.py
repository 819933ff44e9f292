"""`generate`: a picture from the command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..bundles import is_published
from ..errors import InvalidRequest
from ..request import Person, Photo, Request, Step
from .terminal import BUNDLES, DeviceOption, PlacementOption, console, load_engine


def _about(field: str) -> str:
    return Request.model_fields[field].description or ""


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
    from .. import metadata
    from ..images import open_image
    from ..styles import find_style, load_styles

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
    engine = load_engine(bundle, device, placement, presets)
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


def _bundle_of(made_with: Mapping[str, Any]) -> str:
    """The bundle that a picture names. Never a folder: the file may be a stranger's."""
    name = str(made_with.get("name"))
    if name != "mini" and not is_published(name):
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
