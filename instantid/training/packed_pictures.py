"""What packing costs where it shows: the same pictures by two bundles, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..bundles import Bundle
from ..engine import Engine
from ..errors import BundleError
from ..request import Request


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far apart two bundles' pictures are, in grey levels of 0…255: `mean` for each request, absolute, over all
    pixels and channels. `likeness`: of each bundle's pictures to the people asked for. `sheet`: RGB, a row for each
    request: the one's picture, the other's, and their difference four times as strong."""

    mean: tuple[float, ...]
    likeness: tuple[list[float | None], list[float | None]]
    sheet: Image.Image


def compare_pictures(
    one: str | Path | Bundle,
    other: str | Path | Bundle,
    requests: Sequence[Request],
    device: str | None = None,
) -> Difference:
    """Make the same pictures with two bundles, such as an unpacked one and its packed form.

    Args:
        requests: each with a seed; only the first picture of each is compared.

    Raises:
        BundleError: the pictures differ in size, so the bundles in more than precision.
        ValueError: a request has no seed.
    """
    if any(request.seed is None for request in requests):
        raise ValueError("Each request needs a seed: else the pictures differ by their noise.")
    shown, likeness = [], []
    for bundle in (one, other):
        engine = Engine.load(bundle, device=device)
        results = [engine.generate(request) for request in requests]
        shown.append([np.asarray(result.images[0], dtype=np.int16) for result in results])
        likeness.append([result.likeness[0] if result.likeness else None for result in results])
        del engine  # two models need not fit side by side
    rows, means = [], []
    for first, second in zip(*shown, strict=True):
        if first.shape != second.shape:
            raise BundleError(
                f"The bundles make pictures of different sizes, {first.shape[1::-1]} and {second.shape[1::-1]}: give "
                "the requests a width and a height."
            )
        apart = np.abs(first - second)
        means.append(float(apart.mean()))
        row = np.concatenate([first, second, np.minimum(4 * apart, 255)], axis=1)
        rows.append(Image.fromarray(row.astype(np.uint8)))
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)))
    for i, row in enumerate(rows):
        sheet.paste(row, (0, sum(above.height for above in rows[:i])))
    return Difference(mean=tuple(means), likeness=(likeness[0], likeness[1]), sheet=sheet)
