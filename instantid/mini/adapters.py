"""The untrained adapters of a small bundle, as their published files have them."""

import torch
from diffusers import UNet2DConditionModel

from ..adapter_file import RESAMPLER_DEPTH, STYLE_TOKENS
from .sizes import Sizes

FACEID_TOKENS, FACEID_RANK = 4, 4  # the published one has a rank of 128
HEAD_WIDTH = 64  # of the Resampler's attention; diffusers derives the number of heads from it
Weights = dict[str, torch.Tensor]


def resampler(sizes: Sizes) -> Weights:
    """InstantID's projector: a face embedding to face tokens."""
    width = 2 * HEAD_WIDTH
    resampler = {
        "latents": torch.randn(1, sizes.face_tokens, width) * width**-0.5,
        "proj_in.weight": _linear(width, sizes.embedding),
        "proj_in.bias": 0.5 * torch.randn(width),
        "proj_out.weight": _linear(sizes.cross_attention, width),
        "proj_out.bias": 0.1 * torch.randn(sizes.cross_attention),
        **_norm("norm_out", sizes.cross_attention),
    }
    for i in range(RESAMPLER_DEPTH):
        resampler |= _norm(f"layers.{i}.0.norm1", width) | _norm(f"layers.{i}.0.norm2", width)
        resampler[f"layers.{i}.0.to_q.weight"] = _linear(width, width)
        resampler[f"layers.{i}.0.to_kv.weight"] = _linear(2 * width, width)
        resampler[f"layers.{i}.0.to_out.weight"] = _linear(width, width)
        resampler |= _norm(f"layers.{i}.1.0", width)
        resampler[f"layers.{i}.1.1.weight"] = _linear(4 * width, width)
        resampler[f"layers.{i}.1.3.weight"] = _linear(width, 4 * width)
    return resampler


def projector(sizes: Sizes) -> Weights:
    """IP-Adapter's projector: a picture's embedding to style tokens."""
    out = STYLE_TOKENS * sizes.cross_attention
    return {
        "proj.weight": _linear(out, sizes.text_width),
        "proj.bias": 0.1 * torch.randn(out),
        **_norm("norm", sizes.cross_attention),
    }


def image_attention(sizes: Sizes, unet: UNet2DConditionModel) -> Weights:
    """Keys and values for an adapter's tokens, numbered as in published files."""
    weights = {}
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            text_keys = unet.get_submodule(name.removesuffix(".processor")).to_k
            for key in ("to_k_ip", "to_v_ip"):
                weights[f"{number}.{key}.weight"] = _linear(text_keys.out_features, sizes.cross_attention)
    return weights


def faceid_projector(sizes: Sizes) -> Weights:
    """FaceID's: a face embedding to a few tokens, by two layers."""
    inner, out = 2 * sizes.embedding, FACEID_TOKENS * sizes.cross_attention
    return {
        "proj.0.weight": _linear(inner, sizes.embedding),
        "proj.0.bias": 0.1 * torch.randn(inner),
        "proj.2.weight": _linear(out, inner),
        "proj.2.bias": 0.1 * torch.randn(out),
        **_norm("norm", sizes.cross_attention),
    }


def faceid_lora(unet: UNet2DConditionModel) -> Weights:
    """FaceID's LoRA over all attentions, numbered as in published files."""
    weights = {}
    for number, name in enumerate(unet.attn_processors):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        for part in ("q", "k", "v", "out"):
            layer = attention.to_out[0] if part == "out" else getattr(attention, f"to_{part}")
            key = f"{number}.to_{part}_lora"
            weights[f"{key}.down.weight"] = _linear(FACEID_RANK, layer.in_features)
            weights[f"{key}.up.weight"] = 0.3 * _linear(layer.out_features, FACEID_RANK)
    return weights


def joined(**parts: Weights) -> Weights:
    """As safetensors has it: flat, the part in front of the name."""
    return {f"{part}.{name}": tensor for part, weights in parts.items() for name, tensor in weights.items()}


def _linear(out: int, into: int) -> torch.Tensor:
    return torch.randn(out, into) * into**-0.5


def _norm(name: str, size: int) -> Weights:
    return {f"{name}.weight": 1 + 0.1 * torch.randn(size), f"{name}.bias": 0.1 * torch.randn(size)}
