"""Where a face detector sees keypoints, with gradients."""

import numpy as np
import pytest
import torch
from photos import ASTRONAUT
from test_faces import antelope, insight, opencv_folder  # noqa: F401  (fixtures)

from instantid.errors import BundleError
from instantid.faces import find_face, load_finder
from instantid.image_files import open_image
from instantid.training.autoencoder import as_tensor
from instantid.training.face_places import FacePlaces


@pytest.fixture(scope="module")
def finder(opencv_folder):  # noqa: F811
    return load_finder("opencv", opencv_folder)


@pytest.fixture
def photo():
    return open_image(ASTRONAUT).crop((100, 0, 356, 256))


def test_it_sees_what_the_face_finder_sees(finder, photo):
    face = find_face(finder, photo)
    places = FacePlaces(finder.detection_file, 256)
    pictures, asked = as_tensor(np.stack([photo] * 2)), np.stack([face.keypoints] * 2)
    lost, off = places(pictures, asked)
    assert lost < 0.2 and off < 0.04
    _, beside = places(pictures, asked + np.float32([0, 6]))
    size = np.linalg.norm(face.keypoints - face.keypoints.mean(axis=0), axis=1).mean()
    assert float(beside) == pytest.approx(6 / size, rel=0.25)
    square = pictures[..., :192, 64:]
    _, off = places(square, asked - np.float32([64, 0]))
    assert off < 0.04, "parts of pictures are seen as large as in these"


def test_gradients_tell_where_a_face_should_go(finder, photo):
    face, places = find_face(finder, photo), FacePlaces(finder.detection_file, 256).train()
    pictures, way = as_tensor(np.stack([photo])), np.float32([0, 8])
    picture = pictures.clone().requires_grad_()
    lost, _ = places(picture, (face.keypoints + way)[None])
    [slope] = torch.autograd.grad(lost, picture)
    moved = pictures.roll(2, dims=2) - pictures  # a quarter of the way
    assert float((slope * moved).sum()) < 0
    assert not any(parameter.requires_grad for parameter in places.parameters())


def test_where_there_is_no_face_nothing_is_said_of_it(finder, photo):
    places = FacePlaces(finder.detection_file, 256)
    face = find_face(finder, photo)
    _, off = places(torch.zeros(1, 3, 256, 256), face.keypoints[None])
    assert off == 0


def test_another_detector_is_refused_with_what_to_do(insight):  # noqa: F811
    with pytest.raises(BundleError, match="set in_place to 0"):
        FacePlaces(insight.detection_file, 256)
