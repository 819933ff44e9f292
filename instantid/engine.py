"""A request → pictures. Owns the models, the device and the lock, and reads as a recipe.

Everything that one request changes in a model is lent for its length and restored after it.
"""

import gc
import logging
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch
from PIL import Image

from . import (
    acceleration,
    dotted,
    faceid,
    faces,
    images,
    loading,
    models,
    pictures,
    recipes,
    remedies,
    scene,
    schedulers,
    style_reference,
)
from .acceleration import Plan
from .bundles import Bundle
from .controls import Annotators
from .errors import BundleError, InvalidRequest
from .guides import ControlNets, active, check_control
from .library import Library
from .painting import Painter
from .progress import Clock, OnStep, Reporter, Tell, stream
from .request import MAX_SEED, Face, Request, Result, Step
from .scene import Scene
from .styles import Style, find_style, load_styles, styled

logger = logging.getLogger(__name__)


class Engine:
    """Generates pictures with one bundle, one request at a time. Made by `Engine.load`."""

    def __init__(
        self,
        bundle: Bundle,
        loaded: models.Models,
        finder: faces.FaceFinder | None,
        plan: Plan,
        styles: Mapping[str, Style],
        library: Library,
    ):
        self.bundle = bundle
        self.plan = plan
        self.styles = styles
        self.library = library
        self._finder = finder
        self._models: models.Models | None = loaded
        self._weights: tuple[str | None, str | None] = (None, None)  # which base and VAE `_models` has
        self._annotators = Annotators(bundle, plan.spare_device)
        self._controlnets = ControlNets(bundle)
        self._lock = threading.Lock()
        acceleration.place(plan, loaded.pipeline)

    @classmethod
    def load(
        cls,
        bundle: str | Path | Bundle = "mini",
        *,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        placement: acceleration.Placement | None = None,
        at_once: int | None = None,
        styles: Mapping[str, Style] | None = None,
        model_folders: Sequence[Path] = (),
    ) -> "Engine":
        """Load a bundle's weights from this machine. Nothing is downloaded: `bundles.fetch` does that.

        Args:
            bundle: "mini", "sdxl", a folder with bundle.json, or a `Bundle`.
            device: "cuda", "mps" or "cpu"; None takes the fastest there is.
            dtype: None takes float16 on CUDA and float32 elsewhere.
            placement: None chooses by the memory that is free.
            at_once: how many pictures that differ in their seeds alone to paint together, each as if it were painted
                alone, but for rounding; with 1, to the bit. None: as many as a CUDA GPU has room for, else 1.
            styles: presets by name; None takes the ones that come along.
            model_folders: of ComfyUI, A1111 or plain ones: weights that requests may name, and parts of the bundle
                that would have to be fetched.
        """
        acceleration.check_at_once(at_once)
        if not isinstance(bundle, Bundle):
            bundle = loading.open_bundle(bundle)
        library = Library(model_folders, bundle.hub)
        bundle = library.complete(bundle)
        device = torch.device(device) if device else acceleration.choose_device()
        loaded = models.load(bundle, dtype or acceleration.choose_dtype(device))
        more = ControlNets(bundle).weight_bytes(loaded.pipeline.unet.dtype)
        plan = acceleration.make_plan(loaded.pipeline, device, placement, extra=more, at_once=at_once)
        finder = None
        if bundle.faces:
            # On a card that is short of memory the face models stay off it (InstantID#61).
            gpu = device.type == "cuda" and plan.placement == "resident"
            finder = faces.load_finder(bundle.faces.kind, bundle.require("faces"), gpu=gpu)
        logger.info("Loaded the bundle %s: %s", bundle.name, plan)
        return cls(bundle, loaded, finder, plan, load_styles() if styles is None else styles, library)

    @property
    def face_finder(self) -> faces.FaceFinder:
        """The bundle's face model: finds faces, tells its name and, where it can, an age.

        Raises:
            BundleError: the bundle has none.
        """
        if self._finder is None:
            raise BundleError(f"The bundle “{self.bundle.name}” has no face model.")
        return self._finder

    def find_faces(self, photo: Image.Image | Path | str) -> list[Face]:
        """The faces in a photo, largest first; none is an empty list."""
        return self.face_finder.find(images.open_image(photo))

    def generate(self, request: Request, on_step: OnStep | None = None) -> Result:
        """Make the pictures of one request. Others wait for their turn.

        Args:
            on_step: called as `on_step(step, total, preview)` from step 0 on, counted over all passes of all
                images; `preview` is a small, rough picture of the one being made, None at step 0. Returning
                False cancels.

        Raises:
            InstantIDError: something in the request or the bundle does not work; `Cancelled` where `on_step`
                said so. The engine stays usable after either.
        """

        tell = on_step and (lambda step, total, preview, note: on_step(step, total, preview))
        (result,) = self._generate([request], tell)
        return result

    def stream(self, request: Request) -> Iterator[Step | Result]:
        """`generate` as a generator: a `Step` per step, then the `Result`.

        Closing it cancels the run and returns at once; see `progress.stream`.
        """
        yield from stream(lambda tell: self._generate([request], tell))

    def stream_several(self, requests: Sequence[Request]) -> Iterator[Step | Result]:
        """`stream` for requests that differ in their seeds alone: a `Result` for each, in order, once it is there.

        Steps are counted over all of them. Timings of what was done for several at once are shares of it.

        Raises:
            InvalidRequest: they differ in more.
            InstantIDError: as `generate`; results that came before stand.
        """
        if len({dotted.but_for_seed(request) for request in requests}) != 1:
            raise InvalidRequest(
                "Only requests that differ in their seeds alone are made together. Make the others one by one."
            )
        yield from stream(lambda tell: self._generate(requests, tell))

    def _generate(self, requests: Sequence[Request], tell: Tell | None) -> Iterator[Result]:
        """A `Result` for each of some requests that differ in their seeds alone, once it is there."""
        with self._lock, acceleration.readable_memory_errors():
            clock = Clock()
            requests = [self._with_defaults(request) for request in requests]
            request = requests[0]
            report = Reporter(tell, len(requests) * pictures.steps_in_all(request))
            report(0, note="Reading the photos")
            with clock("faces"):
                there = scene.read(request, self._finder, self._area(request), self.bundle.defaults)
                request = request.replace(width=there.width, height=there.height)
            with clock("control maps"):
                maps = {} if request.free_pose else {"keypoints": there.keypoint_map}
                for name, control in active(request.controls).items():
                    maps[name] = there.map(name, control, self._annotators.draw)
            report(0, note="Preparing")
            with clock("models"):
                loaded = self._loaded(request)
                notes = loaded.lay(request, self._loras(request), self._inversions(request))
                guides = self._controlnets.guides(request.controls, maps, loaded.pipeline.unet)
                notes += pictures.idle(guides, request)
                notes += schedulers.unsuited(request, self.bundle.defaults.scheduler)
                notes += remedies.unheard(request)
            with clock("prompt"):
                acceleration.place(self.plan, loaded.pipeline)
                words = styled(self.styles, request)
                text = loaded.text(*words, self.plan)
                notes += loaded.tuning.unused(*words)
                notes += loaded.unmet(request.prompt, request.style)
                others = loaded.others(request, self.plan, self._finder)
            painter = Painter(
                pipeline=loaded.pipeline,
                identity=loaded.identity,
                plan=self.plan,
                request=request,
                text=text,
                others=others,
                scheduler=lambda: schedulers.build(
                    request.scheduler,
                    loaded.scheduler_config,
                    request.steps,
                    recipes.scheduler_settings(request),
                ),
                preview=loaded.preview,
            )
            seeds = [each.seed + i for each in requests for i in range(each.images)]
            made = pictures.make(
                painter, there, guides, seeds, report, self._finder, self.bundle.defaults.side
            )
            seconds = {stage: spent / len(requests) for stage, spent in clock.seconds.items()}
            for each in requests:
                own = request.replace(seed=each.seed)
                yield self._result(own, list(islice(made, own.images)), there, maps, notes, seconds)

    def _result(
        self,
        request: Request,
        made: Sequence[pictures.Made],
        there: Scene,
        maps: Mapping[str, Image.Image],
        notes: Sequence[str],
        seconds: Mapping[str, float],
    ) -> Result:
        clock = Clock()
        clock.seconds |= seconds | {"pictures": sum(each.seconds for each in made)}
        with clock("likeness"):
            likeness = pictures.likeness(made, there, self._finder)
        at_once = max(each.at_once for each in made)
        return Result(
            images=[each.image for each in made],
            seed=request.seed,
            request=request,
            timings=clock.seconds | {"total": sum(clock.seconds.values())},
            control_maps=dict(maps),
            likeness=likeness,
            notes=[*notes, *dict.fromkeys(note for each in made for note in each.notes)],
            bundle={
                "name": self.bundle.name,
                "untrained": self.bundle.untrained,
                "device": self.plan.device.type,
                "dtype": str(self.plan.dtype).removeprefix("torch."),
                **({"at_once": at_once} if at_once > 1 else {}),
            },
        )

    def _area(self, request: Request) -> tuple[int, int]:
        """The pixel budget where the request names no size."""
        area = self.bundle.defaults.width, self.bundle.defaults.height
        return remedies.off_size(area, self.bundle.defaults.grid) if request.off_size else area

    def _with_defaults(self, request: Request) -> Request:
        """Fill in what was left open, and refuse early what this bundle cannot do."""
        if request.style is not None:
            find_style(self.styles, request.style)
        if style_reference.is_asked(request):
            style_reference.check_bundle(self.bundle)
        if faceid.is_asked(request):
            faceid.check_bundle(self.bundle)
        for name in active(request.controls):
            check_control(self.bundle, name)
        images.check_sides(request.width, request.height, self.bundle.defaults.grid)
        if request.repaint_mask is not None and request.upscale > 1 and request.upscale_by == "latents":
            raise InvalidRequest(
                "Latents cannot keep what lies outside a mask: choose upscale_by “pixels”, or leave the mask out."
            )
        if request.recipe is not None:
            recipes.weights(request.recipe, self.bundle)
        if request.seed is None:
            request = request.replace(seed=secrets.randbelow(MAX_SEED - request.images))
        return recipes.fill(request, self.bundle.defaults)

    def _loaded(self, request: Request) -> models.Models:
        """The models that a request wants; another base or VAE than the last one's is loaded first."""
        wanted = (request.base, request.vae)
        if self._models is None or self._weights != wanted:
            base = request.base and self.library.find("checkpoints", request.base)
            vae = request.vae and self.library.find("vaes", request.vae)
            bundle = loading.with_base(self.bundle, base, vae)
            self._models = None  # there may be no room for both
            gc.collect()  # offloading's hooks and their modules hold each other
            self._models = models.load(bundle, self.plan.dtype)
            self._weights = wanted
        return self._models

    def _loras(self, request: Request) -> list[tuple[Path, float]]:
        """The recipe's weights and the request's own, with their strengths."""
        recipe = [] if request.recipe is None else [recipes.weights(request.recipe, self.bundle)]
        return recipe + [(self.library.find("loras", lora.source), lora.strength) for lora in request.loras]

    def _inversions(self, request: Request) -> list[Path]:
        return [self.library.find("embeddings", source) for source in request.textual_inversions]
