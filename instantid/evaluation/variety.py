"""How pictures differ from each other, and how their distribution differs from a true one."""

import itertools
import math

import cv2
import numpy as np

LEAST = 8  # pictures on either side, below which a distribution says nothing


def diversity(features: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Mean 1 − cosine between the pictures of a group (one person and prompt, other seeds): a value per picture.

    Args:
        features: (n, d).
        groups: (n,).

    Returns:
        (n,), NaN for who is alone in a group.
    """
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    apart = 1 - unit @ unit.T
    return _within(apart, groups)


def pixel_diversity(pictures: list[np.ndarray], groups: np.ndarray) -> np.ndarray:
    """The same by 1 − SSIM of grey pictures of one size, (h, w, 3) uint8."""
    apart = np.zeros((len(pictures), len(pictures)))
    for group in np.unique(groups):
        for i, j in itertools.combinations(np.flatnonzero(groups == group), 2):
            apart[i, j] = apart[j, i] = 1 - similarity(pictures[i], pictures[j])
    return _within(apart, groups)


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """SSIM of two pictures, (h, w, 3) uint8 RGB, on grey with Wang's Gaussian window (2004): at most 1."""
    first, second = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY).astype(np.float64) for each in (one, other))

    def blur(picture: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(picture, (11, 11), 1.5)

    middle, other_middle = blur(first), blur(second)
    spread, other_spread = blur(first**2) - middle**2, blur(second**2) - other_middle**2
    shared = blur(first * second) - middle * other_middle
    light, contrast = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * middle * other_middle + light) * (2 * shared + contrast)
    return float((top / ((middle**2 + other_middle**2 + light) * (spread + other_spread + contrast))).mean())


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Fréchet distance of the Gaussians fitted to features (n, d) and (m, d).

    Only with Inception's features is this FID (Heusel et al., 2017). With few pictures it is biased upwards: compare
    runs of the same count.
    """
    shift = one.mean(axis=0) - other.mean(axis=0)
    first, second = (np.cov(each, rowvar=False).reshape(each.shape[1], -1) for each in (one, other))
    # The trace of the root of A·B is the sum of the roots of its eigenvalues, those of √A·B·√A.
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    return float(max(0.0, shift @ shift + np.trace(first) + np.trace(second) - 2 * shared))


def _within(apart: np.ndarray, groups: np.ndarray) -> np.ndarray:
    told = np.full(len(groups), math.nan)
    for i, group in enumerate(groups):
        mates = np.flatnonzero(groups == group)
        if len(mates) > 1:
            told[i] = apart[i, mates[mates != i]].mean()
    return told
