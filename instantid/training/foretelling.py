"""What may be foretold of a face from an embedding and five keypoints, as latents: where noise is strongest, the best
that the UNet can paint.

A picture out of pure noise is at first the mean of all that the conditions allow. Learning that mean from pictures
means seeing through all that is by chance in them; but of a face's inside it is known, from a regression on the
embedding, the keypoints' places and how the two act together. Taught by it, what the strongest noise asks for is
learned in a few thousand steps; real pictures then teach the rest.
"""

import cv2
import numpy as np
import torch

from ..errors import InvalidRequest
from ..face_measures import PLACES
from .face_regression import SIDE, aligned_faces, other_views, photos, unit
from .prepared import Prepared
from .windows import Windows

PRIOR = 3.0
LEAST_LINEAR = 0.97  # share of the latents' variance
LEAST_SPREAD = 0.1  # pixels: less is rounding
PAIRS = 300  # pictures by which the linear way from pixels to latents is found
MIDDLE, RADII = (28, 31), (19, 24)  # of the inner face, in the aligned one's pixels


class Foretelling:
    """Foretells faces in latents.

    Args:
        chosen: which pictures of `prepared` to learn the regression from.

    Raises:
        InvalidRequest: the latents are not nearly linear in pixels, as those of `components` are.
    """

    def __init__(self, prepared: Prepared, chosen: np.ndarray):
        self._prepared = prepared
        learned = photos(prepared, chosen)
        directions = unit(other_views(prepared, learned))
        self._middle = directions.mean(axis=0)
        places = np.stack([_apart(prepared.keypoints[i]) for i in learned])
        self._usual, self._spread = places.mean(axis=0), np.maximum(places.std(axis=0), LEAST_SPREAD)
        faces = aligned_faces(prepared, learned)
        self._mean = faces.mean(axis=0)
        known = self._features(directions - self._middle, places)
        within = known.T @ known + PRIOR * np.eye(known.shape[1], dtype=np.float32)
        self._weights = np.linalg.solve(within, known.T @ (faces - self._mean))
        self._encoding, self._offset = _linear_encoder(prepared, learned)
        y, x = np.mgrid[:SIDE, :SIDE]
        across, down = (x - MIDDLE[0]) / RADII[0], (y - MIDDLE[1]) / RADII[1]
        self._inner = (np.hypot(across, down) < 1).astype(np.float32)

    def latents(
        self, chosen: np.ndarray, faces: np.ndarray, windows: Windows | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is foretold of pictures.

        Args:
            chosen: (b,) pictures whose keypoints say where.
            faces: (b, d) raw embeddings; of zeros the mean face is foretold.
            windows: what is left of each picture; None: the whole.

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
            back = cv2.invertAffineTransform(_similarity(points))
            masks[i, :, :, 0] = cv2.warpAffine(self._inner, back, size)
            face = cv2.warpAffine(
                drawn[i].reshape(SIDE, SIDE, 3), back, size, borderMode=cv2.BORDER_REPLICATE
            )
            pictures[i] += masks[i] * (face - pictures[i])
        told, inside = (torch.from_numpy(maps).permute(0, 3, 1, 2) for maps in (pictures, masks))
        if windows:
            told, inside = (windows.cut(maps, scale) for maps in (told, inside))
        patches = torch.nn.functional.pixel_unshuffle(told, scale)
        latents = torch.einsum("bphw,pc->bchw", patches, self._encoding) + self._offset[:, None, None]
        return latents, torch.nn.functional.avg_pool2d(inside, scale)

    @property
    def _scale(self) -> int:
        return round((len(self._encoding) / 3) ** 0.5)

    def _features(self, directions: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(n, f): the embedding, the keypoints' places, and the embedding again by how head and mouth are turned."""
        places = (places - self._usual) / self._spread
        turns = places[:, 4:6]  # of the nose
        acting = (directions[:, :, None] * turns[:, None]).reshape(len(directions), -1)
        return np.concatenate([directions, acting, 0.1 * places, 0.1 * turns**2], axis=1).astype(np.float32)


def _similarity(keypoints: np.ndarray) -> np.ndarray:
    """(2, 3) from a picture's pixels to those of the aligned face of SIDE."""
    points, places = (np.asarray(each, np.float64) @ (1, 1j) for each in (keypoints, PLACES * SIDE / 112))
    centred = points - points.mean()
    turn = np.vdot(centred, places - places.mean()) / np.vdot(centred, centred)
    shift = places.mean() - turn * points.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def _apart(keypoints: np.ndarray) -> np.ndarray:
    """(10,) how far aligned keypoints are from where they usually are: the turn of a head, and its shape."""
    matrix = _similarity(keypoints)
    return (keypoints @ matrix[:, :2].T + matrix[:, 2] - PLACES * SIDE / 112).ravel().astype(np.float32)


def _linear_encoder(prepared: Prepared, chosen: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """(3 s², c) and (c,): latents from squares of s × s pixels, -1 to 1, as `pixel_unshuffle` has them."""
    some = chosen[:: max(1, len(chosen) // PAIRS)][:PAIRS]
    latents = torch.from_numpy(prepared.latents(some)).float()
    scale = prepared.size // latents.shape[-1]
    pictures = torch.from_numpy(prepared.images(some)).permute(0, 3, 1, 2).float() / 127.5 - 1
    patches = torch.nn.functional.pixel_unshuffle(pictures, scale).permute(0, 2, 3, 1).flatten(0, 2)
    wanted = latents.permute(0, 2, 3, 1).flatten(0, 2)
    known = torch.cat([patches, torch.ones(len(patches), 1)], dim=1).double()
    within = known.T @ known + 1e-3 * torch.eye(known.shape[1], dtype=torch.float64)
    found = torch.linalg.solve(within, known.T @ wanted.double())
    error = (known @ found - wanted).square().mean() / wanted.var(dim=0).mean()
    if error > 1 - LEAST_LINEAR:
        raise InvalidRequest(
            f"Of these latents {error:.0%} are not linear in pixels, so faces cannot be foretold in them. Leave "
            "foretold at 0, or let the autoencoder have components: true."
        )
    return found[:-1].float(), found[-1].float()
