import cv2
import numpy as np
import pytest
from photos import ASTRONAUT, GRACE_HOPPER, SIX_PEOPLE
from PIL import Image
from skimage.measure import blur_effect
from test_faces import finder, opencv_folder  # noqa: F401  (fixtures)

from instantid.face_measures import (
    align,
    find_covered,
    measure_blur,
    measure_cut,
    measure_light,
    measure_turn,
)
from instantid.faces import find_face
from instantid.images import open_image
from instantid.people import Face
from instantid.views import TURNS, view_keypoints


@pytest.fixture(scope="session", params=[ASTRONAUT, GRACE_HOPPER], ids=["astronaut", "hopper"])
def portrait(request, finder):  # noqa: F811
    photo = open_image(request.param)
    return photo, find_face(finder, photo)


@pytest.mark.parametrize("view", TURNS)
@pytest.mark.parametrize("tilt", [0, 20, -75])
@pytest.mark.parametrize("noise", [0, 0.01])
def test_known_turns_are_measured(view, tilt, noise):
    """Exact on the mean face; a hundredth of a face's height beside, 8° off at the worst."""
    keypoints = view_keypoints(view)[0] + np.random.default_rng(0).normal(0, noise, (5, 2))
    radians = np.radians(tilt)
    spin = [[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]]  # clockwise, y goes down
    turn = measure_turn(300 * keypoints @ np.transpose(spin) + 40)
    np.testing.assert_allclose(
        (turn.right, turn.up, turn.tilt), (*TURNS[view], tilt), atol=8 if noise else 0.1
    )


def test_the_aligned_face_is_insightface_s(portrait):
    from insightface.utils.face_align import norm_crop

    photo, face = portrait
    want = norm_crop(np.asarray(photo), face.keypoints).astype(float)
    got = align(photo, face.keypoints).astype(float)
    assert np.abs(got - want)[20:100, 20:92].mean() < 8  # it is shrunk with every pixel's part
    turned = cv2.rotate(np.asarray(photo), cv2.ROTATE_90_CLOCKWISE)
    points = np.stack([photo.height - 1 - face.keypoints[:, 1], face.keypoints[:, 0]], axis=1)
    again = align(Image.fromarray(turned), points).astype(float)
    assert np.abs(got - again).mean() < 2


def test_blur_is_the_blur_effect_of_the_paper(portrait):
    photo, face = portrait
    aligned = align(photo, face.keypoints)
    grey = cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY)[14:-14, 14:-14]
    assert measure_blur(aligned) == pytest.approx(blur_effect(grey, h_size=11), abs=0.03)
    assert measure_blur(np.full((112, 112, 3), 90, np.uint8)) == 1


