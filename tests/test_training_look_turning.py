"""How looks turn what differs between photos: learned from scenes that are there as photo and in a look."""

import numpy as np
import pytest
import torch

from instantid.people import Face
from instantid.training.look_turning import FEWEST, LookTurning
from instantid.training.prepared import Example, Prepared, encode_latents, write_piece
from instantid.training.shown_faces import ShownFaces

SCENES, SIDE, GRID = 60, 32, 4
GREY = np.full((3, 3), 1 / 3, np.float32)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Photos; Grey takes away their colours, Hall their left half; Seldom is there once."""
    folder, random = tmp_path_factory.mktemp("looks"), np.random.default_rng(0)
    looks = ["Grey", "Hall"] * (SCENES // 2)
    looks[7] = "Seldom"
    for scene, look in enumerate(looks):
        squares = random.integers(0, 256, (GRID, GRID, 3)).astype(np.float32)
        drawn = squares @ GREY
        if look == "Hall":
            drawn = squares.copy()
            drawn[:, : GRID // 2] = 40
        shown = [("photo", squares), (look, 20 + 0.9 * drawn)]
        write_piece(folder / f"piece-{scene:02d}", [_example(scene, *each) for each in shown], width=4)
    prepared = Prepared(folder)

    def encode(images):
        return torch.from_numpy(images[:, :: SIDE // GRID, :: SIDE // GRID] / 255).permute(0, 3, 1, 2).numpy()

    encode_latents(prepared, encode, mark="squares")
    return prepared


def _example(scene, look, squares):
    face = Face(embedding=np.ones(4), keypoints=np.ones((5, 2)), box=np.array([0, 0, 9, 9]))
    image = np.kron(squares.round().astype(np.uint8), np.ones((SIDE // GRID, SIDE // GRID, 1), np.uint8))
    record = {"scene": str(scene), "look": look, "caption": "", "captions": {}}
    return Example(
        image=image, face=face, person=scene, depth=np.zeros((SIDE, SIDE), np.uint8), record=record
    )


def learned(prepared, chosen):
    return LookTurning(prepared, chosen, ShownFaces(prepared, 0, references=1).photo_of)


def test_it_knows_the_looks_that_are_seen_often_enough(prepared):
    turning = learned(prepared, np.arange(len(prepared)))
    assert turning.looks == ["Grey", "Hall"] and len(turning) == 2
    assert not learned(prepared, np.arange(4 * (FEWEST - 1))), "too few of each"
    assert not learned(prepared, np.arange(0, len(prepared), 2)), "photos alone"


def test_differences_turn_as_the_look_does(prepared):
    turning = learned(prepared, np.arange(len(prepared)))
    red = torch.zeros(2, 3, GRID, GRID)
    red[:, 0] = 0.6
    grey, hall = turning.turned(red, ["Grey", "Hall"])
    assert torch.allclose(grey, torch.full_like(grey, 0.9 * 0.2), atol=0.05)
    left, right = hall[..., : GRID // 2], hall[..., GRID // 2 :]
    assert left.abs().max() < 0.3 * 0.54, "pulled towards as everywhere, as pictures are few"
    assert torch.allclose(right[0], torch.full_like(right[0], 0.54), atol=0.12)
    assert right[1:].abs().max() < 0.1


def test_none_stays_none_and_twice_is_twice(prepared):
    turning = learned(prepared, np.arange(len(prepared)))
    drawn = torch.randn(3, 3, GRID, GRID)
    looks = ["Hall", "Grey", "Hall"]
    assert not turning.turned(torch.zeros_like(drawn), looks).any()
    assert torch.allclose(turning.turned(2 * drawn, looks), 2 * turning.turned(drawn, looks), atol=1e-5)
