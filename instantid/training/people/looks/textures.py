"""Patterns that looks are made of: noise, paper, weave, strokes along the forms. All (h, w) float32 in 0…1.

Sizes are told as shares of the picture's shorter side, so that a look is the same at 128 and at 512 pixels.
"""

import cv2
import numpy as np

from .sheet import Array, Random


def noise(h: int, w: int, size: float, random: Random, octaves: int = 3, stretch: float = 1.0) -> Array:
    """Clouds; the largest are `size` of the shorter side, `stretch` times as wide as high. Mean about .5."""
    total, weight = np.zeros((h, w), np.float32), 0.0
    for octave in range(octaves):
        cell = max(size * min(h, w) / 2**octave, 1.0)
        grid = random.random((int(h / cell) + 2, int(w / (cell * stretch)) + 2), dtype=np.float32)
        share = 0.5**octave
        total += share * cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)
        weight += share
    return np.clip(total / weight, 0, 1)


def ridges(w: int, size: float, random: Random, octaves: int = 4) -> Array:
    """A skyline of hills, (w,) in 0…1."""
    return noise(1, w, size * w, random, octaves)[0]


def paper(h: int, w: int, random: Random, depth: float = 0.12) -> Array:
    """Factors around 1 for rough paper, lit from one side."""
    height = noise(h, w, 0.03, random) + 0.5 * random.random((h, w), dtype=np.float32)
    return 1 + depth * np.clip(slope(cv2.GaussianBlur(height, (0, 0), 0.7)), -1, 1)


def slope(height: Array) -> Array:
    """How steeply (h, w) rises towards the light, which comes from the upper left."""
    return cv2.Sobel(height, cv2.CV_32F, 1, 0) + cv2.Sobel(height, cv2.CV_32F, 0, 1)


def weave(h: int, w: int, thread: float, depth: float = 0.12) -> Array:
    """Factors around 1 for cloth: threads over and under, `thread` of the shorter side apart."""
    period = max(thread * min(h, w), 2.0)
    y, x = np.mgrid[:h, :w].astype(np.float32) * (np.pi / period)
    over = np.sign(np.sin(x) * np.sin(y))
    return 1 + depth * np.where(over > 0, np.abs(np.sin(2 * x)), np.abs(np.sin(2 * y))) - depth / 2


def flow(grey: Array, size: float) -> Array:
    """The direction that forms run in at each pixel, (h, w, 2) unit vectors (x, y): along edges, never across.

    From the smoothed structure tensor (Kyprianidis & Döllner 2008, "Image abstraction by structure adaptive
    filtering").
    """
    sigma = max(size * min(grey.shape), 1.0)
    gx, gy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    xx, xy, yy = cv2.split(cv2.GaussianBlur(cv2.merge((gx * gx, gx * gy, gy * gy)), (0, 0), sigma))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.float32(np.pi / 2)
    return cv2.merge((np.cos(angle), np.sin(angle)))


def smear(image: Array, along: Array, length: float) -> Array:
    """The picture averaged along the flow (line integral convolution); `length` of the shorter side each way."""
    h, w = image.shape[:2]
    steps = 4
    stride = max(length * min(h, w) / steps, 0.5)
    total = image.astype(np.float32).copy()
    rows, columns = np.mgrid[:h, :w].astype(np.float32)
    here = cv2.merge((columns, rows))
    for sign in (1, -1):
        place, heading = here, sign * along
        for step in range(steps):
            place = place + stride * heading
            total += cv2.remap(image, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            if step < steps - 1:
                there = cv2.remap(along, place, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
                along_x, along_y = there[..., 0] * heading[..., 0], there[..., 1] * heading[..., 1]
                # an axis has no front: keep going the same way
                heading = there * np.copysign(np.float32(1), along_x + along_y)[..., None]
    return total / (1 + 2 * steps)


def strokes(
    grey: Array, random: Random, length: float = 0.03, width: float = 1.0, size: float = 0.03
) -> Array:
    """Brush marks that follow the forms of `grey` (h, w), stretched to 0…1."""
    h, w = grey.shape
    spots = random.random((int(h / width) + 1, int(w / width) + 1), dtype=np.float32)
    spots = cv2.resize(spots, (w, h), interpolation=cv2.INTER_LINEAR)
    marks = smear(spots, flow(grey, size), length)
    low, high = np.percentile(marks, (2, 98))
    return np.clip((marks - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def wobble(image: Array, random: Random, size: float = 0.05, by: float = 0.006) -> Array:
    """The picture drawn with an unsteady hand: moved about by up to `by` of the shorter side."""
    h, w = image.shape[:2]
    rows, columns = np.mgrid[:h, :w].astype(np.float32)
    reach = 2 * by * min(h, w)
    x = columns + reach * (noise(h, w, size, random) - 0.5)
    y = rows + reach * (noise(h, w, size, random) - 0.5)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def cells(h: int, w: int, spacing: Array, random: Random) -> tuple[Array, Array]:
    """Cut the picture into irregular cells around points that lie `spacing` (h, w, pixels) apart.

    Returns:
        Number of each pixel's cell (h, w) int32 from 0, and the distance to the cell's point in pixels.
    """
    least = float(spacing.min())
    grid_y, grid_x = np.mgrid[0 : h + least : least, 0 : w + least : least]
    jitter = random.uniform(-0.35, 0.35, (2, *grid_y.shape)) * least
    points_y = np.clip(grid_y + jitter[0], 0, h - 1).astype(int).ravel()
    points_x = np.clip(grid_x + jitter[1], 0, w - 1).astype(int).ravel()
    wanted = random.random(points_y.size) < (least / spacing[points_y, points_x]) ** 2
    free = np.full((h, w), 255, np.uint8)
    free[points_y[wanted], points_x[wanted]] = 0
    distance, labels = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    return labels - 1, distance


def mean_in_cells(image: Array, labels: Array) -> Array:
    """The picture with each cell in its mean colour."""
    count = np.bincount(labels.ravel())
    flat = image.reshape(-1, 3)
    means = np.stack(
        [np.bincount(labels.ravel(), flat[:, c]) / np.maximum(count, 1) for c in range(3)], axis=1
    )
    return means[labels].astype(np.float32)


def borders(labels: Array) -> Array:
    """1 where a pixel's neighbour to the right or below lies in another cell, else 0."""
    edge = np.zeros(labels.shape, np.float32)
    edge[:, :-1] = labels[:, :-1] != labels[:, 1:]
    edge[:-1] = np.maximum(edge[:-1], labels[:-1] != labels[1:])
    return edge
