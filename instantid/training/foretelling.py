"""What may be foretold of a face from an embedding and five keypoints, as latents: where noise is strongest, the best
that the UNet can paint.

A picture out of pure noise is at first the mean of all that the conditions allow. Learning that mean from pictures
means seeing through all that is by chance in them; but of a face's inside it is known, from a regression on the
embedding, the keypoints' places and how the two act together. Taught by it, what the strongest noise asks for is
learned in a few thousand steps; real pictures then teach the rest.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from ..face_measures import PLACES, similarity
from .face_regression import SIDE, aligned_faces, other_views, photos, ridge, unit
from .prepared import Prepared

Encode = Callable[[torch.Tensor], torch.Tensor]
LINEAR = 0.995  # share of the latents' variance from which on an encoder is taken for linear
LEAST_SPREAD = 0.1  # pixels: less is rounding
PAIRS = 300  # pictures by which the linear way from pixels to latents is found
ALIGNED = (PLACES + 0.5) * SIDE / 112 - 0.5  # where keypoints are in an aligned face of SIDE
MIDDLE, RADII = (28, 31), (19, 24)  # of the inner face, in the aligned one's pixels


class Foretelling:
    """Foretells faces in latents.

    Args:
        chosen: which pictures of `prepared` to learn the regression from.
        encode: the autoencoder, (b, 3, h, w) pixels, -1 to 1, to latents. Where it is linear, as `components` are, it
            is not asked: a matrix product does the same in a hundredth of the time.
    """

    def __init__(self, prepared: Prepared, chosen: np.ndarray, encode: Encode):
        self._prepared = prepared
        learned = photos(prepared, chosen)
        directions = unit(other_views(prepared, learned))
        self._middle = directions.mean(axis=0)
        places = np.stack([_apart(prepared.keypoints[i]) for i in learned])
        self._usual, self._spread = places.mean(axis=0), np.maximum(places.std(axis=0), LEAST_SPREAD)
        faces = aligned_faces(prepared, learned)
        self._mean = faces.mean(axis=0)
        known = self._features(directions - self._middle, places)
        self._weights = ridge(known, faces - self._mean)
        self._scale = prepared.size // prepared.latents(learned[:1]).shape[-1]
        self._encode = _linear_encoder(prepared, learned, self._scale) or encode
        y, x = np.mgrid[:SIDE, :SIDE]
        across, down = (x - MIDDLE[0]) / RADII[0], (y - MIDDLE[1]) / RADII[1]
        self._inner = (np.hypot(across, down) < 1).astype(np.float32)

    def latents(self, chosen: np.ndarray, faces: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """What is foretold of pictures.

        Args:
            chosen: (b,) pictures whose keypoints say where.
            faces: (b, d) raw embeddings; of zeros the mean face is foretold.

        Returns:
            (b, c, h, w) latents, and (b, 1, h, w) how much of each place lies inside the face.
        """
        prepared, scale = self._prepared, self._scale
        lengths = np.linalg.norm(faces, axis=1, keepdims=True)
        directions = np.where(lengths > 0, faces / np.maximum(lengths, 1e-6) - self._middle, 0)
        keypoints = prepared.keypoints[chosen]
        places = np.stack([_apart(points) for points in keypoints])
        drawn = self._mean + self._features(directions, places) @ self._weights
        size = (prepared.size, prepared.size)
        pictures = prepared.images(chosen).astype(np.float32) / 127.5 - 1
        masks = np.empty((*pictures.shape[:3], 1), np.float32)
        for i, points in enumerate(keypoints):
            back = cv2.invertAffineTransform(similarity(points, ALIGNED))
            masks[i, :, :, 0] = cv2.warpAffine(self._inner, back, size)
            face = cv2.warpAffine(
                drawn[i].reshape(SIDE, SIDE, 3), back, size, borderMode=cv2.BORDER_REPLICATE
            )
            pictures[i] += masks[i] * (face - pictures[i])
        told, inside = (torch.from_numpy(maps).permute(0, 3, 1, 2) for maps in (pictures, masks))
        return self._encode(told), F.avg_pool2d(inside, scale)

    def _features(self, directions: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(n, f): the embedding, the keypoints' places, and the embedding again by how head and mouth are turned."""
        places = (places - self._usual) / self._spread
        turns = places[:, 4:6]  # of the nose
        acting = (directions[:, :, None] * turns[:, None]).reshape(len(directions), -1)
        return np.concatenate([directions, acting, 0.1 * places, 0.1 * turns**2], axis=1).astype(np.float32)


def _apart(keypoints: np.ndarray) -> np.ndarray:
    """(10,) how far aligned keypoints are from where they usually are: the turn of a head, and its shape."""
    matrix = similarity(keypoints, ALIGNED)
    return (keypoints @ matrix[:, :2].T + matrix[:, 2] - ALIGNED).ravel().astype(np.float32)


def _linear_encoder(prepared: Prepared, chosen: np.ndarray, scale: int) -> Encode | None:
    """What makes latents of pixels if every latent follows linearly from its square of them; None if not so."""
    some = chosen[:: max(1, len(chosen) // PAIRS)][:PAIRS]
    latents = torch.from_numpy(prepared.latents(some)).double()
    pictures = torch.from_numpy(prepared.images(some)).permute(0, 3, 1, 2).double() / 127.5 - 1
    patches = F.pixel_unshuffle(pictures, scale).permute(0, 2, 3, 1).flatten(0, 2)
    wanted = latents.permute(0, 2, 3, 1).flatten(0, 2)
    known = F.pad(patches, (0, 1), value=1.0)
    within = known.T @ known + 1e-3 * torch.eye(known.shape[1], dtype=known.dtype)
    found = torch.linalg.solve(within, known.T @ wanted)
    if (known @ found - wanted).square().mean() > (1 - LINEAR) * wanted.var(dim=0).mean():
        return None
    weights, offset = found[:-1].float(), found[-1].float()[:, None, None]

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bphw,pc->bchw", F.pixel_unshuffle(pixels, scale), weights) + offset

    return encode
