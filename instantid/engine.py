"""A request → pictures. Owns the models, the device and the lock, and reads as a recipe.

Everything that one request changes in a model is lent for its length and restored after it.
"""

import logging
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image

from . import (
    acceleration,
    faces,
    images,
    loading,
    models,
    placing,
    prompts,
    remedies,
    scene,
    schedulers,
    style_reference,
)
from .acceleration import Plan
from .bundles import Bundle
from .controls import Annotators
from .errors import BundleError, InvalidRequest, OutOfMemory
from .guides import ControlNets, active, check_control
from .nets import Guide
from .painting import OnPass, Painter, Start, steps_of
from .progress import Clock, OnStep, Reporter, stream
from .request import MAX_SEED, Face, Request, Result, Step
from .scene import Scene
from .second_passes import detail_face, enlarge
from .styles import Style, find_style, load_styles

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
    ):
        self.bundle = bundle
        self.plan = plan
        self.styles = styles
        self._finder = finder
        self._models: models.Models | None = loaded
        self._weights: tuple[str | None, str | None] = (None, None)  # which base and VAE `_models` has
        self._annotators = Annotators(bundle, plan.device if plan.placement == "resident" else None)
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
        styles: Mapping[str, Style] | None = None,
        models_in: Sequence[Path] = (),
    ) -> "Engine":
        """Load a bundle's weights from this machine. Nothing is downloaded: `bundles.fetch` does that.

        Args:
            bundle: "mini", "sdxl", a folder with bundle.json, or a `Bundle`.
            device: "cuda", "mps" or "cpu"; None takes the fastest there is.
            dtype: None takes float16 on CUDA and float32 elsewhere.
            placement: None chooses by the memory that is free.
            styles: presets by name; None takes the ones that come along.
            models_in: folders with weights that requests may name: ComfyUI's, A1111's, or plain ones.
        """
        if not isinstance(bundle, Bundle):
            bundle = loading.open_bundle(bundle)
        device = torch.device(device) if device else acceleration.choose_device()
        loaded = models.load(bundle, dtype or acceleration.choose_dtype(device))
        plan = acceleration.make_plan(loaded.pipeline, device, placement)
        finder = None
        if bundle.faces:
            # On a card that is short of memory the face models stay off it (InstantID#61).
            gpu = device.type == "cuda" and plan.placement == "resident"
            finder = faces.load_finder(bundle.faces.kind, bundle.require("faces"), gpu=gpu)
        logger.info("Loaded the bundle %s: %s", bundle.name, plan)
        return cls(bundle, loaded, finder, plan, load_styles() if styles is None else styles)

    def find_faces(self, photo: Image.Image | Path | str) -> list[Face]:
        """The faces in a photo, largest first; none is an empty list."""
        if self._finder is None:
            raise BundleError(f"The bundle “{self.bundle.name}” has no face model.")
        return self._finder.find(images.open_image(photo))

    def generate(self, request: Request, on_step: OnStep | None = None) -> Result:
        """Make the pictures of one request. Others wait for their turn.

        Args:
            on_step: called as `on_step(step, total, preview)` from step 0 on, counted over all images of the
                run; `preview` is a small, rough picture of the one being made, None at step 0. Returning
                False cancels.

        Raises:
            InstantIDError: something in the request or the bundle does not work; `Cancelled` where `on_step`
                said so. The engine stays usable after either.
        """
        with self._lock, _readable_memory_errors(request):
            clock = Clock()
            request = self._with_defaults(request)
            plan = passes(request)
            report = Reporter(on_step, sum(plan) * request.images)
            report(0)
            with clock("faces"):
                there = scene.read(request, self._finder, self._area(request))
                request = request.replace(width=there.width, height=there.height)
            with clock("control maps"):
                maps = {} if request.free_pose else {"keypoints": there.keypoint_map}
                for name, control in active(request.controls).items():
                    maps[name] = there.map(name, control, self._annotators.draw)
            with clock("models"):
                loaded = self._loaded(request)
                guides = self._controlnets.guides(request.controls, maps, loaded.pipeline.unet)
            with clock("prompt"):
                acceleration.place(self.plan, loaded.pipeline)
                text = prompts.encode(loaded.pipeline, *self._styled(request), device=self.plan.device)
                style = loaded.style_sources(request, self.plan)
            painter = Painter(
                pipeline=loaded.pipeline,
                identity=loaded.identity,
                plan=self.plan,
                request=request,
                text=text,
                style=style,
                style_width=loaded.style_width,
                scheduler=lambda: schedulers.build(request.scheduler, loaded.scheduler_config, request.steps),
                preview=loaded.preview,
            )
            notes: list[str] = []
            with clock("pictures"):
                # One by one: a run of four needs no more memory than one, and each repeats by its seed.
                pictures = [
                    self._picture(painter, there, guides, plan, i, report, notes)
                    for i in range(request.images)
                ]
            with clock("likeness"):
                likeness = self._likeness(pictures, there)
            return Result(
                images=pictures,
                seed=request.seed,
                request=request,
                timings=clock.seconds | {"total": sum(clock.seconds.values())},
                control_maps=maps,
                likeness=likeness,
                notes=notes,
                bundle={
                    "name": self.bundle.name,
                    "untrained": self.bundle.untrained,
                    "device": self.plan.device.type,
                    "dtype": str(self.plan.dtype).removeprefix("torch."),
                },
            )

    def stream(self, request: Request) -> Iterator[Step | Result]:
        """`generate` as a generator: a `Step` per step, then the `Result`.

        Closing it cancels the run and returns at once; see `progress.stream`.
        """
        yield from stream(lambda on_step: self.generate(request, on_step))

    def _area(self, request: Request) -> tuple[int, int]:
        """The pixel budget where the request names no size."""
        area = self.bundle.defaults.width, self.bundle.defaults.height
        return remedies.off_size(area) if request.off_size else area

    def _with_defaults(self, request: Request) -> Request:
        """Fill in what was left open, and refuse early what this bundle cannot do."""
        if request.style is not None:
            find_style(self.styles, request.style)
        if style_reference.is_asked(request):
            style_reference.check_bundle(self.bundle)
        for name in active(request.controls):
            check_control(self.bundle, name)
        if request.repaint_mask is not None and request.upscale > 1 and request.upscale_by == "latents":
            raise InvalidRequest(
                "Latents cannot keep what lies outside a mask: choose upscale_by “pixels”, or leave the mask out."
            )
        defaults = self.bundle.defaults
        return request.replace(
            seed=secrets.randbelow(MAX_SEED - request.images) if request.seed is None else request.seed,
            steps=request.steps or defaults.steps,
            guidance_scale=defaults.guidance_scale
            if request.guidance_scale is None
            else request.guidance_scale,
            scheduler=request.scheduler or defaults.scheduler,
        )

    def _styled(self, request: Request) -> tuple[str, str]:
        if request.style is None:
            return request.prompt, request.negative_prompt
        return find_style(self.styles, request.style).apply(request.prompt, request.negative_prompt)

    def _loaded(self, request: Request) -> models.Models:
        """The models that a request wants; another base or VAE than the last one's is loaded first."""
        wanted = (request.base, request.vae)
        if self._models is None or self._weights != wanted:
            bundle = self.bundle
            self._models = None  # there may be no room for both
            self._models = models.load(bundle, self.plan.dtype)
            self._weights = wanted
        return self._models

    def _picture(
        self,
        painter: Painter,
        there: Scene,
        guides: Sequence[Guide],
        plan: Sequence[int],
        i: int,
        report: Reporter,
        notes: list[str],
    ) -> Image.Image:
        """Image `i` of a run: painted, made larger, its faces painted again, as far as that is asked for."""
        request, seed = painter.request, painter.request.seed + i
        done = i * sum(plan)

        def on_pass() -> OnPass:
            """Reports the next pass, which begins where the last one ends."""
            nonlocal done
            before, done = done, done + next(lengths)
            return lambda step, preview: report(before + step, preview)

        lengths = iter(plan)
        start = None
        if there.start is not None:
            start = Start(picture=there.start, strength=request.start_strength, mask=there.repaint)
        larger = request.upscale > 1
        picture = painter.paint(
            there,
            request.people,
            guides,
            seed,
            on_pass(),
            start=start,
            as_latents=larger and request.upscale_by == "latents",
        )
        if larger:
            picture, there = enlarge(painter, there, guides, picture, seed, on_pass())
        if request.face_detail:
            faces_there = self._faces_in(picture, there)
            for person, (planned, face) in enumerate(zip(there.faces, faces_there, strict=True)):
                if face is None:
                    notes.append(
                        f"Face detail: no face was found in picture {i + 1} where person {person + 1} should be; the "
                        "planned place was painted again."
                    )
                picture = detail_face(
                    painter, there, person, face or planned, picture, self._side(), seed, on_pass()
                )
        return picture

    def _side(self) -> int:
        """Of a square picture as large as the bundle's default one, in pixels."""
        defaults = self.bundle.defaults
        return round((defaults.width * defaults.height) ** 0.5 / images.GRID) * images.GRID

    def _faces_in(self, picture: Image.Image, there: Scene) -> list[Face | None]:
        """Everyone's face as it is found in a picture; None where there is none at a person's place."""
        found = [] if self._finder is None else self._finder.find(picture)
        if there.free_pose:
            return [found[0] if found else None]
        return placing.assigned(found, there.faces)

    def _likeness(self, pictures: list[Image.Image], there: Scene) -> list[float | None] | None:
        if self._finder is None:
            return None
        told = []
        for picture in pictures:
            pairs = list(zip(self._faces_in(picture, there), there.faces, strict=True))
            whole = all(face is not None for face, _ in pairs)
            told.append(min(faces.likeness(face, person) for face, person in pairs) if whole else None)
        return told


def passes(request: Request) -> list[int]:
    """How many steps each pass of one picture takes: painting it, making it larger, each face again.

    Raises:
        InvalidRequest: a strength leaves a pass nothing to do.
    """
    steps = request.steps
    lengths = [steps]
    if request.start_image is not None:
        lengths = [steps_of(steps, request.start_strength, "start_strength")]
    if request.upscale > 1:
        lengths.append(steps_of(steps, request.upscale_strength, "upscale_strength"))
    if request.face_detail:
        lengths += [steps_of(steps, request.face_detail_strength, "face_detail_strength")] * len(
            request.people
        )
    return lengths


@contextmanager
def _readable_memory_errors(request: Request) -> Iterator[None]:
    try:
        yield
    except (
        RuntimeError,
        MemoryError,
    ) as error:  # CUDA, Apple and the CPU allocator each have their own words
        told = ("out of memory", "can't allocate memory")
        if isinstance(error, RuntimeError) and not any(words in str(error).lower() for words in told):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise OutOfMemory(
            "There is not enough memory for this picture. Choose a smaller size or fewer images per run "
            f"(now {request.images}), or start with a leaner placement: --placement “group offload”."
        ) from error
