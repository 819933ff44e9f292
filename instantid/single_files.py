"""Checkpoints, VAEs and ControlNets in one .safetensors file, as A1111 and ComfyUI keep them → diffusers models.

Such a file holds weights alone. Configuration and vocabularies come from a folder in the diffusers layout.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    SingleFileComponentError,
    create_diffusers_clip_model_from_ldm,
)
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import CLIPTextModelWithProjection

from .bundles import weight_kinds
from .bundles.weight_kinds import ENTRY, UNET, Header
from .errors import BundleError

SECOND_ENCODER = "conditioner.embedders.1."
# What diffusers called the parts of a VAE's attention before 0.12; some published VAEs still do.
_OLD_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
# The layers of a ControlNet's way in for maps that say how wide it is.
_WAY_IN = [
    f"controlnet_cond_embedding.{layer}.weight" for layer in ("conv_in", "blocks.1", "blocks.3", "blocks.5")
]


def load_checkpoint(
    file: Path, configuration: Path, *, dtype: torch.dtype, with_vae: bool = True
) -> StableDiffusionXLPipeline:
    """Load an SDXL checkpoint; without the network.

    Args:
        configuration: a folder in the diffusers layout, of the same architecture; its weights are not read.
        with_vae: False leaves the VAE out, where another is to take its place.

    Raises:
        BundleError: the file is something else, was made for another architecture, or lacks a part.
    """
    header = weight_kinds.read_header(file)
    kind, told = weight_kinds.identify(header)
    if kind != "checkpoint":
        raise BundleError(f"{file.name} is {told}. The base model has to be an SDXL checkpoint.")
    _check_unet(header, file, configuration)
    if with_vae and weight_kinds.vae_prefix(header) is None:
        raise BundleError(
            f"{file.name} comes without a VAE. Choose one beside it, such as madebyollin/sdxl-vae-fp16-fix."
        )
    # By itself: where both encoders are of one width, diffusers takes the first one's weights for both.
    with safe_open(file, framework="pt") as tensors:
        second = {name: tensors.get_tensor(name) for name in header.shapes if name.startswith(SECOND_ENCODER)}
    options = {} if with_vae else {"vae": None}
    with _told_what_lacks(file):
        pipeline = StableDiffusionXLPipeline.from_single_file(
            str(file),
            config=str(configuration),
            text_encoder_2=create_diffusers_clip_model_from_ldm(
                CLIPTextModelWithProjection,
                second,
                subfolder="text_encoder_2",
                config=str(configuration),
                torch_dtype=dtype,
                local_files_only=True,
            ),
            dtype=dtype,
            add_watermarker=False,
            local_files_only=True,
            **options,
        )
    if (has := sum(name.startswith(UNET) for name in header.shapes)) != len(pipeline.unet.state_dict()):
        raise BundleError(
            f"{file.name} is an SDXL checkpoint of another build: its UNet has {has} tensors, that of "
            f"{configuration} has {len(pipeline.unet.state_dict())}. Adapters and ControlNets would not fit it."
        )
    scheduler = type(pipeline.scheduler)
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **weight_kinds.prediction(header))
    return pipeline


def load_vae(file: Path, configuration: Path, *, dtype: torch.dtype) -> AutoencoderKL:
    """Load a VAE, or the VAE of an SDXL checkpoint.

    Args:
        configuration: a folder in the diffusers layout, whose sub-folder `vae` describes such a VAE.

    Raises:
        BundleError: the file is something else, or a VAE of another kind of model.
    """
    header = weight_kinds.read_header(file)
    kind, told = weight_kinds.identify(header)
    if kind not in ("vae", "checkpoint") or (prefix := weight_kinds.vae_prefix(header)) is None:
        raise BundleError(f"{file.name} is {told}, and no VAE.")
    wanted = _configured(configuration / "vae")["latent_channels"]
    if (has := header.shapes[f"{prefix}decoder.conv_in.weight"][1]) != wanted:
        raise BundleError(
            f"{file.name} is the VAE of another kind of model: its latents have {has} channels, the base model's "
            f"{wanted}. Choose a VAE for SDXL."
        )
    weights = {}
    with safe_open(file, framework="pt") as tensors:
        for name in header.shapes:
            if name.startswith(prefix):
                short = name.removeprefix(prefix)
                for old, new in _OLD_NAMES.items():
                    short = short.replace(old, new)
                weights[short] = tensors.get_tensor(name)
    with _told_what_lacks(file):
        return AutoencoderKL.from_single_file(
            weights, config=str(configuration), subfolder="vae", dtype=dtype, local_files_only=True
        )


def load_controlnet(
    file: Path, unet: UNet2DConditionModel, kind: type[ControlNetModel] = ControlNetModel
) -> ControlNetModel:
    """Load a ControlNet that came without its configuration, which then can only be that of `unet`.

    That of IdentityNet is, and so are those of all full-size ControlNets made with diffusers; the small ones
    leave layers out, and need their folder.
    """
    shapes = weight_kinds.read_header(file).shapes
    if not issubclass(kind, ControlNetModel):
        raise BundleError(
            f"{file.name} came without its config.json, which a Union model needs. Give its folder."
        )
    # How wide its way in for maps is no UNet says; small ones have narrow ones.
    channels = tuple(shapes[name][0] for name in _WAY_IN if name in shapes) or (16, 32, 96, 256)
    with torch.device("meta"):
        net = kind.from_unet(unet, conditioning_embedding_out_channels=channels, load_weights_from_unet=False)
    weights, wanted = load_file(file), {name: tuple(each.shape) for name, each in net.state_dict().items()}
    if {name: tuple(each.shape) for name, each in weights.items()} != wanted:
        raise BundleError(
            f"{file.name} does not fit the base model as a full-size ControlNet in the diffusers layout. Give the "
            "folder that its publisher offers, with its config.json."
        )
    net.load_state_dict({name: each.to(unet.dtype) for name, each in weights.items()}, assign=True)
    return net.eval()


@contextmanager
def _told_what_lacks(file: Path) -> Iterator[None]:
    try:
        yield
    except SingleFileComponentError as error:
        raise BundleError(f"{file.name} lacks a part. {str(error).splitlines()[0]}") from error
    except (
        NotImplementedError,
        KeyError,
    ) as error:  # torch's and diffusers' words for weights that are not there
        raise BundleError(
            f"{file.name} lacks some of its weights ({str(error).splitlines()[0]}): it was made for another "
            "architecture, or badly converted. Choose another file."
        ) from error


def _check_unet(header: Header, file: Path, configuration: Path) -> None:
    """Compare widths before gigabytes are read."""
    wanted = _configured(configuration / "unet")
    keys = next((name for name in header.shapes if name.endswith("attn2.to_k.weight")), None)
    has = {"block_out_channels": header.shapes[ENTRY][0]}
    has |= {"cross_attention_dim": header.shapes[keys][1]} if keys else {}
    made_for = {
        "block_out_channels": wanted["block_out_channels"][0],
        "cross_attention_dim": wanted["cross_attention_dim"],
    }
    for setting, size in has.items():
        if size != made_for[setting]:
            raise BundleError(
                f"{file.name} is of another size than this bundle's models: its {setting} is {size}, theirs "
                f"{made_for[setting]}. The published SDXL checkpoints go with the bundle sdxl."
            )


def _configured(folder: Path) -> dict:
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"The configuration {folder / 'config.json'} cannot be read: {error}.") from error
    return settings
