"""A renderer for tests of what comes after rendering: real pictures' sizes and truths, in no time."""

import os

import numpy as np

from instantid.training.people.truth import FigureTruth, Rendered, Truth


def open_standin(device: str, threads: int | None):
    return lambda pictures: [draw(picture) for picture in pictures]


def open_dying(device: str, threads: int | None):
    return lambda pictures: os._exit(9)


def draw(picture) -> Rendered:
    """Each figure is a disc on a noisy ground; its truth is about that disc."""
    random = np.random.default_rng(picture.seed)
    h, w = picture.height, picture.width
    y, x = np.mgrid[:h, :w]
    image = random.integers(90, 120, (h, w, 3)).astype(np.uint8)
    people, depth = np.zeros((h, w), np.uint8), np.full((h, w), np.inf, np.float32)
    figures = []
    for number, figure in enumerate(picture.figures, start=1):
        centre, radius = np.array([w * number / (len(picture.figures) + 1), h / 2]), w / 5
        disc = np.hypot(x - centre[0], y - centre[1]) < radius
        image[disc] = random.integers(120, 250, 3)
        people[disc], depth[disc] = number, 1.5
        offsets = np.array([(-0.4, -0.3), (0.4, -0.3), (0, 0), (-0.3, 0.4), (0.3, 0.4)]) * radius
        figures.append(
            FigureTruth(
                number=figure.identity.number,
                face_keypoints=(centre + offsets).astype(np.float32),
                face_visible=np.ones(5, bool),
                face_box=(*(centre - radius), *(centre + radius)),
                body_keypoints=np.tile(centre, (12, 1)).astype(np.float32),
                body_visible=np.zeros(12, bool),
                head_angles=(4.0, -3.0, 0.0),
                share=float(disc.mean()),
            )
        )
    truth = Truth(
        figures=tuple(figures),
        depth=depth,
        people=people,
        intrinsics=np.eye(3, dtype=np.float32),
        extrinsics=np.eye(4, dtype=np.float32),
    )
    return Rendered(image=image, truth=truth)
