"""A bundle's files → diffusers models, and each way that can fail in words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import init_empty_weights
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    ControlNetUnionModel,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers import CLIPVisionModelWithProjection
from transformers.utils import logging as transformers_logging

from . import bundles, mini, single_files
from .bundles import Bundle, weight_kinds
from .errors import BundleError, InstantIDError
from .identity import IdentityNet

ControlNet = ControlNetModel | ControlNetUnionModel
UNION_MARK = "task_embedding"  # a weight that every Union model has and no other ControlNet
MADE_UP = 4  # tokens at most in a tokenizer without a vocabulary


def open_bundle(name: str | Path) -> Bundle:
    """The bundle of that name or folder. `mini` is built first where that has not happened yet."""
    if str(name) == "mini" and not bundles.is_built("mini"):
        folder = bundles.mini_folder()
        try:
            with _without_progress_bars():
                mini.build(folder, faces=bundles.MINI_FACES)
        except OSError as error:
            raise BundleError(
                f"The bundle mini cannot be built in {folder}: {error}. It needs 140 MB there; XDG_CACHE_HOME "
                "chooses another place."
            ) from error
    return bundles.open_bundle(name)


def load_pipeline(bundle: Bundle, dtype: torch.dtype) -> StableDiffusionXLControlNetPipeline:
    """Base model, VAE and IdentityNet as one pipeline, on the CPU. Base and VAE may be single files."""
    base = load_base(bundle, dtype)
    net = load_controlnet(bundle, "identitynet", base.unet, IdentityNet)
    pipeline = StableDiffusionXLControlNetPipeline(**base.components, controlnet=net, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_base(bundle: Bundle, dtype: torch.dtype) -> StableDiffusionXLPipeline:
    """Base model and VAE, on the CPU: all that a picture takes, and nobody's face. Both may be single files."""
    path = bundle.require("base")
    with _explained("base model", path):
        if path.is_file():
            base = single_files.load_checkpoint(
                path, _configuration(bundle), dtype=dtype, with_vae=not bundle.has("vae")
            )
        else:
            base = StableDiffusionXLPipeline.from_pretrained(
                path,
                dtype=dtype,
                variant=_variant(path / "unet"),
                add_watermarker=False,
                local_files_only=True,
            )
    if bundle.has("vae"):
        base.vae = load_vae(bundle, dtype)
    _check_base(base, path)
    base.set_progress_bar_config(disable=True)
    return base


def with_base(bundle: Bundle, base: Path | None = None, vae: Path | None = None) -> Bundle:
    """The bundle with another base model or VAE: a folder in the diffusers layout, or one .safetensors file.

    A bundle's own VAE stays in place unless `vae` takes it: the one of `sdxl` mends half precision for any base.

    Raises:
        BundleError, DownloadError: a single file needs a configuration, and the bundle has none to lend.
    """
    changes = {"vae": str(vae.absolute())} if vae else {}
    if base is not None:
        changes["base"] = str(base.absolute())
    if any(path is not None and path.is_file() for path in (base, vae)):
        changes["base_config"] = str(_configuration(bundle).absolute())
    return bundle.model_copy(update=changes)


def _configuration(bundle: Bundle) -> Path:
    """The folder in the diffusers layout that describes this bundle's models: its base, or what was named for it."""
    folders = [
        part for part in ("base_config", "base") if bundle.has(part) and not bundle.is_single_file(part)
    ]
    if not folders:
        raise BundleError(
            f"The base of the bundle “{bundle.name}” is a single file, which holds weights alone. Name a folder in "
            "the diffusers layout, of any SDXL model, as “base_config” in bundle.json: "
            "“stabilityai/stable-diffusion-xl-base-1.0” is 3 MB, as only its configuration is fetched."
        )
    missing = []
    for part in folders:
        try:
            return bundle.require(part)
        except InstantIDError as error:
            missing.append(error)
    raise missing[0]


def load_vae(bundle: Bundle, dtype: torch.dtype) -> AutoencoderKL:
    """The bundle's VAE, or its base's where it names none of its own, on the CPU."""
    path = bundle.require("vae" if bundle.has("vae") else "base")
    if path.is_dir() and not bundle.has("vae"):
        path = path / "vae"
    with _explained("VAE", path):
        if path.is_file():
            vae = single_files.load_vae(path, _configuration(bundle), dtype=dtype)
        else:
            vae = AutoencoderKL.from_pretrained(
                path, dtype=dtype, variant=_variant(path), local_files_only=True
            )
    _check_whole(vae, "VAE", path)
    return vae


