"""What the samplers name is there, and no hair they choose hides an eye: seen by the renderer itself."""

from dataclasses import replace

import pytest

from instantid.training.people import assets, expressions, identities, wardrobe
from instantid.training.people.description import Camera
from instantid.training.people.renderer import Renderer
from instantid.training.people.scenes import sample_picture


@pytest.fixture(scope="module")
def made() -> assets.Assets:
    return assets.load(assets.fetch())


def test_every_name_drawn_is_there(made):
    for number in range(150):
        person = identities.sample_identity(number)
        assert set(person.shape) <= set(made.shapes)
        assert {person.skin, person.skin_other} <= set(made.skins)
        assert person.eyes in made.eyes and person.brows in made.brows and person.lashes in made.lashes
        assert person.hair is None or person.hair in made.hair
        assert person.beard is None or person.beard in made.beards


def test_every_garment_and_expression_is_there(made):
    worn = (*wardrobe.WOMEN_SUITS, *wardrobe.MEN_SUITS, *wardrobe.DRESSES, *wardrobe.TOPS, *wardrobe.BOTTOMS)
    assert {*worn, *wardrobe.SHOES, *wardrobe.HATS, wardrobe.GLASSES} <= set(made.garments)
    for units in expressions.EXPRESSIONS.values():
        assert set(units) <= set(made.expressions)


def test_no_hair_hides_an_eye(made):
    person = identities.sample_identity(4)
    plain = sample_picture([person], seed=5)
    names = sorted({*identities.MEN_HAIR, *identities.WOMEN_HAIR, "afro01"})

    def seen(hair: str, yaw: float):
        figure = replace(
            plain.figures[0], hair=hair, hat=None, glasses=None, pose={}, heading=0, expression={}
        )
        camera = Camera(frame="head", fill=0.8, yaw=yaw)
        return replace(plain, figures=(figure,), camera=camera, width=64, height=64)

    pictures = [seen(name, yaw) for name in names for yaw in (-20, 20)]
    pictures.append(seen("bob02", 0))  # known to hide one: the truth must say so
    *free, hidden = Renderer("cpu", assets=made).render(pictures)
    told = {
        name: [tuple(one.truth.figures[0].face_visible[:2]) for one in free[2 * i : 2 * i + 2]]
        for i, name in enumerate(names)
    }
    assert told == {name: [(True, True)] * 2 for name in names}
    assert not hidden.truth.figures[0].face_visible[:2].all()
