"""InstantID Studio in the browser: `python app.py [--bundle …] [--host …] [--port …]`, and the Hugging Face Space.

The composition root: flags → engine → page. The page is up first; the engine loads behind it, and with it torch.
"""

import argparse
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import spaces

from instantid import bundles, controls, hosting, recipes
from instantid.advice import likeness_scale
from instantid.cli import quieten
from instantid.errors import InstantIDError, InvalidRequest
from instantid.face_drawing import number_faces
from instantid.history import History
from instantid.images import open_image
from instantid.library import WANTED, Library
from instantid.request import SchedulerName
from instantid.saved_people import PeopleInFolder
from instantid.styles import DEFAULT_NEGATIVE_PROMPT, load_styles

if TYPE_CHECKING:
    from instantid.ui import Studio

EXAMPLES = Path(__file__).parent / "assets" / "examples"
RENDERED = "rendered: nobody real"
EXAMPLE_ROWS = (
    ("grace-hopper.jpg", None, "a woman", "Watercolor", "Grace Hopper"),
    ("eileen-collins.jpg", "pose-tilted.jpg", "a woman flying over Mars", "Mars", "Eileen Collins"),
    ("grace-hopper.jpg", "pose-close-up.jpg", "a woman in the rain", "Film Noir", "Grace Hopper"),
    ("eileen-collins.jpg", "pose-photographer.jpg", "a photographer in a park", "Snow", "Eileen Collins"),
    ("rendered-curls.jpg", None, "a woman with black curls", "Neon", RENDERED),
    ("rendered-jacket.jpg", None, "a man in a light jacket", "Line art", RENDERED),
    ("rendered-grey-hair.jpg", "pose-tilted.jpg", "a woman with grey hair", "Watercolor", RENDERED),
    ("rendered-red-hair.jpg", None, "a man with red hair", "Film Noir", RENDERED),
)


def main() -> None:
    """Serve the page until interrupted."""
    quieten()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # visitors' pictures go as they do after Ctrl+C
    with hosting.without_editor_stubs():
        from instantid.ui import build_ui, launch_options
    options = read_options()
    check_history(options)
    name, why = (options.bundle, "as asked for") if options.bundle else hosting.choose_bundle()
    library = Library(options.models)
    bundle = library.complete(hosting.open_bundle(name))
    if options.fetch:
        print(bundles.licence_notice(bundle, bundles.essential_parts(bundle)), flush=True)
        bundles.fetch(bundle, bundles.essential_parts(bundle))
    styles = load_styles(*options.styles)
    standby = hosting.Standby(
        lambda: hosting.load_engine(
            bundle,
            device=options.device,
            placement=options.placement,
            at_once=options.at_once,
            styles=styles,
            models=options.models,
        )
    )
    studio = make_studio(standby, bundle, styles, why, library, options)
    page = build_ui(studio)
    zero_gpu = bool(os.environ.get("SPACES_ZERO_GPU"))
    if zero_gpu:
        standby.load()  # ZeroGPU takes over what is on the GPU at the moment of launching
    address = {"server_name": options.host, "server_port": options.port, "share": options.share}
    page.launch(**address, **launch_options(studio), prevent_thread_lock=True)
    if not zero_gpu:
        standby.start()
    page.block_thread()


def make_studio(
    standby: hosting.Standby,
    bundle: bundles.Bundle,
    styles: dict,
    why: str,
    library: Library,
    options: argparse.Namespace,
) -> "Studio":
    """What the page is given."""
    from instantid.ui import Example, Studio

    def generate(request):
        yield from hosting.errors_told(standby.stream(request))

    on_gpu = spaces.GPU(generate, duration=hosting.seconds)
    return Studio(
        generate=lambda request: hosting.errors_raised(on_gpu(request)),
        # ZeroGPU lends its GPU for a time that is asked for beforehand: picture by picture.
        generate_several=None if os.environ.get("SPACES_ZERO_GPU") else standby.stream_several,
        find_faces=(lambda photo: standby.wait().find_faces(photo)) if bundle.faces else None,
        advise=(lambda photo: hosting.advise(standby.wait(), photo)) if bundle.faces else None,
        portrait=(lambda photos: hosting.portrait(standby.wait(), photos)) if bundle.faces else None,
        face_model=(lambda: standby.wait().face_finder.model) if bundle.faces else None,
        likeness_scale=likeness_scale(bundle.faces and bundle.faces.kind),
        saved_people=PeopleInFolder(options.people) if options.people else None,
        history=History(options.history) if options.history else None,
        number_faces=lambda photo, faces: number_faces(open_image(photo), faces),
        save=hosting.save,
        styles=styles,
        schedulers=get_args(SchedulerName),
        controls=controls.usable(bundle),
        readable_controls=controls.readable(bundle),
        style_reference=bundle.present(*bundles.STYLE_PARTS),
        faceid=bundle.present(*bundles.FACEID_PARTS),
        recipes={name: vars(recipes.RECIPES[name]) for name in recipes.usable(bundle)},
        weights=lambda: {kind: library.names(kind) for kind in WANTED},
        open_weights=only_here(options),
        defaults=bundle.defaults.model_dump(),
        banner=lambda: standby.banner(bundle.name, why),
        bundle=bundle.name,
        untrained=bundle.untrained,
        about=bundle.about or "",
        # A small model of this project's own has met few of its words: they tint the picture, and cost likeness.
        default_negative="" if bundle.trained else DEFAULT_NEGATIVE_PROMPT,
        # IdentityNet's face is most of what it paints: the skeleton adds a net to every step, and little more.
        first_controls=() if bundle.trained else ("pose",),
        control_strength=1.0 if bundle.trained else 0.4,  # the one that it was trained at
        examples=[
            Example(EXAMPLES / face, pose and EXAMPLES / pose, prompt, style, about)
            for face, pose, prompt, style, about in EXAMPLE_ROWS
        ],
    )


