"""One pass of denoising: a scene → pictures, from noise, from a picture, or in a part of one.

All three kinds are diffusers' own pipelines over the same models; nothing is loaded or changed for them.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from diffusers import (
    SchedulerMixin,
    StableDiffusionXLControlNetImg2ImgPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    StableDiffusionXLControlNetPipeline,
)
from PIL import Image

from . import acceleration, branches, remedies
from .acceleration import Plan
from .identity import Identity, Sitter
from .nets import Guide, Nets
from .people import Person
from .preview import Preview
from .prompts import PromptEmbeddings
from .regions import blended
from .request import Request
from .scene import Scene

FEATHER = 0.02  # of the canvas' shorter side: how softly a painted part meets what stays
OnPass = Callable[[float, Callable[[], Image.Image]], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """What a pass starts from.

    Args:
        picture: RGB of the canvas' size, or latents (1, c, h, w) of it.
        strength: 0 to 1, how much is painted anew.
        mask: (height, width), 1 where it is painted anew; None: everywhere. Not with latents.
    """

    picture: Image.Image | torch.Tensor
    strength: float
    mask: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Painter:
    """Paints for one request, as often and on as many scenes as asked.

    Args:
        pipeline: of the models; it stays as it is.
        text: the prompts, on the plan's device.
        others: what the adapters beside the identity's add, in the order in which they were attached.
        scheduler: makes a fresh one.
    """

    pipeline: StableDiffusionXLControlNetPipeline
    identity: Identity
    plan: Plan
    request: Request
    text: PromptEmbeddings
    others: Sequence[branches.Branch]
    scheduler: Callable[[], SchedulerMixin]
    preview: Preview

    def at_once(self, size: tuple[int, int]) -> int:
        """How many pictures of that (width, height) `paint` may be asked for.

        The face that negative noise makes up is another for each seed, and diffusers takes one for all.
        """
        return 1 if self.request.negative_noise > 0 else self.plan.pictures_at_once(*size)

    def paint(
        self,
        there: Scene,
        people: Sequence[Person],
        guides: Sequence[Guide],
        seeds: Sequence[int],
        on_pass: OnPass,
        *,
        start: Start | None = None,
        as_latents: bool = False,
    ) -> list[Image.Image] | list[torch.Tensor]:
        """Make a picture of each seed, all at once: each as if it were painted alone, but for rounding.

        Args:
            people: one per face of `there`, for their strengths.
            guides: the extra ControlNets, their maps of the scene's size.
            seeds: no more than `at_once` says.
            on_pass: called with the part that is done, 0 to 1, and what makes a preview of the first picture; what it
                raises ends it.
            as_latents: return latents, each (1, c, h, w), instead of pictures.
        """
        request, guided = self.request, remedies.is_guided(self.request.guidance_scale)
        sitters = self._sitters(there, people)
        assert len(seeds) == 1 or request.negative_noise == 0, "see at_once"
        negative = remedies.noise_face(self.identity.embedding_size, request.negative_noise, seeds[0])
        texts = [remedies.perturbed(self.text, request.perturbed_negative, seed) for seed in seeds]
        faces = branches.Branch(self.identity.sources(sitters), self.identity.embedding_size, negative)
        adapters = [faces, *self.others]
        pipeline = self._pipeline(start, Nets(self.identity.net, guides))

        def after_step(pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_pass((index + 1) / pipeline.num_timesteps, lambda: self.preview(tensors["latents"]))
            return tensors

        with ExitStack() as lent:
            lent.callback(acceleration.release, pipeline)
            lent.enter_context(self.identity.lend(sitters, negative, len(seeds)))
            lent.enter_context(branches.lend(pipeline, [branch.sources for branch in adapters], there.size))
            lent.enter_context(
                remedies.rescaled_guidance(pipeline.unet, request.guidance_scale, request.cfg_rescale)
            )
            made = pipeline(
                **_prompts(texts, guided=guided),
                ip_adapter_image_embeds=[
                    # diffusers moves ready embeddings to the device, repeats them for each picture, and leaves their
                    # precision to the caller.
                    branches.embeddings(branch, guided=guided).to(pipeline.unet.dtype)
                    for branch in adapters
                ],
                controlnet_conditioning_scale=[1.0, *(guide.strength for guide in guides)],
                control_guidance_start=[0.0, *(guide.start for guide in guides)],
                control_guidance_end=[1.0, *(guide.end for guide in guides)],
                num_inference_steps=request.steps,
                guidance_scale=request.guidance_scale,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                width=there.width,
                height=there.height,
                callback_on_step_end=after_step,
                output_type="latent" if as_latents else "pil",
                **_pictures(start, [there.keypoint_map, *(guide.map for guide in guides)], len(seeds)),
            ).images
        if as_latents:
            return list(made.split(1))
        if start is None or start.mask is None:
            return made
        return [blended(each, start.picture, start.mask, FEATHER * min(there.size)) for each in made]

    def _sitters(self, there: Scene, people: Sequence[Person]) -> list[Sitter]:
        request = self.request
        return [
            Sitter(
                embedding=face.embedding,
                identity_strength=0.0
                if there.free_pose
                else _own(person.identity_strength, request.identity_strength),
                adapter_strength=_own(person.adapter_strength, request.adapter_strength),
                mask=mask,
                keypoint_map=there.keypoints_of(i),
            )
            for i, (face, person, mask) in enumerate(zip(there.faces, people, there.masks(), strict=True))
        ]

    def _pipeline(self, start: Start | None, nets: Nets) -> StableDiffusionXLControlNetPipeline:
        kind = StableDiffusionXLControlNetPipeline
        if start is not None:
            kind = (
                StableDiffusionXLControlNetImg2ImgPipeline
                if start.mask is None
                else StableDiffusionXLControlNetInpaintPipeline
            )
        parts = self.pipeline.components | {"controlnet": nets, "scheduler": self.scheduler()}
        pipeline = kind(**parts, add_watermarker=False)
        pipeline.set_progress_bar_config(disable=True)
        acceleration.place(self.plan, pipeline)
        return pipeline


def _prompts(texts: Sequence[PromptEmbeddings], *, guided: bool) -> dict[str, torch.Tensor]:
    """The prompts of several pictures, by the pipelines' names for them; without guidance, no negative ones."""
    names = [each.name for each in fields(PromptEmbeddings)]
    return {
        name: torch.cat([getattr(text, name) for text in texts])
        for name in names
        if guided or not name.startswith("negative")
    }


def _pictures(start: Start | None, maps: list[Image.Image], count: int) -> dict[str, Any]:
    """What `count` pictures are made from, by the names that the pipeline for such a start gives them."""
    if start is None:
        return {"image": maps}
    # Once for each: inpainting would encode a single one with the first picture's noise for all of them.
    alike = start.picture if isinstance(start.picture, torch.Tensor) else [start.picture] * count
    given = {"image": alike, "control_image": maps, "strength": start.strength}
    if start.mask is not None:
        given["mask_image"] = Image.fromarray((start.mask > 0.5).astype(np.uint8) * 255)
    return given


def _own(value: float | None, common: float) -> float:
    """A person's own setting, or the request's."""
    return common if value is None else value
