"""Attention as two plain products, for training small models on CPUs: in bf16 torch's own way there and back takes
two to four times as long, for keys lie badly in memory (torch 2.15; `benchmarks/attention_cpu.py`).
"""

from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class PlainAttention(TorchFunctionMode):
    """While it is entered, attention without a mask or dropout is worked out plainly."""

    def __torch_function__(self, func, types, args=(), kwargs=None) -> Any:
        kwargs = kwargs or {}
        plain = func is F.scaled_dot_product_attention and len(args) == 3
        if (
            plain
            and kwargs.get("attn_mask") is None
            and not (kwargs.get("dropout_p") or kwargs.get("is_causal"))
        ):
            return _attend(*args, kwargs.get("scale"))
        return func(*args, **kwargs)


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None) -> torch.Tensor:
    """(b, h, l, d), (b, h, s, d), (b, h, s, e) → (b, h, l, e)."""
    scale, heads = query.shape[-1] ** -0.5 if scale is None else scale, query.shape[:2]
    query = (query * scale).contiguous().flatten(0, 1)
    key, value = key.transpose(-1, -2).contiguous().flatten(0, 1), value.contiguous().flatten(0, 1)
    weights = torch.bmm(query, key).softmax(dim=-1).to(value.dtype)
    return torch.bmm(weights, value).unflatten(0, heads)
