import cv2
import numpy as np
import pytest
from photos import ASTRONAUT
from PIL import Image

from instantid.errors import InvalidStyle
from instantid.styles import NO_STYLE, load_styles
from instantid.training.people.looks import LOOKS, PHOTO, apply_look, styles_with_looks

MONOCHROME = ("Film Noir", "Classic Black and White", "Line art", "Manga")
KEEPS_THE_SCENE = ("Watercolor", "Pencil Sketch", "Linocut", "Pixel Art", "VHS", "Oil Portrait", "Comic Book")


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.array(Image.open(ASTRONAUT).convert("RGB").resize((128, 128)))


@pytest.fixture(scope="module")
def people() -> np.ndarray:
    """Roughly where she is."""
    mask = np.zeros((128, 128), np.uint8)
    cv2.ellipse(mask, (55, 40), (18, 26), 0, 0, 360, 1, -1)
    cv2.ellipse(mask, (58, 118), (46, 54), 0, 0, 360, 1, -1)
    return mask


@pytest.fixture(scope="module")
def shown(photo, people) -> dict[str, np.ndarray]:
    return {look: apply_look(photo, people, look, 3) for look in LOOKS}


def test_every_preset_has_a_look_and_every_look_a_preset():
    assert set(LOOKS) == set(load_styles()) - {NO_STYLE} == set(styles_with_looks())


def test_a_photo_stays_as_it_is(photo, people):
    assert apply_look(photo, people, PHOTO, 3) is photo


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_shows_something_else_of_the_same_size(look, photo, shown):
    image = shown[look]
    assert image.shape == photo.shape and image.dtype == np.uint8
    assert np.abs(image.astype(int) - photo).mean() > 4
    assert image.std() > 12, "flat: nothing can be seen"
    assert 5 < image.mean() < 250


def test_looks_differ_from_each_other(shown):
    small = {
        look: cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).astype(int)
        for look, image in shown.items()
    }
    alike = [
        (one, other)
        for number, one in enumerate(small)
        for other in list(small)[number + 1 :]
        if np.abs(small[one] - small[other]).mean() < 4
    ]
    assert alike == []


@pytest.mark.parametrize("look", MONOCHROME)
def test_what_is_black_and_white_has_no_colour(look, shown):
    assert (shown[look].max(axis=2).astype(int) - shown[look].min(axis=2)).max() <= 8


@pytest.mark.parametrize("look", KEEPS_THE_SCENE)
def test_the_person_stays_where_she_is(look, photo, people, shown):
    """Edges of the look lie where the photo's are: what is known of the photo holds for it."""
    edges = [
        cv2.GaussianBlur(
            cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 60, 160).astype(float), (0, 0), 3
        )[people > 0]
        for image in (photo, shown[look])
    ]
    shifted = np.roll(edges[1], 31)
    assert np.corrcoef(*edges)[0, 1] > 0.3 > np.corrcoef(edges[0], shifted)[0, 1]


def test_people_are_set_into_places_and_stay_themselves(photo, people, shown):
    inside = cv2.erode(people, np.ones((9, 9), np.uint8)) > 0
    outside = cv2.dilate(people, np.ones((9, 9), np.uint8)) == 0
    change = np.abs(shown["Travel Magazine"].astype(int) - photo).mean(axis=2)
    assert change[outside].mean() > 3 * change[inside].mean()


def test_the_seed_decides(photo, people):
    snow = [apply_look(photo, people, "Snow", seed) for seed in (1, 1, 2)]
    assert (snow[0] == snow[1]).all()
    assert (snow[0] != snow[2]).any()


def test_the_photo_given_is_left_alone(photo, people):
    before = photo.copy()
    apply_look(photo, people, "Snow", 1)
    assert (photo == before).all()


def test_any_shape_and_a_picture_without_people(photo):
    wide = np.ascontiguousarray(photo[:70])
    for look in LOOKS:
        assert apply_look(wide, np.zeros((70, 128), np.uint8), look, 0).shape == (70, 128, 3)


def test_an_unknown_look_is_named(photo, people):
    with pytest.raises(InvalidStyle, match="“Watercolour”"):
        apply_look(photo, people, "Watercolour", 0)
