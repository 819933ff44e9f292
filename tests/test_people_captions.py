from dataclasses import replace

import pytest
from people_standin import draw

from instantid.styles import load_styles
from instantid.training.people import words
from instantid.training.people.captions import SHARES, write_captions
from instantid.training.people.description import Camera, Figure, Garment, Identity, Light, Lighting, Picture

WOMAN = Identity(number=0, seed=0, sex=0.1, age=24, hair="short02", hair_colour=(0.6, 0.25, 0.1))
MAN = Identity(number=1, seed=1, sex=0.9, age=70, hair=None, beard="Full_beard")


def told(picture: Picture, style: str | None = None, seeds: int = 40) -> list:
    preset = load_styles()[style] if style else None
    truth = draw(picture).truth
    return [write_captions(picture, truth, preset, seed) for seed in range(seeds)]


@pytest.fixture
def portrait() -> Picture:
    dress = Garment(name="F_Dress_02", colour=(0.75, 0.1, 0.1))
    smile = {"mouthSmileLeft": 0.6, "mouthSmileRight": 0.5}
    return Picture(
        figures=(Figure(identity=WOMAN, clothes=(dress,), expression=smile),), camera=Camera(frame="half")
    )


def test_all_that_is_seen_is_told_now_and_then(portrait):
    everything = " | ".join(captions.full for captions in told(portrait))
    for words_ in (
        "young woman",
        "short red hair",
        "a red dress",
        "smiling",
        "facing the camera",
        "waist-up",
    ):
        assert words_ in everything
    assert "man with" in everything and "beard" not in everything and "glasses" not in everything


def test_captions_vary_and_the_seed_decides(portrait):
    captions = told(portrait)
    assert len({each.full for each in captions}) > 25
    assert captions == told(portrait)


def test_shorter_kinds_are_shorter(portrait):
    for style in (None, "Watercolor", "Jungle"):
        captions = told(portrait, style)
        lengths = [sum(len(getattr(each, kind)) for each in captions) for kind in ("full", "short", "terse")]
        assert lengths[0] > lengths[1] > lengths[2] > 0


def test_one_in_ten_is_empty(portrait):
    empty = [captions.drawn == "" for captions in told(portrait, seeds=1000)]
    assert abs(sum(empty) / 1000 - SHARES["empty"]) < 0.03


def test_a_look_is_told_in_the_presets_words(portrait):
    for captions in told(portrait, "Watercolor"):
        assert captions.full.startswith("watercolor painting of a")
        assert "visible paper grain" in captions.full
        assert captions.short.startswith("watercolor painting of a")
        assert "watercolor" in captions.terse
        assert "photo" not in captions.full + captions.short + captions.terse


def test_what_a_preset_says_of_the_subject_stays_with_the_subject(portrait):
    for captions in told(portrait, "Jungle"):
        assert captions.full.index("in a dense jungle") < captions.full.index("waist-up, giant wet leaves")
        assert "portrait in a dense" not in captions.full


@pytest.mark.parametrize(
    ("who", "wanted"),
    [
        ((WOMAN, MAN), "woman and a man"),
        ((MAN, MAN), "two men"),
        ((WOMAN, WOMAN, MAN), "two women and a man"),
    ],
)
def test_several_people_are_counted(who, wanted):
    picture = Picture(figures=tuple(Figure(identity=identity) for identity in who))
    assert any(wanted in captions.full for captions in told(picture))
    assert all("a woman, a woman" not in captions.full for captions in told(picture))


def test_ancestry_is_never_named():
    for shares in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        picture = Picture(figures=(Figure(identity=replace(WOMAN, ancestry=shares)),))
        text = " ".join(captions.full + captions.terse for captions in told(picture)).lower()
        assert not any(word in text for word in ("african", "asian", "caucasian", "european", "ethnic"))


def test_no_braces_nor_empty_phrases_are_left():
    picture = Picture(figures=(Figure(identity=MAN),))
    truth = draw(picture).truth
    for style in load_styles().values():
        captions = [write_captions(picture, truth, style, seed) for seed in range(3)]
        for text in (text for each in captions for text in (each.full, each.short, each.terse)):
            assert "{" not in text and ", ," not in text and "  " not in text and text == text.strip(" ,"), (
                text
            )


@pytest.mark.parametrize(
    ("figure", "word"),
    [
        (Figure(identity=MAN), "a bald head"),
        (
            Figure(identity=WOMAN, hair="ponytail01", hair_colour=(0.05, 0.04, 0.04)),
            "black hair in a ponytail",
        ),
        (Figure(identity=WOMAN, hat=Garment(name="fedora")), None),
    ],
)
def test_hair_is_that_of_the_picture(figure, word):
    assert words.hair(figure) == word


def test_hats_and_glasses_are_told():
    figure = Figure(identity=MAN, hat=Garment(name="fedora_cocked"), glasses=Garment(name="glasses"))
    assert words.worn_on_head(figure) == ["glasses", "a fedora"]


@pytest.mark.parametrize(
    ("weights", "word"),
    [
        ({}, None),
        ({"mouthSmileLeft": 0.5, "jawOpen": 0.5}, "laughing"),
        ({"eyeBlinkLeft": 0.9, "eyeBlinkRight": 0.9}, "with closed eyes"),
        ({"jawOpen": 0.5, "browInnerUp": 0.6}, "surprised"),
        ({"mouthFrownLeft": 0.5, "browDownLeft": 0.5}, "frowning"),
    ],
)
def test_expressions_have_names(weights, word):
    assert words.expression(Figure(identity=WOMAN, expression=weights)) == word


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((0.02, 0.02, 0.03), "black"),
        ((0.9, 0.9, 0.92), "white"),
        ((0.1, 0.12, 0.35), "navy"),
        ((0.7, 0.15, 0.1), "red"),
    ],
)
def test_colours_have_names(colour, name):
    assert words.colour_name(colour) == name


def test_light_is_told_by_colour_and_side():
    assert words.light(Lighting(lights=(Light(colour=(1.4, 1.0, 0.8)),))) == "warm light"
    assert words.light(Lighting(lights=(Light(azimuth=-170),))) == "backlit"
    assert words.light(Lighting(lights=(Light(azimuth=280),))) == "light from the side"