def test_blur_grows_with_blur_and_not_with_noise_contrast_or_size(portrait):
    photo, face = portrait
    pixels, eyes = np.asarray(photo), np.linalg.norm(face.keypoints[1] - face.keypoints[0])

    def blur(array, scale=1.0):
        return measure_blur(align(Image.fromarray(array), face.keypoints * scale))

    grown = [blur(cv2.GaussianBlur(pixels, (0, 0), part * eyes)) for part in (0.005, 0.03, 0.06, 0.09, 0.12)]
    assert grown == sorted(grown) and grown[0] < 0.5 and grown[2] > 0.6 and grown[4] > 0.7
    noisy = np.clip(pixels + np.random.default_rng(0).normal(0, 8, pixels.shape), 0, 255).astype(np.uint8)
    flat, large = (pixels // 2 + 64).astype(np.uint8), cv2.resize(pixels, None, fx=3, fy=3)
    for changed, scale in ((noisy, 1), (flat, 1), (large, 3)):
        assert blur(changed, scale) == pytest.approx(blur(pixels), abs=0.06)


def test_light_tells_darkness_and_burnt_skin(portrait):
    photo, face = portrait

    def stops(more: float):
        linear = (np.asarray(photo) / 255.0) ** 2.2 * 2**more
        return measure_light(
            align(
                Image.fromarray((np.clip(linear, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)), face.keypoints
            )
        )

    assert [round(stops(more)[0]) for more in (0, -2, -4)] == pytest.approx([205, 109, 58], abs=15)
    assert stops(0)[1] < 0.1 and stops(-4)[1] == 0 and stops(2)[1] > 0.5


@pytest.mark.parametrize("part", [0.2, 0.3, 0.4])
@pytest.mark.parametrize("side", range(4))
def test_a_cut_head_is_measured_where_detectors_stop_at_the_edge(portrait, side, part):
    photo, face = portrait
    x1, y1, x2, y2 = (float(value) for value in face.box)
    frame = [0.0, 0.0, float(photo.width), float(photo.height)]
    frame[side] = (
        x1 + part * (x2 - x1),
        y1 + part * (y2 - y1),
        x2 - part * (x2 - x1),
        y2 - part * (y2 - y1),
    )[side]
    moved = Face(face.embedding, face.keypoints - frame[:2], face.box - np.tile(frame[:2], 2))
    got = measure_cut(moved, round(frame[2] - frame[0]), round(frame[3] - frame[1]))
    assert got == pytest.approx(part, abs=0.08)
    assert measure_cut(face, *photo.size) == 0


# What covers a face

COVERS = {  # in eye distances from the middle between the eyes
    "eyes": [(-0.95, -0.3), (0.95, -0.3), (0.95, 0.3), (-0.95, 0.3)],
    "left eye": [(-0.9, -0.35), (-0.1, -0.35), (-0.1, 0.35), (-0.9, 0.35)],
    "right eye": [(0.1, -0.35), (0.9, -0.35), (0.9, 0.35), (0.1, 0.35)],
    "mouth": [(-0.6, 0.8), (0.6, 0.8), (0.6, 1.35), (-0.6, 1.35)],
    "mask": [(-1, 0.35), (0, 0.15), (1, 0.35), (0.8, 1.3), (0, 1.8), (-0.8, 1.3)],
}
COLOURS = {"black": (12, 12, 14), "white": (240, 240, 240), "blue": (70, 110, 180), "red": (180, 30, 40)}


def cover(aligned: np.ndarray, where: str, colour: str) -> np.ndarray:
    corners = np.round(np.array(COVERS[where]) * 35 + (56, 51.6)).astype(np.int32)
    return cv2.fillPoly(aligned.copy(), [corners], COLOURS[colour])


@pytest.fixture(scope="session")
def uncovered(finder) -> list[np.ndarray]:  # noqa: F811
    """Seven faces, aligned: all in these photos but one in profile."""
    photos = [open_image(path) for path in (ASTRONAUT, GRACE_HOPPER, SIX_PEOPLE)]
    return [
        align(photo, face.keypoints)
        for photo in photos
        for face in finder.find(photo)
        if abs(measure_turn(face.keypoints).right) < 35
    ]


def test_uncovered_faces_are_not_said_to_be_covered(uncovered):
    assert len(uncovered) == 7
    assert [find_covered(aligned) for aligned in uncovered] == [[]] * 7


@pytest.mark.parametrize(
    ("where", "least"), [("eyes", 0.7), ("left eye", 0.8), ("right eye", 0.7), ("mouth", 0.9), ("mask", 0.6)]
)
def test_most_covers_are_seen(uncovered, where, least):
    found = [find_covered(cover(aligned, where, colour)) for aligned in uncovered for colour in COLOURS]
    assert np.mean([bool(zones) for zones in found]) >= least
    if where in ("left eye", "right eye", "mouth"):
        assert np.mean([where in zones for zones in found if zones]) > 0.9


def test_dark_skin_and_dull_light_are_not_covers(uncovered):
    for aligned in uncovered:
        for gain in (0.35, 0.6):
            assert find_covered((aligned * gain).astype(np.uint8)) == []