def only_here(options: argparse.Namespace) -> bool:
    """Whether the page is for whoever sits at this machine, and may name any file of it; else visitors come."""
    local = options.host in (None, "localhost", "127.0.0.1", "::1")
    return local and not options.share and "SPACE_ID" not in os.environ


def check_history(options: argparse.Namespace) -> None:
    """A history on disk is one person's: whoever opens the page sees all of it.

    Raises:
        InvalidRequest: others can open the page.
    """
    if options.history is not None and not only_here(options):
        raise InvalidRequest(
            f"--history {options.history} keeps every picture on disk and shows all of them to whoever opens the "
            "page, and others can open this one. Serve it to this machine only, without --host and --share; or "
            "leave --history out: each visitor then has a history of their own until they leave."
        )


def read_options() -> argparse.Namespace:
    """Flags; a Space, which has none, sets the environment variables named in their help."""
    parser = argparse.ArgumentParser(description="InstantID Studio in the browser.")
    parser.add_argument(
        "--bundle",
        default=os.environ.get("INSTANTID_BUNDLE"),
        help="mini, sdxl, sdxl:<base>, sdxl+union or a folder with bundle.json (INSTANTID_BUNDLE); default: sdxl "
        "where it has been fetched and there is a CUDA GPU, else mini",
    )
    parser.add_argument(
        "--fetch",
        action="store_true",
        default=os.environ.get("INSTANTID_FETCH") == "1",
        help="fetch missing weights before starting; you accept their licences, which are printed "
        "(INSTANTID_FETCH=1)",
    )
    parser.add_argument("--device", help="cuda, mps or cpu; default: the fastest there is")
    parser.add_argument(
        "--placement", help="resident, 'model offload' or 'group offload'; default: by free memory"
    )
    parser.add_argument(
        "--at-once",
        type=int,
        metavar="N",
        help="how many pictures that differ in their seeds alone are painted together; default: as many as a CUDA "
        "GPU has room for, else 1",
    )
    parser.add_argument(
        "--styles", type=Path, action="append", default=[], help="a folder of your own presets"
    )
    parser.add_argument(
        "--models",
        type=Path,
        action="append",
        default=[
            Path(folder) for folder in os.environ.get("INSTANTID_MODELS", "").split(os.pathsep) if folder
        ],
        help="a folder of ComfyUI, A1111 or your own, with checkpoints, LoRAs, VAEs and embeddings to choose from "
        "(INSTANTID_MODELS)",
    )
    parser.add_argument(
        "--people",
        type=Path,
        help="a folder to keep saved people in; without it they are kept until the page is closed. Anybody who can "
        "open the page can use and delete them",
    )
    parser.add_argument(
        "--history",
        type=Path,
        metavar="FOLDER",
        help="a folder to keep every picture in that is made on the page, with its settings, until it is deleted "
        "there; only for a page that nobody but this machine can open. Without it the history is kept until the "
        "page is closed",
    )
    parser.add_argument(
        "--host",
        default=os.environ.get("GRADIO_SERVER_NAME"),
        help="default: this machine only; 0.0.0.0 for the whole network (GRADIO_SERVER_NAME)",
    )
    parser.add_argument(
        "--share",
        action="store_true",
        default=os.environ.get("GRADIO_SHARE", "").lower() == "true",
        help="a link for everybody who is given it, through Gradio's servers (GRADIO_SHARE=true)",
    )
    parser.add_argument("--port", type=int, help="default: the first free one from 7860")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except InstantIDError as error:
        raise SystemExit(f"Error: {error}") from None
