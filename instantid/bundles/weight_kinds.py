"""What a .safetensors file holds, told by its header alone: an SDXL checkpoint, a VAE, a LoRA, or something else.

A header lists names, shapes and notes of the tensors; a few hundred kilobytes of a file of gigabytes.
"""

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import BundleError
from .weight_files import find_damage

Kind = Literal["checkpoint", "vae", "lora", "embedding", "other", "unknown"]
UNET = "model.diffusion_model."
ENTRY = f"{UNET}input_blocks.0.0.weight"
VAES = ("first_stage_model.", "vae.")
PICKLES = {".ckpt", ".pt", ".pth", ".bin"}

_LORA = (
    ".lora_down",
    ".lora_up",
    "lora_A.",
    "lora_B.",
    "lora.down.",
    "lora.up.",
    ".hada_w",
    ".lokr_w",
    ".oft_",
)
_QUANTISED = ("scaled_fp8", ".scale_weight", ".comfy_quant", ".quant_state.", ".absmax")
_EMBEDDINGS = {"clip_l", "clip_g", "emb_params"}


@dataclass(frozen=True)
class Header:
    """Of a .safetensors file. `shapes`: by tensor; `notes`: what its maker wrote about it."""

    shapes: dict[str, tuple[int, ...]]
    notes: dict[str, str]

    @property
    def numbers(self) -> int:
        """How many numbers the tensors hold together."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def holds(self, *parts: str) -> bool:
        """Whether any tensor's name contains one of `parts`."""
        return any(part in name for name in self.shapes for part in parts)

    def begins(self, *prefixes: str) -> bool:
        """Whether any tensor's name begins with one of `prefixes`."""
        return any(name.startswith(prefixes) for name in self.shapes)


def read_header(path: Path) -> Header:
    """Read the header of a .safetensors file.

    Raises:
        BundleError: the file is missing, cut short or no safetensors file; or a pickle, which is not opened at all.
    """
    refuse_pickle(path)
    if not path.is_file():
        raise BundleError(f"There is no file {path}.")
    if path.suffix.lower() != ".safetensors":
        raise BundleError(
            f"{path.name} is no .safetensors file, the one format of weights that is taken here."
        )
    if (damage := find_damage(path)) is not None:
        raise BundleError(f"{damage} Download it again.")
    with path.open("rb") as stream:
        entries = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    notes = entries.pop("__metadata__", None) or {}
    return Header({name: tuple(entry["shape"]) for name, entry in entries.items()}, notes)


def refuse_pickle(path: Path) -> None:
    """Turn away what could run code when it is opened."""
    if path.suffix.lower() in PICKLES:
        raise BundleError(
            f"{path.name} was refused: a {path.suffix} file is a pickle, which can run any code when it is opened. "
            "Take the publisher's .safetensors version, or convert it where you trust it: the Checkpoint Merger of "
            "A1111 and Forge writes one (no interpolation, format safetensors)."
        )


def identify(header: Header) -> tuple[Kind, str]:
    """What the tensors make it, and that in words with their article, such as “an SD 1.5 checkpoint”."""
    if header.holds(*_LORA) or header.begins("lora_unet_", "lora_te"):
        return "lora", "a LoRA, which goes over a checkpoint"
    if header.begins("control_model.", "controlnet_") or header.holds("input_hint_block."):
        return "other", "a ControlNet"
    if header.begins("image_proj", "ip_adapter."):
        return "other", "an IP-Adapter"
    if header.shapes.keys() and header.shapes.keys() <= _EMBEDDINGS:
        return "embedding", "a textual inversion"
    if ENTRY in header.shapes:
        return _identify_checkpoint(header)
    if header.holds("double_blocks."):
        return "other", "a FLUX model"
    if header.holds("joint_blocks."):
        return "other", "an SD 3 model"
    if header.begins(UNET):
        return "other", "a checkpoint of another architecture"
    if header.holds("down_blocks.") and header.holds("attn2."):
        return "other", "a UNet alone, in the diffusers layout"
    if vae_prefix(header) is not None:
        return "vae", "a VAE"
    if header.begins("text_model.", "transformer.resblocks."):
        return "other", "a text encoder"
    return "unknown", "a file of a kind that is not known here"


def _identify_checkpoint(header: Header) -> tuple[Kind, str]:
    if header.begins("cond_stage_model.model."):
        return "other", "an SD 2 checkpoint"
    if header.begins("cond_stage_model."):
        return "other", "an SD 1.5 checkpoint"
    if not header.begins("conditioner.embedders.1."):
        if header.begins("conditioner.embedders.0.model."):
            return "other", "the SDXL refiner, which only finishes pictures of another model"
        return "other", "a UNet alone, without the text encoders of a whole checkpoint"
    if not header.begins("conditioner.embedders.0.transformer."):
        return "other", "an SDXL checkpoint without its first text encoder"
    if len(header.shapes[ENTRY]) != 4:
        return "other", "a checkpoint of another architecture"
    if (channels := header.shapes[ENTRY][1]) == 9:
        return "other", "an SDXL inpainting checkpoint, whose UNet has nine input channels instead of four"
    if channels != 4:
        return "other", f"an SDXL checkpoint whose UNet has {channels} input channels instead of four"
    if header.begins("edm_"):
        return (
            "other",
            "an SDXL checkpoint trained for EDM sampling (Playground v2.5, CosXL), which is not supported",
        )
    if header.holds(*_QUANTISED):
        return "other", "a quantised SDXL checkpoint, whose numbers cannot be read back here"
    return "checkpoint", "an SDXL checkpoint"


def vae_prefix(header: Header) -> str | None:
    """What stands before the names of the VAE in the file; None where it holds none."""
    return next(
        (each for each in (*VAES, "") if len(header.shapes.get(f"{each}decoder.conv_in.weight", ())) == 4),
        None,
    )


def prediction(header: Header) -> dict[str, object]:
    """What the scheduler has to know about the training: the marks that A1111 and ComfyUI go by, and modelspec's.

    Nothing in a file of the usual kind marks it, so a file without marks predicts noise (“epsilon”).
    """
    noted = header.notes.get("modelspec.prediction_type", "").lower()
    velocity = "v_pred" in header.shapes or noted in ("v", "v_prediction", "velocity")
    settings: dict[str, object] = {"prediction_type": "v_prediction" if velocity else "epsilon"}
    if (
        "ztsnr" in header.shapes
    ):  # "trailing" makes the first step start from pure noise (arXiv:2305.08891, 3.3)
        settings |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return settings
