from collections.abc import Callable

import cv2
import numpy as np
import pytest
from photos import ASTRONAUT, GRACE_HOPPER, SIX_PEOPLE
from PIL import Image, ImageFilter, ImageOps
from test_faces import finder, opencv_folder  # noqa: F401  (fixtures)

from instantid import advice
from instantid.faces import FaceFinder, find_face
from instantid.images import open_image
from instantid.people import Face
from instantid.views import TURNS, view_keypoints


@pytest.fixture(scope="session", params=[ASTRONAUT, GRACE_HOPPER], ids=["astronaut", "hopper"])
def portrait(request, finder) -> tuple[Image.Image, Face]:  # noqa: F811
    photo = open_image(request.param)
    return photo, find_face(finder, photo)


def kinds(told: list[advice.Advice]) -> list[str]:
    for each in told:  # one line, said to people
        assert (
            str(each) == each.text
            and "\n" not in each.text
            and each.text.endswith(".")
            and not each.text[0].islower()
        )
    return [each.kind for each in told]


def test_nothing_is_said_of_a_good_photo(finder, portrait):  # noqa: F811
    photo, _ = portrait
    assert advice.of(photo, finder) == []
    assert advice.of(ImageOps.mirror(photo), finder) == []
    assert advice.of(photo.resize((2 * photo.width, 2 * photo.height)), finder) == []


def shrunk(photo: Image.Image, face: Face) -> Image.Image:
    scale = 60 / (face.box[3] - face.box[1])
    return photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)


def blurred(photo: Image.Image, face: Face) -> Image.Image:
    eyes = float(np.linalg.norm(face.keypoints[1] - face.keypoints[0]))
    return photo.filter(ImageFilter.GaussianBlur(0.07 * eyes))


def shaken(photo: Image.Image, face: Face) -> Image.Image:
    length = round(0.4 * float(np.linalg.norm(face.keypoints[1] - face.keypoints[0])))
    return Image.fromarray(cv2.blur(np.asarray(photo), (length, 1)))


def cut(photo: Image.Image, face: Face) -> Image.Image:
    return photo.crop((0, 0, round(float(face.box[2] - 0.3 * (face.box[2] - face.box[0]))), photo.height))


def exposed(stops: float) -> Callable[[Image.Image, Face], Image.Image]:
    return lambda photo, _: photo.point(lambda value: min(255, value * 2 ** (stops / 2.2)))


def in_dark_glasses(photo: Image.Image, face: Face) -> Image.Image:
    (x1, y1), (x2, y2) = face.keypoints[:2]
    reach = (x2 - x1) * np.array([0.4, 0.25])
    pixels = np.asarray(photo).copy()
    for x, y in ((x1, y1), (x2, y2)):
        (left, top), (right, bottom) = (
            np.round(np.array([x, y]) + sign * reach).astype(int) for sign in (-1, 1)
        )
        pixels[top:bottom, left:right] = (20, 22, 25)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (shrunk, "small"),
        (blurred, "blurred"),
        (shaken, "blurred"),
        (cut, "cut off"),
        (exposed(-4), "dark"),
        (exposed(+2.5), "burnt out"),
        (in_dark_glasses, "covered"),
        (lambda photo, _: Image.new("RGB", photo.size), "no face"),
    ],
    ids=["small", "blurred", "shaken", "cut", "dark", "burnt", "covered", "empty"],
)
def test_each_fault_is_told_by_its_name_alone(finder, portrait, change, kind):  # noqa: F811
    photo, face = portrait
    assert kinds(advice.of(change(photo, face), finder)) == [kind]


def told_of(turned: np.ndarray, size: int = 400) -> list[str]:
    """What is said of keypoints; the picture is noise in the colour of nothing, so other lines do not count."""
    box = np.array([50, 50, 350, 350])
    photo = Image.new("RGB", (size, size), (150, 120, 100))
    told = advice.judge(photo, [Face(np.ones(4), turned, box)])
    kinds(told)
    return [each.text for each in told if each.kind in ("turned", "tilted")]


@pytest.mark.parametrize("view", TURNS)
def test_turned_heads_are_told_with_their_way(view):
    told = told_of(view_keypoints(view)[0] * 250 + 60)
    if view == "front":
        assert told == []
    else:
        [line] = told
        assert view.split()[-1] in line
        assert f"about {10 * round(max(map(abs, TURNS[view])) / 10)}°" in line


