"""What a host needs around an engine: which bundle to take, loading it beside a page that is already up, and
how long a run will take. Knows engines, not pages.
"""

import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from . import bundles, effort, metadata
from .errors import BundleError, InstantIDError
from .images import open_image
from .people import Photo, Portrait
from .progress import HEARTBEAT
from .request import Request, Result, Step
from .styles import Style

if TYPE_CHECKING:
    from .engine import Engine

logger = logging.getLogger(__name__)


def choose_bundle() -> tuple[str, str]:
    """The bundle to run where none was asked for, and why.

    The published weights where they have been fetched and a CUDA GPU is there to run them, else `mini`.
    """
    sdxl = bundles.open_bundle("sdxl")
    needed = bundles.essential_parts(sdxl)
    try:
        missing = [part for part in needed if not sdxl.present(part)]
    except InstantIDError as error:  # a damaged lock file must not keep `mini` from running
        return "mini", f"the published weights cannot be used: {error}"
    if missing:
        return "mini", "the published weights are not here"
    import torch  # seconds: not before it has to be

    if not torch.cuda.is_available():
        return "mini", "the published weights want a CUDA GPU; --bundle sdxl runs them without one, slowly"
    return "sdxl", "the published weights, on this machine's GPU"


@contextmanager
def without_editor_stubs() -> Iterator[None]:
    """Import Gradio in here, and the page is up in 3 seconds instead of 5.

    At every import Gradio parses its 81 components to write stubs for editors (component_meta.py,
    create_or_modify_pyi). It leaves out classes that are in no file, which is what it is told here.
    """
    getfile = inspect.getfile

    def file_of(thing: object) -> str:
        if getattr(thing, "__module__", "").startswith("gradio."):
            raise OSError
        return getfile(thing)

    inspect.getfile = file_of
    try:
        yield
    finally:
        inspect.getfile = getfile


def open_bundle(name: str | Path) -> bundles.Bundle:
    """A bundle, `mini` with its face models, which are small and free. Nothing else is fetched unasked."""
    if not bundles.is_built(str(name)):
        from . import loading  # torch builds it

        loading.open_bundle(name)
    bundle = bundles.open_bundle(name)
    if str(name) == "mini":
        bundles.fetch(bundle, ("faces",), on_progress=lambda *_: None)
    return bundle


def load_engine(
    bundle: bundles.Bundle,
    *,
    device: str | None = None,
    placement: str | None = None,
    at_once: int | None = None,
    styles: Mapping[str, Style] | None = None,
    models: Sequence[Path] = (),
) -> "Engine":
    """Import the libraries, which takes seconds, and load the bundle."""
    from . import acceleration
    from .engine import Engine

    if placement is not None and placement not in acceleration.PLACEMENTS:
        places = ", ".join(acceleration.PLACEMENTS)
        raise BundleError(f"There is no placement {placement!r}: take one of {places}.")
    if device is not None:
        acceleration.check_device(device)
    return Engine.load(
        bundle, device=device, placement=placement, at_once=at_once, styles=styles, model_folders=models
    )


class Standby:
    """An engine that loads in the background. What comes before it is ready waits for it."""

    def __init__(self, load: Callable[[], "Engine"]):
        self._load = load
        self._engine: Engine | None = None
        self._problem: Exception | None = None
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to load, and return at once."""
        threading.Thread(target=self.load, name="load", daemon=True).start()

    def load(self) -> None:
        """Load now. What goes wrong is told to whoever asks for the engine; a bug is logged as well."""
        try:
            self._engine = self._load()
        except Exception as error:
            self._problem = error
            if not isinstance(error, InstantIDError):
                logger.exception("The model could not be loaded")
        finally:
            self._over.set()

    def wait(self) -> "Engine":
        """The engine, once it is there.

        Raises:
            InstantIDError: why it could not be loaded.
        """
        self._over.wait()
        if self._engine is None:
            known = isinstance(self._problem, InstantIDError)
            why = self._problem if known else f"{self._problem!r}. The log has the details."
            raise BundleError(f"The model could not be loaded. {why}") from self._problem
        return self._engine

    def stream(self, request: Request) -> Iterator[Step | Result]:
        """`Engine.stream`, with a sign of life while the engine is still loading."""
        yield from self._signs_of_life()
        yield from self.wait().stream(request)

    def stream_several(self, requests: Sequence[Request]) -> Iterator[Step | Result]:
        """`Engine.stream_several`, likewise."""
        yield from self._signs_of_life()
        yield from self.wait().stream_several(requests)

    def _signs_of_life(self) -> Iterator[Step]:
        while not self._over.wait(HEARTBEAT):
            yield Step(0, 1, None, "Loading the model")

    def banner(self, name: str, why: str) -> Iterator[str]:
        """One line on what runs here and why, and again once it is known better."""
        if not self._over.is_set():
            yield f"{name} · loading…"
        try:
            yield f"{name} · {self.wait().plan} · {why}"
        except InstantIDError as error:
            yield f"{name} · {error}"


def errors_told(events: Iterator[Step | Result]) -> Iterator[Step | Result | InstantIDError]:
    """Yield what a user can mend instead of raising it: between ZeroGPU's processes an error loses its words."""
    try:
        yield from events
    except InstantIDError as error:
        yield error


def errors_raised(events: Iterator[Step | Result | InstantIDError]) -> Iterator[Step | Result]:
    """The other end of `errors_told`."""
    with closing(events):
        for event in events:
            if isinstance(event, InstantIDError):
                raise event
            yield event


def save(result: Result, folder: Path) -> list[Path]:
    """Write the pictures, with their metadata, into a folder; one path each, named by seed."""
    paths = [folder / f"instantid-{seed}.png" for seed in result.seeds]
    metadata.save(result, paths)
    return paths


def advise(engine: "Engine", photo: Path) -> list[str]:
    """What could be better about a face photo, one line each."""
    from . import advice

    return [line.text for line in advice.of(open_image(photo), engine.face_finder)]


def portrait(engine: "Engine", photos: Sequence[Photo]) -> Portrait:
    """One person's photos, averaged into a portrait to keep."""
    from .faces import take_portrait

    return take_portrait(engine.face_finder, photos)


def seconds(request: Request) -> int:
    """How long a run may take on a ZeroGPU Space, generously: what is not used goes back to the visitor's quota.

    Judged for an H200 slice, not measured: about 0.15 s a step at one megapixel, and 20 s to wake up.
    """
    return round(20 + 0.15 * effort.of(request))
