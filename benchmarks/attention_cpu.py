"""How long attention takes on this CPU, there and back, as small models have it in training: torch's own ways, and
plain products (`instantid/training/plain_attention.py`).

python -m benchmarks.attention_cpu      # on one core, half a minute
"""

import time
from contextlib import nullcontext

import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from instantid.training.plain_attention import plain_attention

SHAPES = {  # batch, heads, queries, keys, width of a head
    "8 × 8 latents, 77 words": (48, 2, 64, 77, 64),
    "8 × 8 latents, each other": (48, 2, 64, 64, 64),
    "8 × 8 latents, 16 face tokens": (48, 2, 64, 16, 64),
    "4 × 4 latents, 77 words": (48, 3, 16, 77, 64),
    "16 × 16 latents, 16 face tokens": (48, 4, 256, 16, 16),
}
WAYS = {
    "math": lambda: sdpa_kernel(SDPBackend.MATH),
    "fused": nullcontext,
    "plain": plain_attention,
}
TIMES = 10


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'bf16, milliseconds':34}" + "".join(f"{way:>8}" for way in WAYS))
    for what, shape in SHAPES.items():
        print(f"{what:34}" + "".join(f"{1000 * seconds(shape, way):8.1f}" for way in WAYS.values()))


def seconds(shape: tuple[int, ...], way) -> float:
    b, heads, queries, keys, width = shape
    whole = [torch.randn(b, n, heads * width, dtype=torch.bfloat16) for n in (queries, keys, keys)]
    # As models have it: views of what a linear layer gives.
    query, key, value = (each.requires_grad_().view(b, -1, heads, width).transpose(1, 2) for each in whole)
    began = 0.0
    with way():
        for turn in range(TIMES + 1):
            if turn == 1:
                began = time.perf_counter()
            F.scaled_dot_product_attention(query, key, value).sum().backward(retain_graph=True)
    return (time.perf_counter() - began) / TIMES


if __name__ == "__main__":
    main()