def test_tilted_heads_are_told():
    points = view_keypoints("front")[0] * 250 + 60
    for degrees, is_told in ((0, False), (10, False), (30, True), (-60, True)):
        matrix = cv2.getRotationMatrix2D((200, 200), degrees, 1)
        told = told_of(points @ matrix[:, :2].T + matrix[:, 2])
        assert [f"tilted by about {abs(degrees)}°" in line for line in told] == [True] * is_told


def test_of_several_faces_it_is_said_which_is_taken_and_that_one_is_judged(finder):  # noqa: F811
    photo = open_image(SIX_PEOPLE)
    faces = finder.find(photo)
    told = [advice.judge(photo, faces, number=number) for number in range(1, 7)]
    assert told[0][0].text.startswith("6 faces are here: the largest is taken")
    assert "number 3, counted from the largest, is taken" in told[2][0].text
    assert [kinds(lines) for lines in told] == [
        ["several faces", "turned"] if number == 3 else ["several faces"] for number in range(1, 7)
    ]
    assert kinds(advice.judge(photo, faces, number=7)) == ["no face"]


# Ages


class Guessing(FaceFinder):
    """Two faces, the larger of somebody of 34 and the smaller of somebody of 9."""

    dimension, model = 4, "guessing, 4"

    def _detect(self, bgr, size):
        keypoints = np.stack([view_keypoints("front")[0] * side + 20 for side in (200, 150)])
        return np.float32([[20, 20, 180, 220], [20, 20, 140, 170]]), keypoints

    def _embed(self, bgr, box, keypoints):
        return np.ones(4, np.float32)

    def age(self, image, face):
        return 34 if face.area > 30_000 else 9


def test_the_age_is_a_range_with_what_to_do_about_it():
    photo = Image.new("RGB", (300, 300), (150, 120, 100))
    told = {each.kind: each.text for each in advice.of(photo, Guessing())}
    assert (
        "Looks about 30 to 40. Say so in the prompt (“34 years old”)" in told["age"] and "child" not in told
    )
    told = {each.kind: each.text for each in advice.of(photo, Guessing(), number=2)}
    assert "under 18" in told["child"] and "consent of a parent" in told["child"] and "age" not in told


@pytest.mark.parametrize(
    ("years", "said"),
    [(18, "15 to 25"), (20, "15 to 25"), (42, "35 to 45"), (88, "85 to 95"), (0, "under 18")],
)
def test_ages_are_told_in_fives(years, said):
    assert said in advice.judge_age(years).text


# Several photos of one person


def test_a_photo_of_somebody_else_is_named(finder, portrait):  # noqa: F811
    photo, _ = portrait
    changes = (lambda p: p, ImageOps.mirror, lambda p: p.reduce(2), lambda p: p.rotate(8))
    same = [find_face(finder, change(photo)) for change in changes]
    stranger = finder.find(open_image(SIX_PEOPLE))[0]
    assert advice.judge_together(same) == advice.judge_together(same[:1]) == advice.judge_together([]) == []
    told = advice.judge_together([*same[:2], stranger, *same[2:]])
    assert kinds(told) == ["odd one out"] and told[0].text.startswith("Photo 3 does not look like the others")
    told = advice.judge_together([stranger, *same[:2]], ["“x.png”", "“me.png”", "“I.png”"])
    assert told[0].text.startswith("“x.png” does not look like")


def test_two_photos_that_differ_accuse_neither(finder):  # noqa: F811
    faces = [find_face(finder, open_image(path)) for path in (ASTRONAUT, GRACE_HOPPER)]
    [told] = advice.judge_together(faces)
    assert told.text.startswith("Photo 1 and photo 2 do not look like one person")
    [told] = advice.judge_together(finder.find(open_image(SIX_PEOPLE))[:3], ["a", "b", "c"])
    assert told.text.startswith("A, b and c do not look like one person")


def test_who_looks_like_one_of_the_others_is_not_named():
    """Between the first and the last lie 100°, and from each to the next 50: they hang together."""
    angles = np.radians([0, 50, 100])
    faces = [Face([np.cos(a), np.sin(a), 0, 0], np.zeros((5, 2)), np.zeros(4)) for a in angles]
    assert advice.judge_together(faces) == []


def test_a_likeness_is_held_against_what_the_face_models_publisher_says():
    assert advice.likeness_scale("opencv") == "the same person: from 0.36"
    assert advice.likeness_scale("insightface") == advice.likeness_scale(None) == ""