def load_controlnet(
    bundle: Bundle, part: str, unet: UNet2DConditionModel, kind: type[ControlNet] = ControlNetModel
) -> ControlNet:
    """One ControlNet for `unet` and in its precision, on the CPU.

    Args:
        kind: `ControlNetUnionModel` for a Union model.

    Raises:
        BundleError: it cannot be loaded, is not of that kind, or was made for another kind of base model.
    """
    path = bundle.require(part)
    if path.is_file():
        with _explained(part, path):
            return single_files.load_controlnet(path, unet, kind)
    with _explained(part, path):
        net, read = kind.from_pretrained(
            path, dtype=unet.dtype, variant=_variant(path), local_files_only=True, output_loading_info=True
        )
    if UNION_MARK in read["unexpected_keys"]:
        raise BundleError(
            f"The {part} at {path} is a Union model, which serves several controls: name it “union” in the "
            "bundle's controlnets."
        )
    if {UNION_MARK, "conv_in.weight"} & set(read["missing_keys"]) == {UNION_MARK}:
        raise BundleError(
            f"The {part} at {path} is no Union model but a ControlNet for one kind of map: name it “pose”, “canny” "
            "or “depth” in the bundle's controlnets."
        )
    _check_whole(net, part, path)
    # Not the configured width: the small ControlNets of SDXL leave attention out, and with it what it sees.
    widths = {module.to_k.in_features for name, module in net.named_modules() if name.endswith("attn2")}
    made_for = {name: net.config[name] for name in ("block_out_channels", "layers_per_block")}
    made_for["cross_attention_dim"] = next(iter(widths - {unet.config.cross_attention_dim}), None)
    for setting, has in made_for.items():
        if has is not None and has != (wanted := unet.config[setting]):
            raise BundleError(
                f"The {part} at {path} was made for another kind of base model: its {setting} is {has}, the base "
                f"model's is {wanted}. Take one that was trained for this base (InstantID's is for SDXL)."
            )
    return net


def load_image_encoder(bundle: Bundle, dtype: torch.dtype) -> CLIPVisionModelWithProjection:
    """What turns a style picture into the embedding that the style adapter reads, on the CPU.

    Raises:
        BundleError: it cannot be loaded, or lacks weights.
    """
    path = bundle.require("image_encoder")
    with _explained("image encoder", path):
        encoder, read = CLIPVisionModelWithProjection.from_pretrained(
            path,
            dtype=dtype,
            variant=_variant(path),
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, in words
        )
    # transformers draws weights that a file lacks, or has in another shape, at random.
    if lacking := sorted(read["missing_keys"]) + sorted(key for key, *_ in read["mismatched_keys"]):
        raise BundleError(
            f"The image encoder at {path} lacks {len(lacking)} of its weights, such as {lacking[0]}: it is no CLIP "
            "image encoder, or its file is damaged. Fetch the bundle again."
        )
    return encoder.eval().requires_grad_(False)


def controlnet_bytes(bundle: Bundle, part: str, dtype: torch.dtype, kind: type[ControlNet]) -> int:
    """Memory that a ControlNet takes in that precision. Reads its configuration, none of its weights."""
    path = bundle.require(part)
    if path.is_file():
        return weight_kinds.read_header(path).numbers * dtype.itemsize
    with _explained(part, path), init_empty_weights():
        net = kind.from_config(kind.load_config(path, local_files_only=True))
    return sum(weight.numel() for weight in net.parameters()) * dtype.itemsize


def _check_base(base: StableDiffusionXLPipeline, path: Path) -> None:
    """Refuse what loads without a word and then fails, or paints noise."""
    pairs = ((base.tokenizer, base.text_encoder), (base.tokenizer_2, base.text_encoder_2))
    if (
        any(part is None for pair in pairs for part in pair)
        or base.unet.config.addition_embed_type != "text_time"
    ):
        raise BundleError(
            f"The base model at {path} is no SDXL model, which has two text encoders and a UNet that is told the "
            "picture's size. Choose an SDXL model in the diffusers layout."
        )
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        _check_whole(getattr(base, name), name, path / name if path.is_dir() else path)
    for tokenizer, encoder in pairs:
        # transformers makes up a tokenizer of a few special tokens where its files are missing.
        if not MADE_UP < len(tokenizer) <= encoder.config.vocab_size:
            raise BundleError(
                f"A tokenizer of the base model at {path} knows {len(tokenizer)} words, its text encoder "
                f"{encoder.config.vocab_size}: its files are missing or damaged. Fetch the bundle again."
            )


def _check_whole(model: torch.nn.Module, what: str, path: Path) -> None:
    """diffusers leaves weights that a file lacks without values."""
    if lacking := [name for name, weight in model.named_parameters() if weight.is_meta]:
        raise BundleError(
            f"The {what} at {path} lacks {len(lacking)} of its weights, such as {lacking[0]}: the file belongs to "
            "another model, or is damaged. Fetch the bundle again."
        )


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
        remedy = (
            "Download the file again, or choose another SDXL checkpoint."
            if path.is_file()
            else "Fetch the bundle again, or check that the folder holds an SDXL model in the diffusers layout."
        )
        raise BundleError(
            f"The {what} at {path} cannot be loaded: {str(error).strip().splitlines()[0]} {remedy}"
        ) from error
