"""A bundle's files → diffusers models, and each way that can fail in words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from . import bundles, mini
from .bundles import Bundle
from .errors import BundleError
from .identity import IdentityNet


def open_bundle(name: str | Path) -> Bundle:
    """The bundle of that name or folder. `mini` is built first where that has not happened yet."""
    if str(name) == "mini" and not bundles.is_built("mini"):
        with _without_progress_bars():
            mini.build(bundles.mini_folder(), faces=bundles.MINI_FACES)
    return bundles.open_bundle(name)


def load_pipeline(bundle: Bundle, dtype: torch.dtype) -> StableDiffusionXLControlNetPipeline:
    """Base model, VAE and IdentityNet as one pipeline, on the CPU."""
    path = bundle.require("base")
    with _explained("base model", path):
        base = StableDiffusionXLPipeline.from_pretrained(
            path, dtype=dtype, variant=_variant(path / "unet"), add_watermarker=False, local_files_only=True
        )
    if bundle.has("vae"):
        path = bundle.require("vae")
        with _explained("VAE", path):
            base.vae = AutoencoderKL.from_pretrained(path, dtype=dtype, variant=_variant(path))
    net = load_controlnet(bundle, "identitynet", dtype, IdentityNet)
    pipeline = StableDiffusionXLControlNetPipeline(**base.components, controlnet=net, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_controlnet(
    bundle: Bundle, part: str, dtype: torch.dtype, kind: type[ControlNetModel] = ControlNetModel
) -> ControlNetModel:
    """One ControlNet, on the CPU."""
    path = bundle.require(part)
    with _explained(part, path):
        return kind.from_pretrained(path, dtype=dtype, variant=_variant(path), local_files_only=True)


def _variant(folder: Path) -> str | None:
    """ "fp16" where a folder holds no other weights: publishers who offer both are fetched in half precision."""
    weights = [file.name for file in folder.glob("*.safetensors")]
    return "fp16" if weights and all(".fp16." in name for name in weights) else None


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Silence one bar per file: who loads shows progress of their own."""
    libraries = (diffusers_logging, transformers_logging)
    shown = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()


@contextmanager
def _explained(what: str, path: Path) -> Iterator[None]:
    try:
        with _without_progress_bars():
            yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BundleError(
            f"The {what} at {path} cannot be loaded: {str(error).strip().splitlines()[0]} "
            "Fetch the bundle again, or check that the folder holds an SDXL model in the diffusers layout."
        ) from error
