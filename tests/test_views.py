"""Views of the mean face, held against real photos."""

import itertools
import typing
from pathlib import Path

import numpy as np
import pytest
from photos import ASTRONAUT, GRACE_HOPPER, SIX_PEOPLE
from PIL import ImageOps
from test_faces import finder as finder
from test_faces import opencv_folder as opencv_folder

from instantid.errors import InvalidRequest
from instantid.images import open_image
from instantid.people import MAX_PEOPLE, Place, View
from instantid.views import TURNS, WIDEST, box_around, on_canvas, placed, side_by_side, view_keypoints

VIEWS = typing.get_args(View)
EXAMPLES = Path("assets/examples")
PHOTOGRAPHER = EXAMPLES / "pose-photographer.jpg"  # from the side, looks to the picture's right
PHOTOS = [ASTRONAUT, GRACE_HOPPER, SIX_PEOPLE, PHOTOGRAPHER]


def distance(points: np.ndarray, view: str) -> float:
    """Mean distance of `points` to the view's after similarity alignment, in parts of the points' spread."""
    ours, theirs = (array - array.mean(axis=0) for array in (view_keypoints(view)[0], points))
    a, b = (array[:, 0] + 1j * array[:, 1] for array in (ours.astype(float), theirs.astype(float)))
    turn = np.vdot(a, b) / np.vdot(a, a)
    return float(np.abs(turn * a - b).mean() / np.abs(b).mean())


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    inner = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(inner / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner))


def nearest(points: np.ndarray) -> str:
    return min(VIEWS, key=lambda view: distance(points, view))


def test_every_view_that_can_be_asked_for_is_there():
    assert set(TURNS) == set(VIEWS)


@pytest.mark.parametrize(
    ("photo", "view"), [(ASTRONAUT, "front"), (GRACE_HOPPER, "front"), (PHOTOGRAPHER, "profile right")]
)
def test_real_faces_lie_nearest_to_the_view_they_are_seen_in(finder, photo, view):
    points = finder.find(open_image(photo))[0].keypoints
    assert nearest(points) == view
    assert distance(points, view) < 0.12


def test_left_is_the_pictures_left(finder):
    photo = open_image(SIX_PEOPLE)  # the third largest face looks to the picture's left
    assert nearest(finder.find(photo)[2].keypoints) == "three-quarter left"
    assert nearest(finder.find(ImageOps.mirror(photo))[2].keypoints) == "three-quarter right"


@pytest.mark.parametrize("view", VIEWS)
def test_a_face_stays_in_its_box_and_the_box_is_one_high(view):
    keypoints, box = view_keypoints(view)
    assert keypoints.dtype == box.dtype == np.float32
    assert box[:2].tolist() == [0, 0] and box[3] == pytest.approx(1)
    assert 0.6 < box[2] < WIDEST
    assert (keypoints >= 0).all() and (keypoints <= box[2:]).all()
    assert keypoints[:2, 1].max() < keypoints[2, 1] < keypoints[3:, 1].min()  # eyes, nose, mouth


@pytest.mark.parametrize("turn", ["three-quarter", "profile"])
def test_left_and_right_are_mirror_images(turn):
    left, left_box = view_keypoints(f"{turn} left")
    right, right_box = view_keypoints(f"{turn} right")
    mirrored = (right_box[2:] * (1, 0) + right * (-1, 1))[[1, 0, 2, 4, 3]]
    np.testing.assert_allclose(left_box, right_box, atol=1e-6)
    np.testing.assert_allclose(left, mirrored, atol=1e-6)


def test_the_nose_leads_the_way():
    def lead(view):  # from between the eyes to the nose, in the face's height
        keypoints = view_keypoints(view)[0]
        return keypoints[2] - keypoints[:2].mean(axis=0)

    assert lead("profile left")[0] < lead("three-quarter left")[0] < -0.05
    assert lead("profile right")[0] > lead("three-quarter right")[0] > 0.05
    assert abs(lead("front")[0]) < 1e-6
    assert lead("up")[1] < lead("front")[1] - 0.05 < lead("down")[1] - 0.1


def test_in_a_profile_the_eyes_nearly_coincide():
    def eyes(view):
        return np.diff(view_keypoints(view)[0][:2, 0])[0]

    assert 0 < eyes("profile left") < 0.25 * eyes("front")


def test_a_face_goes_where_it_is_put_and_keeps_its_shape():
    keypoints, box = view_keypoints("three-quarter left")
    points, around = placed(keypoints * 300 + 40, box * 300 + 40, Place(x=0.25, y=0.75, size=0.5), 800, 600)
    assert around[3] - around[1] == pytest.approx(0.5 * 600, rel=1e-5)
    np.testing.assert_allclose((around[:2] + around[2:]) / 2, (200, 450), rtol=1e-5)
    np.testing.assert_allclose(points, (keypoints - box[2:] / 2) * 300 + (200, 450), atol=1e-3)
    same = on_canvas("three-quarter left", Place(x=0.25, y=0.75, size=0.5), 800, 600)
    np.testing.assert_allclose(same[0], points, atol=1e-3)
    np.testing.assert_allclose(same[1], around, atol=1e-3)


@pytest.mark.parametrize("size", [(1024, 1024), (768, 1344), (1344, 768), (64, 4096), (4096, 64)])
def test_people_side_by_side_do_not_overlap_and_stay_on_the_canvas(size):
    for count, view in itertools.product(range(1, MAX_PEOPLE + 1), VIEWS):
        boxes = [on_canvas(view, place, *size)[1] for place in side_by_side(count, *size)]
        assert len(boxes) == count
        assert min(box[:2].min() for box in boxes) >= 0
        assert all((box[2:] <= size).all() for box in boxes)
        assert all(left[2] < right[0] for left, right in itertools.pairwise(boxes))


def test_one_person_alone_has_the_usual_place():
    assert side_by_side(1, 64, 4096) == [Place()]


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda path: path.stem)
def test_five_points_imply_the_box_that_a_detector_draws(finder, photo):
    for face in finder.find(open_image(photo)):
        assert overlap(box_around(face.keypoints), face.box) > 0.72


@pytest.mark.parametrize("view", VIEWS)
def test_the_points_of_a_view_imply_its_box(view):
    keypoints, box = on_canvas(view, Place(), 1024, 1024)
    np.testing.assert_allclose(box_around(keypoints), box, atol=0.05)


def test_points_dragged_anywhere_have_a_box_that_holds_them():
    for seed in range(50):
        points = np.random.default_rng(seed).uniform(-50, 500, (5, 2))
        box = box_around(points)
        assert np.isfinite(box).all()
        assert (points >= box[:2] - 1e-3).all() and (points <= box[2:] + 1e-3).all()


def test_points_on_one_spot_are_refused():
    with pytest.raises(InvalidRequest, match="Move them apart"):
        box_around(np.full((5, 2), 31.0))
