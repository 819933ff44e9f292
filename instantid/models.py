"""The models of one base: a pipeline with its adapters, and what belongs to them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLControlNetPipeline

from . import faceid, identity, loading, prompts, style_reference
from .acceleration import Plan
from .adapter_file import check_style_fit, read_style_adapter, style_width
from .branches import Branch, Source
from .bundles import Bundle
from .faces import FaceFinder
from .memo import Memo
from .mini_tokenizer import VOCABULARY, shown, unsaid
from .preview import Preview
from .request import Request
from .tuning import Tuning

UNMET = 6  # words that are named


@dataclass(eq=False)
class Models:
    """What is loaded. Made by `load`.

    Args:
        bundle: what they come from.
        pipeline: base, VAE and IdentityNet, with the adapters attached.
        scheduler_config: as published; every scheduler starts here.
        style_width: of the style adapter's embeddings; None where it is not on this machine.
        tuning: LoRAs and textual inversions over the pipeline's weights.
    """

    bundle: Bundle
    pipeline: StableDiffusionXLControlNetPipeline
    scheduler_config: dict[str, Any]
    preview: Preview
    identity: identity.Identity
    style_width: int | None
    tuning: Tuning
    _faceid: faceid.FaceID
    _encoder: style_reference.StyleEncoder | None = None
    _texts: Memo[prompts.PromptEmbeddings] = field(default_factory=lambda: Memo(16))

    def text(self, prompt: str, negative_prompt: str, plan: Plan) -> prompts.PromptEmbeddings:
        """`prompts.encode` with what is tuned now; the last few are kept, for comparisons ask the same again."""

        def encode() -> prompts.PromptEmbeddings:
            return prompts.encode(self.pipeline, prompt, negative_prompt, device=plan.device)

        return self._texts((prompt, negative_prompt, self.tuning.active), encode)

    def unmet(self, prompt: str, style: str | None) -> list[str]:
        """What a prompt says that mini's text encoders were never taught, or that it hardly follows, in sentences.

        Not told where textual inversions are chosen: those bring words of their own.

        Args:
            style: the preset that is put around it.
        """
        trained = self.bundle.trained
        if not trained or len(self.pipeline.tokenizer) != VOCABULARY:
            return []
        notes = []
        if never := _listed(unsaid(prompt)):
            notes.append(
                f"This small model never met {never}: such words change little, and nothing as asked."
            )
        less = []
        if hardly := _listed(shown(prompt, trained.words_miss)):
            less.append(f"knows {hardly}, but hardly paints it")
        if lost := _listed(shown(prompt, trained.words_faint.get(style, ()))):
            less.append(f"paints {lost} faintly in the style {style}, if at all; without it, it does")
        if less:
            notes.append(f"This small model {', and '.join(less)}.")
        return notes

    def lay(
        self, request: Request, loras: Sequence[tuple[Path, float]], inversions: Sequence[Path]
    ) -> list[str]:
        """Lay over the weights exactly what a request asks for; what is in place already stays.

        Returns:
            What did not go as one might expect, in sentences.
        """
        adapter = self.bundle.require("faceid_adapter") if faceid.is_asked(request) else None
        faceid.use(self.pipeline, adapter)
        return self.tuning.use(loras, inversions, adapter)

    def others(self, request: Request, plan: Plan, finder: FaceFinder | None) -> list[Branch]:
        """What the adapters beside the identity's add to the pictures of a request, in their order.

        Args:
            finder: the bundle's face model, which says whose face of a photo is meant.
        """
        found = []
        if self.style_width is not None or style_reference.is_asked(request):
            found.append(Branch(self._style_sources(request, plan), self.style_width))
        if faceid.is_asked(request):
            found.append(self._faceid.branch(request, plan, finder))
        return found

    def _style_sources(self, request: Request, plan: Plan) -> list[Source]:
        """The image encoder, 3.7 GB in SDXL's case, is loaded at the first style picture."""
        if not style_reference.is_asked(request):
            return []
        if self._encoder is None:
            self._encoder = style_reference.StyleEncoder(
                loading.load_image_encoder(self.bundle, plan.dtype),
                self.pipeline,
                device=plan.device,
                resident=plan.device.type == "cpu",  # no plan has counted it
            )
        return style_reference.sources(request, self._encoder, self.pipeline.unet, self.bundle.style_blocks)


def load(bundle: Bundle, dtype: torch.dtype) -> Models:
    """Load a bundle's base with both adapters, on the CPU.

    The style adapter is attached wherever it has been fetched: diffusers takes all adapters at once, and one that
    adds nothing costs its weights' memory and no time.
    """
    pipeline = loading.load_pipeline(bundle, dtype)
    preview = Preview(pipeline.vae)
    others, width = [], None
    if bundle.present("style_adapter"):
        path = bundle.require("style_adapter")
        weights = read_style_adapter(path)
        check_style_fit(weights, pipeline.unet, path)
        others, width = [weights], style_width(weights)
    return Models(
        bundle=bundle,
        pipeline=pipeline,
        scheduler_config=dict(pipeline.scheduler.config),
        preview=preview,
        identity=identity.attach(pipeline, bundle.require("identity_adapter"), pipeline.controlnet, *others),
        style_width=width,
        tuning=Tuning(pipeline),
        _faceid=faceid.FaceID(bundle, pipeline),
    )


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - UNMET} more" if len(words) > UNMET else ""
    return ", ".join(f"“{word}”" for word in words[:UNMET]) + more
