"""The identity report on faces that a stand-in finder sees: what is found, how far off, who is told apart."""

import dataclasses

import numpy as np
import pytest
from test_faces import opencv_folder as opencv_folder

from instantid.people import Face
from instantid.training.people.judges import Dlib, JudgeMissing, SFace, dlib_is_here
from instantid.training.people.report import View, find, report

POINTS = np.array([[40, 40], [60, 40], [50, 52], [43, 62], [57, 62]], np.float32)
BOX = [30, 25, 70, 75]


class Finder:
    """Sees a face `off` pixels beside the true one; its embedding is the picture's mean colour and some noise."""

    def __init__(self, off: float = 0.0, blind: int | None = None):
        self.off, self.blind, self.random = off, blind, np.random.default_rng(0)

    def find(self, image):
        colour = np.asarray(image, np.float32).mean((0, 1))
        if self.blind is not None and round(float(colour[0])) == self.blind:
            return []
        embedding = colour / 255 - 0.5 + self.random.normal(0, 0.02, 3)
        decoy = Face(np.ones(3), POINTS - 30, np.array(BOX) - 30)
        return [decoy, Face(embedding, POINTS + np.array((self.off, 0)), np.array(BOX))]


def view(person: int, yaw: float = 0.0) -> View:
    colour = np.random.default_rng(person).integers(0, 256, 3)
    colour[0] = person
    image = np.broadcast_to(colour, (96, 96, 3)).astype(np.uint8)
    return View(person=person, group="all", image=image, keypoints=POINTS, head_angles=(yaw, 0, 0))


VIEWS = [view(person, yaw) for person in range(8) for yaw in (0, 10, 50)]


def test_people_of_their_own_colour_are_told_apart():
    told = report(VIEWS, Finder(), [SFace()])
    assert told.separations[0].people == 8
    assert told.separations[0].auc.value > 0.95
    assert told.detection.frontal == 16 and told.detection.turned == 8
    assert told.detection.frontal_found == 1 and told.detection.middle_error == 0
    assert "SFace" in told.as_text() and "100.0% of 16" in told.as_text()
    assert told.to_json()["separations"][0]["auc"]["value"] == told.separations[0].auc.value


def test_what_is_not_found_is_counted():
    told = report(VIEWS, Finder(blind=3), [SFace()])
    assert told.detection.frontal_found == pytest.approx(14 / 16)
    assert told.separations[0].people == 7


def test_small_faces_are_found_but_not_compared():
    small = dataclasses.replace(VIEWS[0], keypoints=POINTS[2] + (POINTS - POINTS[2]) * 0.4)
    told = report([*VIEWS, small], Finder(), [SFace()])
    assert told.small == 1 and told.separations[0].pictures == len(VIEWS)
    assert told.detection.frontal == 17 and "1 more faces" in told.as_text()


def test_keypoints_off_are_told_in_shares_of_the_eyes_distance():
    assert report(VIEWS, Finder(off=2), [SFace()]).detection.middle_error == pytest.approx(2 / 20)


def test_a_face_elsewhere_is_not_this_one():
    assert find(Finder(off=1), VIEWS[0]).keypoints[0, 0] == 41
    assert find(Finder(off=25), VIEWS[0]) is None


def test_nothing_found_is_an_error():
    with pytest.raises(ValueError, match="No near-frontal face"):
        report([view(3)], Finder(blind=3), [SFace()])


@pytest.mark.skipif(dlib_is_here(), reason="dlib-bin and face-recognition-models are installed")
def test_a_missing_judge_says_what_to_install():
    with pytest.raises(JudgeMissing, match="pip install --no-deps dlib-bin face-recognition-models"):
        Dlib()


@pytest.mark.skipif(not dlib_is_here(), reason="dlib-bin and face-recognition-models are not installed")
def test_dlib_knows_a_photo_from_its_mirror_image(opencv_folder):
    import skimage.data
    from PIL import Image

    from instantid.faces import load_finder

    finder, judge = load_finder("opencv", opencv_folder), Dlib()
    photo = skimage.data.astronaut()
    one, other = (
        judge.embed(image, finder.find(Image.fromarray(image))[0]) for image in (photo, photo[:, ::-1])
    )
    assert one.shape == (128,) and np.linalg.norm(one - other) < 0.3  # dlib's limit for the same person: 0.6
