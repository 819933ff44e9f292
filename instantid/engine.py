"""A request → pictures. Owns the models, the device and the lock, and reads as a recipe.

Everything that one request changes in a model is lent for its length and restored after it.
"""

import logging
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, StableDiffusionXLControlNetPipeline
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from PIL import Image

from . import acceleration, faces, identity, images, loading, prompts, scene, schedulers
from .acceleration import Plan
from .bundles import Bundle
from .controls import Annotators
from .errors import BundleError, InvalidRequest, OutOfMemory
from .preview import Preview
from .progress import Clock, OnStep, Reporter, stream
from .request import MAX_SEED, Face, Request, Result, Step
from .scene import Scene
from .styles import Style, find_style, load_styles

logger = logging.getLogger(__name__)


class Engine:
    """Generates pictures with one bundle, one request at a time. Made by `Engine.load`."""

    def __init__(
        self,
        bundle: Bundle,
        pipeline: StableDiffusionXLControlNetPipeline,
        finder: faces.FaceFinder | None,
        plan: Plan,
        styles: Mapping[str, Style],
    ):
        self.bundle = bundle
        self.plan = plan
        self.styles = styles
        self._pipeline = pipeline
        self._finder = finder
        self._scheduler_config = dict(pipeline.scheduler.config)  # as published; every scheduler starts here
        self._preview = Preview(pipeline.vae)
        self._identity = identity.attach(pipeline, bundle.require("identity_adapter"), pipeline.controlnet)
        self._annotators = Annotators(bundle)
        self._nets: dict[str, ControlNetModel] = {}
        self._lock = threading.Lock()
        acceleration.place(plan, pipeline)

    @classmethod
    def load(
        cls,
        bundle: str | Path | Bundle = "mini",
        *,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        placement: acceleration.Placement | None = None,
        styles: Mapping[str, Style] | None = None,
    ) -> "Engine":
        """Load a bundle's weights from this machine. Nothing is downloaded: `bundles.fetch` does that.

        Args:
            bundle: "mini", "sdxl", a folder with bundle.json, or a `Bundle`.
            device: "cuda", "mps" or "cpu"; None takes the fastest there is.
            dtype: None takes float16 on CUDA and float32 elsewhere.
            placement: None chooses by the memory that is free.
            styles: presets by name; None takes the ones that come along.
        """
        if not isinstance(bundle, Bundle):
            bundle = loading.open_bundle(bundle)
        device = torch.device(device) if device else acceleration.choose_device()
        pipeline = loading.load_pipeline(bundle, dtype or acceleration.choose_dtype(device))
        plan = acceleration.make_plan(pipeline, device, placement)
        finder = None
        if bundle.faces:
            # On a card that is short of memory the face models stay off it (InstantID#61).
            gpu = device.type == "cuda" and plan.placement == "resident"
            finder = faces.load_finder(bundle.faces.kind, bundle.require("faces"), gpu=gpu)
        logger.info("Loaded the bundle %s: %s", bundle.name, plan)
        return cls(bundle, pipeline, finder, plan, load_styles() if styles is None else styles)

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
            report = Reporter(on_step, request.steps * request.images)
            report(0)
            with clock("faces"):
                there = scene.read(request, self._finder, self._area)
                request = request.replace(width=there.width, height=there.height)
            with clock("control maps"):
                maps = {"keypoints": there.keypoint_map}
                maps |= {name: there.map(name, self._annotators.draw) for name in _active(request)}
            with self._lent(request, there) as pipeline:
                with clock("prompt"):
                    text = prompts.encode(pipeline, *self._styled(request), device=self.plan.device)
                with clock("pictures"):
                    # One by one: a run of four needs no more memory than one, and each repeats by its seed.
                    pictures = [
                        self._denoise(pipeline, request, there, maps, text, report, i)
                        for i in range(request.images)
                    ]
            with clock("likeness"):
                likeness = self._likeness(pictures, there.face)
            return Result(
                images=pictures,
                seed=request.seed,
                request=request,
                timings=clock.seconds | {"total": sum(clock.seconds.values())},
                control_maps=maps,
                likeness=likeness,
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

    @property
    def _area(self) -> tuple[int, int]:
        return self.bundle.defaults.width, self.bundle.defaults.height

    def _with_defaults(self, request: Request) -> Request:
        """Fill in what was left open, and refuse early what this bundle cannot do."""
        if request.style is not None:
            find_style(self.styles, request.style)
        if request.style_image is not None and request.style_strength > 0:
            raise InvalidRequest("Style pictures do not work yet. Leave style_image out, or choose a preset.")
        for name in _active(request):
            if not self.bundle.has(f"controlnets.{name}"):
                raise InvalidRequest(
                    f"The bundle “{self.bundle.name}” has no {name} ControlNet: set it to 0."
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

    @contextmanager
    def _lent(self, request: Request, there: Scene) -> Iterator[StableDiffusionXLControlNetPipeline]:
        """The pipeline, set up for one request; as before once it is over, however it ends."""
        pipeline = self._pipeline
        person = request.people[0]
        scheduler = schedulers.build(request.scheduler, self._scheduler_config, request.steps)
        extra = [self._net(name) for name in _active(request)]
        with ExitStack() as lent:
            for name in ("scheduler", "controlnet"):
                lent.callback(setattr, pipeline, name, getattr(pipeline, name))
            pipeline.scheduler = scheduler
            if extra:
                pipeline.controlnet = MultiControlNetModel([self._identity.net, *extra])
            acceleration.place(self.plan, pipeline)
            lent.enter_context(
                self._identity.conditioning(
                    there.face.embedding,
                    adapter_strength=_own(person.adapter_strength, request.adapter_strength),
                    mask=images.box_mask(there.face.box, there.width, there.height)
                    if request.face_region
                    else None,
                )
            )
            yield pipeline

    def _net(self, name: str) -> ControlNetModel:
        if name not in self._nets:
            self._nets[name] = loading.load_controlnet(
                self.bundle, f"controlnets.{name}", self._pipeline.unet
            )
        return self._nets[name]

    def _denoise(
        self,
        pipeline: StableDiffusionXLControlNetPipeline,
        request: Request,
        there: Scene,
        maps: Mapping[str, Image.Image],
        text: prompts.PromptEmbeddings,
        report: Reporter,
        i: int,
    ) -> Image.Image:
        guided = request.guidance_scale > 1  # as diffusers decides it
        identity_strength = _own(request.people[0].identity_strength, request.identity_strength)
        strengths = [identity_strength, *_active(request).values()]
        several = len(strengths) > 1

        def after_step(pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            # Second-order samplers visit more timesteps than there are steps.
            done = (index + 1) * request.steps // pipeline.num_timesteps
            report(i * request.steps + done, lambda: self._preview(tensors["latents"]))
            return tensors

        return pipeline(
            prompt_embeds=text.prompt_embeds,
            pooled_prompt_embeds=text.pooled_prompt_embeds,
            negative_prompt_embeds=text.negative_prompt_embeds if guided else None,
            negative_pooled_prompt_embeds=text.negative_pooled_prompt_embeds if guided else None,
            # diffusers moves ready embeddings to the device, and leaves their precision to the caller.
            ip_adapter_image_embeds=[
                self._identity.embeddings(there.face.embedding, guided=guided).to(pipeline.unet.dtype)
            ],
            image=list(maps.values()) if several else maps["keypoints"],
            controlnet_conditioning_scale=strengths if several else strengths[0],
            num_inference_steps=request.steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(request.seed + i),
            width=request.width,
            height=request.height,
            callback_on_step_end=after_step,
        ).images[0]

    def _likeness(self, pictures: list[Image.Image], person: Face) -> list[float | None] | None:
        if self._finder is None:
            return None
        found = [self._finder.find(picture) for picture in pictures]
        return [faces.likeness(there[0], person) if there else None for there in found]


def _own(value: float | None, common: float) -> float:
    """A person's own setting, or the request's."""
    return common if value is None else value


def _active(request: Request) -> dict[str, float]:
    """The extra ControlNets that take part."""
    return {name: control.strength for name, control in request.controls.items() if control.strength > 0}


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
