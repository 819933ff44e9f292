"""Attention as two plain products, for training small models on CPUs: in bf16 torch's fused way there and back takes
two to four times as long, its own plain one up to twice, for keys lie badly in memory (torch 2.15;
`benchmarks/attention_cpu.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch.nn import functional as F

_torchs = F.scaled_dot_product_attention


@contextmanager
def plain_attention() -> Iterator[None]:
    """While it is entered, attention without a mask or dropout is worked out plainly, by whatever library: on the way
    back too, where checkpointing works it out anew (which a `TorchFunctionMode` would not reach)."""
    with patch.object(F, "scaled_dot_product_attention", _attend):
        yield


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **others,
) -> torch.Tensor:
    """(b, h, l, d), (b, h, s, d), (b, h, s, e) → (b, h, l, e)."""
    if attn_mask is not None or dropout_p or is_causal or any(others.values()) or query.dim() != 4:
        return _torchs(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **others)
    scale, heads = query.shape[-1] ** -0.5 if scale is None else scale, query.shape[:2]
    query = (query * scale).contiguous().flatten(0, 1)
    key, value = key.transpose(-1, -2).contiguous().flatten(0, 1), value.contiguous().flatten(0, 1)
    weights = torch.bmm(query, key).softmax(dim=-1).to(value.dtype)
    return torch.bmm(weights, value).unflatten(0, heads)
