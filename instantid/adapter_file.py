"""Adapter files, InstantID's and IP-Adapter's: read safely, and compared with a base model before anything is loaded.

diffusers checks little: weights that a file lacks stay without values, and fail or paint noise much later.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file

from .errors import BundleError

StateDict = dict[str, dict[str, torch.Tensor]]
Shapes = dict[str, tuple[int, ...]]
RESAMPLER_DEPTH = 4  # InstantID's; diffusers builds every Resampler with this many layers
STYLE_TOKENS = 4  # the published adapters'; diffusers takes it for granted in a file with this projector


@dataclass(frozen=True)
class _Kind:
    """What messages call a file: its part in the bundle, the file that is published, and its family."""

    part: str
    published: str
    family: str


_IDENTITY = _Kind("identity adapter", "ip-adapter.bin", "InstantID ip-adapter")
_STYLE = _Kind("style adapter", "ip-adapter_sdxl.safetensors", "IP-Adapter")
_FACEID = _Kind("FaceID adapter", "ip-adapter-faceid_sdxl.bin", "IP-Adapter FaceID")
_LAYERS = {
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "out": "to_out.0",
}  # of an attention, as FaceID's LoRA calls them
_OTHER_PROJECTORS = {  # the key by which each is known, and what such a file is
    "latents": "an InstantID adapter or an IP-Adapter Plus",
    "perceiver_resampler.proj_in.weight": "an IP-Adapter FaceID Plus",
    "proj.3.weight": "an IP-Adapter for full faces",
    "proj.0.weight": "an IP-Adapter FaceID",
    "proj.weight": "a plain IP-Adapter, which reads whole pictures",
}


def read_adapter(path: Path) -> StateDict:
    """Read `ip-adapter.bin` or its safetensors form into {"image_proj": …, "ip_adapter": …}.

    A pickle may hold tensors only: one that would run code is refused (`weights_only=True`).

    Raises:
        BundleError: the file is missing, damaged, unsafe or something else.
    """
    return _read(path, _IDENTITY)


def read_style_adapter(path: Path) -> StateDict:
    """Read `ip-adapter_sdxl.safetensors` or its `.bin` form, like `read_adapter` and as safely.

    Raises:
        BundleError: the file is missing, damaged, unsafe or something else.
    """
    return _read(path, _STYLE)


def read_faceid_adapter(path: Path) -> StateDict:
    """Read `ip-adapter-faceid_sdxl.bin` or a safetensors copy, like `read_adapter` and as safely.

    Raises:
        BundleError: the file is missing, damaged, unsafe or something else.
    """
    return _read(path, _FACEID)


def _read(path: Path, kind: _Kind) -> StateDict:
    try:
        if path.suffix == ".safetensors":
            flat = load_file(path)
        else:
            flat = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise BundleError(f"The {kind.part} {path} is missing. Fetch the bundle again.") from error
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"{path} was refused: it is damaged, or it holds more than tensors and loading it could run code. "
            f"Use the published {kind.published} or a safetensors copy."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise BundleError(
            f"{path} cannot be read; it looks damaged or incomplete. Fetch it again."
        ) from error
    return {part: _part(flat, part, path, kind) for part in ("image_proj", "ip_adapter")}


def _part(flat: object, part: str, path: Path, kind: _Kind) -> dict[str, torch.Tensor]:
    """One half of the file, which lies nested in a pickle and behind a prefix in safetensors."""
    tensors = flat.get(part) if isinstance(flat, dict) else None
    if isinstance(flat, dict) and not isinstance(tensors, dict):
        prefix = part + "."
        tensors = {str(k).removeprefix(prefix): v for k, v in flat.items() if str(k).startswith(prefix)}
    if not tensors or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise BundleError(f"{path} has no {part!r} weights: it is no {kind.family} file.")
    return tensors


def check_fit(weights: StateDict, unet: UNet2DConditionModel, path: Path) -> None:
    """Compare every shape in the file with what InstantID's projector and this UNet want.

    Raises:
        BundleError: anything is missing, too much, or of another shape.
    """
    resampler, width = weights["image_proj"], unet.config.cross_attention_dim
    sizing = ("latents", "proj_in.weight", "proj_out.weight", "layers.0.0.to_q.weight")
    if missing := [key for key in sizing if key not in resampler]:
        raise BundleError(f"{path} is not an InstantID adapter: its projector lacks {', '.join(missing)}.")
    depth = len({key.split(".")[1] for key in resampler if key.startswith("layers.")})
    if depth != RESAMPLER_DEPTH:
        raise BundleError(f"{path} has a projector of {depth} layers; InstantID's has {RESAMPLER_DEPTH}.")
    if len(resampler["proj_out.weight"]) != width:
        raise BundleError(
            f"{path} makes tokens of width {len(resampler['proj_out.weight'])}, this base model wants {width}: "
            "the adapter was made for another kind of base (InstantID's is for SDXL)."
        )
    _compare(f"{path} is not a whole InstantID adapter", "projector", resampler, _resampler_shapes(resampler))
    _compare(f"{path} does not fit this base model", "attention", weights["ip_adapter"], _key_shapes(unet))


def check_style_fit(weights: StateDict, unet: UNet2DConditionModel, path: Path) -> None:
    """Compare every shape in the file with what IP-Adapter's plain projector and this UNet want.

    The projector maps one embedding of a whole picture to `STYLE_TOKENS` tokens. Adapters that read patches or
    faces have other ones. The UNet may carry adapters already.

    Raises:
        BundleError: anything is missing, too much, or of another shape.
    """
    projector, width = weights["image_proj"], unet.config.cross_attention_dim
    take = f"A style picture takes a plain IP-Adapter for SDXL, such as the published {_STYLE.published}."
    _refuse_others("proj.weight", projector, path, take)
    if missing := [key for key in ("proj.weight", "norm.weight") if key not in projector]:
        raise BundleError(f"{path} is no plain IP-Adapter: its projector lacks {', '.join(missing)}. {take}")
    if projector["norm.weight"].shape != (width,):
        raise BundleError(
            f"{path} makes tokens of width {projector['norm.weight'].numel()}, this base model wants {width}: the "
            f"adapter was made for another kind of base. {take}"
        )
    wanted: Shapes = {
        "proj.weight": (STYLE_TOKENS * width, *projector["proj.weight"].shape[-1:]),
        "proj.bias": (STYLE_TOKENS * width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    _compare(f"{path} is no whole IP-Adapter of {STYLE_TOKENS} tokens", "projector", projector, wanted)
    _compare(f"{path} does not fit this base model", "attention", weights["ip_adapter"], _key_shapes(unet))


def check_faceid_fit(weights: StateDict, unet: UNet2DConditionModel, path: Path) -> None:
    """Compare every shape in the file with what IP-Adapter FaceID's projector, its LoRA and this UNet want.

    The projector maps one face's embedding to some tokens, by two layers. The LoRA reaches every attention, or there
    is none. The UNet may carry adapters and LoRAs already.

    Raises:
        BundleError: anything is missing, too much, or of another shape.
    """
    projector, given, width = weights["image_proj"], weights["ip_adapter"], unet.config.cross_attention_dim
    take = f"FaceID takes an IP-Adapter FaceID for SDXL, such as the published {_FACEID.published}."
    _refuse_others("proj.0.weight", projector, path, take)
    sizing = {"proj.0.weight": 2, "proj.2.weight": 2, "norm.weight": 1}
    if odd := [key for key, axes in sizing.items() if key not in projector or projector[key].ndim != axes]:
        raise BundleError(
            f"{path} is no IP-Adapter FaceID: its projector lacks a {' and a '.join(odd)}. {take}"
        )
    if projector["norm.weight"].shape != (width,):
        raise BundleError(
            f"{path} makes tokens of width {projector['norm.weight'].numel()}, this base model wants {width}: the "
            f"adapter was made for another kind of base. {take}"
        )
    (inner, embedding), tokens = projector["proj.0.weight"].shape, len(projector["proj.2.weight"]) // width
    inner -= inner % max(embedding, 1)  # diffusers builds a multiple of the embedding
    wanted: Shapes = {
        "proj.0.weight": (inner, embedding),
        "proj.0.bias": (inner,),
        "proj.2.weight": (tokens * width, inner),
        "proj.2.bias": (tokens * width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    _compare(f"{path} is no whole IP-Adapter FaceID", "projector", projector, wanted)
    ranks = [tensor.shape[:1].numel() for key, tensor in given.items() if key.endswith("_lora.down.weight")]
    wanted = _key_shapes(unet) | (_lora_shapes(unet, ranks[0]) if ranks else {})
    _compare(f"{path} does not fit this base model", "attention", given, wanted)


def faceid_width(weights: StateDict) -> int:
    """Of the embeddings that a fitting FaceID adapter reads."""
    return weights["image_proj"]["proj.0.weight"].shape[1]


def faceid_lora(weights: StateDict, unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    """The LoRA in a fitting FaceID adapter, in peft's names: `<module>.lora_A.weight` (r, in), `…lora_B…` (out, r).

    Empty where there is none.
    """
    return {
        f"{module}.lora_{letter}.weight": tensor
        for key, module in _lora_modules(unet).items()
        for half, letter in (("down", "A"), ("up", "B"))
        if (tensor := weights["ip_adapter"].get(f"{key}.{half}.weight")) is not None
    }


def style_width(weights: StateDict) -> int:
    """Of the embeddings that a fitting style adapter reads."""
    return weights["image_proj"]["proj.weight"].shape[1]


def _resampler_shapes(given: dict[str, torch.Tensor]) -> Shapes:
    """What a projector consists of that is as wide as `given` says."""
    width, embedding = given["proj_in.weight"].shape
    inner, out = len(given["layers.0.0.to_q.weight"]), len(given["proj_out.weight"])
    shapes: Shapes = {
        "latents": (1, given["latents"].shape[1], width),
        "proj_in.weight": (width, embedding),
        "proj_in.bias": (width,),
        "proj_out.weight": (out, width),
        "proj_out.bias": (out,),
        "norm_out.weight": (out,),
        "norm_out.bias": (out,),
    }
    for i in range(RESAMPLER_DEPTH):
        attention, feed = f"layers.{i}.0", f"layers.{i}.1"
        for norm in (f"{attention}.norm1", f"{attention}.norm2", f"{feed}.0"):
            shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
        shapes |= {
            f"{attention}.to_q.weight": (inner, width),
            f"{attention}.to_kv.weight": (2 * inner, width),
            f"{attention}.to_out.weight": (width, inner),
            f"{feed}.1.weight": (4 * width, width),
            f"{feed}.3.weight": (width, 4 * width),
        }
    return shapes


def _key_shapes(unet: UNet2DConditionModel) -> Shapes:
    """Keys and values for each cross-attention, numbered by its place in `attn_processors`."""
    return {
        f"{number}.{key}_ip.weight": tuple(
            getattr(unet.get_submodule(name.removesuffix(".processor")), key).weight.shape
        )
        for number, name in enumerate(unet.attn_processors)
        if name.endswith("attn2.processor")
        for key in ("to_k", "to_v")
    }


def _lora_modules(unet: UNet2DConditionModel) -> dict[str, str]:
    """FaceID's names for the layers that its LoRA reaches, `<number of the attention>.to_q_lora`, and the UNet's."""
    return {
        f"{number}.to_{part}_lora": f"{name.removesuffix('.processor')}.{layer}"
        for number, name in enumerate(unet.attn_processors)
        if name.endswith(("attn1.processor", "attn2.processor"))
        for part, layer in _LAYERS.items()
    }


def _lora_shapes(unet: UNet2DConditionModel, rank: int) -> Shapes:
    shapes: Shapes = {}
    for key, module in _lora_modules(unet).items():
        out, into = unet.get_submodule(module).weight.shape
        shapes |= {f"{key}.down.weight": (rank, into), f"{key}.up.weight": (out, rank)}
    return shapes


def _refuse_others(own: str, projector: dict[str, torch.Tensor], path: Path, take: str) -> None:
    """Say what the file is where its projector is not of the kind that is known by the key `own`."""
    for key, what in _OTHER_PROJECTORS.items():
        if key != own and key in projector:
            raise BundleError(f"{path} is {what}. {take}")


def _compare(complaint: str, kind: str, tensors: dict[str, torch.Tensor], wanted: Shapes) -> None:
    given = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    odd = sorted(key for key in wanted.keys() | given.keys() if wanted.get(key) != given.get(key))
    if odd:
        has, wants = (shapes.get(odd[0], "nothing") for shapes in (given, wanted))
        raise BundleError(
            f"{complaint}: {len(odd)} of its {kind} weights differ, the first being {odd[0]} "
            f"(the file has {has}, wanted is {wants})."
        )
