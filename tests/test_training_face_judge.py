"""What faces lack that are made, told by what a face model sees of them."""

import numpy as np
import pytest
import torch
from photos import ASTRONAUT
from PIL import ImageFilter
from test_faces import opencv_folder  # noqa: F401  (fixture)

from instantid.faces import find_face, load_finder
from instantid.image_files import open_image
from instantid.training.autoencoder import as_tensor, hinge
from instantid.training.face_judge import FaceJudge
from instantid.training.recogniser import Recogniser


@pytest.fixture(scope="module")
def finder(opencv_folder):  # noqa: F811
    return load_finder("opencv", opencv_folder)


@pytest.fixture
def sharp_and_soft(finder):
    photo = open_image(ASTRONAUT).resize((256, 256))
    pictures = as_tensor(np.stack([photo, photo.filter(ImageFilter.GaussianBlur(2))]))
    return pictures, np.stack([find_face(finder, photo).keypoints] * 2)


def test_it_learns_what_soft_faces_lack(finder, sharp_and_soft):
    pictures, places = sharp_and_soft
    judge = FaceJudge(Recogniser(finder.recognition_file))
    learned = [parameter for parameter in judge.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=2e-3)
    torch.manual_seed(0)
    for _ in range(12):
        sharp, soft = judge(*judge.look(pictures, places)).chunk(2)
        loss = hinge(sharp, soft)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5
    seen = pictures[1:].clone().requires_grad_()
    judge(*judge.look(seen, places[1:])).mean().backward()
    missing = pictures[0] - pictures[1]
    assert float((seen.grad[0] * missing).sum()) > 0, "and the way there"
    far = torch.ones(256, 256, dtype=bool)
    x, y = places[0].mean(axis=0).astype(int)
    far[y - 60 : y + 60, x - 60 : x + 60] = False
    assert not seen.grad[0, :, far].any(), "of the face alone"


def test_the_inner_face_may_be_asked_for_alone(finder, sharp_and_soft):
    pictures, places = sharp_and_soft
    shares = []
    for inner in (False, True):
        torch.manual_seed(0)
        judge = FaceJudge(Recogniser(finder.recognition_file), inner=inner)
        seen = pictures.clone().requires_grad_()
        judge(*judge.look(seen, places)).square().mean().backward()
        energy, (left, right) = seen.grad.square(), places[0, :2]
        above = int(min(left[1], right[1]) - 0.6 * (right[0] - left[0]))  # where hair begins
        shares.append(float(energy[:, :, :above].sum() / energy.sum()))
    assert shares[1] < 0.3 * shares[0]


def test_the_face_model_is_the_bundles_and_none_of_a_runs(finder):
    recogniser = Recogniser(finder.recognition_file)
    names = {name.split(".")[0] for name, _ in FaceJudge(recogniser).named_parameters()}
    assert names == {"mixtures", "heads"}
    learned = {name.split(".")[0] for name, p in FaceJudge(recogniser).named_parameters() if p.requires_grad}
    assert learned == {"heads"}


def test_the_same_face_is_never_seen_twice_alike(finder, sharp_and_soft):
    pictures, places = sharp_and_soft
    judge = FaceJudge(Recogniser(finder.recognition_file))
    once, again = judge(*judge.look(pictures, places)), judge(*judge.look(pictures, places))
    assert not torch.equal(once, again)


def test_levels_are_finest_first_and_leave_the_model_as_it_was(finder, sharp_and_soft):
    pictures, places = sharp_and_soft
    recogniser = Recogniser(finder.recognition_file)
    before = recogniser(pictures, places)
    sizes = [tuple(level.shape[1:3]) for level in recogniser.levels(pictures, places)]
    assert sizes == [(64, 112), (128, 56), (256, 28), (512, 14)]
    assert torch.equal(recogniser(pictures, places), before)
    assert not any(layer._forward_pre_hooks for layer in recogniser.modules())
