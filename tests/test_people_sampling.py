"""Who is in a picture and what varies: drawn the same from the same seed, within what the descriptions allow."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from instantid.training.people import expressions, poses, wardrobe
from instantid.training.people.description import HANDS, JOINTS, Picture, from_json, to_json
from instantid.training.people.identities import FACE, LEANING, STRENGTH, group_of, is_male, sample_identity
from instantid.training.people.scenes import FRAMINGS, sample_picture

PEOPLE = [sample_identity(number) for number in range(200)]
PICTURES = [sample_picture([PEOPLE[i % 50]], seed=i) for i in range(200)]


def test_the_same_seed_gives_the_same_person_and_picture():
    assert sample_identity(7, seed=3) == sample_identity(7, seed=3)
    assert sample_identity(7, seed=3) != sample_identity(7, seed=4)
    assert sample_picture(PEOPLE[:2], seed=5) == sample_picture(PEOPLE[:2], seed=5)
    assert sample_picture(PEOPLE[:2], seed=5) != sample_picture(PEOPLE[:2], seed=6)


def test_a_picture_survives_json():
    for picture in PICTURES[:20]:
        assert from_json(Picture, json.loads(json.dumps(to_json(picture)))) == picture


def test_people_differ_in_every_way():
    groups = Counter(group_of(person) for person in PEOPLE)
    assert len(groups) == 6 and min(groups.values()) > 12
    for told in ("hair", "eyes", "brows", "skin", "skin_tint"):
        assert len({getattr(person, told) for person in PEOPLE}) > 3
    ages = [person.age for person in PEOPLE]
    assert min(ages) < 24 and max(ages) > 68
    assert all(18 <= age <= 85 for age in ages)


def test_shapes_stay_within_their_strength():
    for person in PEOPLE:
        assert all(-1 <= weight <= 1 for weight in person.shape.values())
        for name, most in FACE.items():
            assert abs(person.shape[name] - LEANING.get(name, 0)) <= STRENGTH * most + 0.001


def test_shapes_are_drawn_evenly_not_bell_shaped():
    weights = np.array([person.shape["nose/nose-hump"] for person in PEOPLE]) / (
        STRENGTH * FACE["nose/nose-hump"]
    )
    assert 0.5 < weights.std() < 0.65  # a uniform draw of ±1: 0.577


def test_who_somebody_is_stays_from_picture_to_picture():
    pictures = [sample_picture([PEOPLE[0]], seed=seed) for seed in range(40)]
    assert all(picture.figures[0].identity == PEOPLE[0] for picture in pictures)
    for varies in ("camera", "lighting", "background"):
        assert len({str(getattr(picture, varies)) for picture in pictures}) == 40
    changed = sum(picture.figures[0].hair not in (None, PEOPLE[0].hair) for picture in pictures)
    assert 3 < changed < 25


def test_poses_name_joints_and_mirror_them():
    for name, stance in poses.STANCES.items():
        assert set(stance.joints) <= set(JOINTS) and set(stance.hands) <= set(HANDS), name
    random = np.random.default_rng(1)
    drawn = [poses.sample_stance(random) for _ in range(80)]
    elbows = [stance.joints["left_elbow"][0] for stance in drawn]
    assert max(elbows) > 90 and min(elbows) < 30
    pointing = {stance.hands for stance in drawn if "pointing" in stance.hands}
    assert {hands.index("pointing") for hands in pointing} == {0, 1}
    assert poses.STANCES["standing, pointing"].mirrored().mirrored() == poses.STANCES["standing, pointing"]


def test_who_sits_has_bent_hips_and_a_seat_and_no_skirt():
    pictures = [
        sample_picture([person], seed=seed, framing="full body")
        for person in PEOPLE[:40]
        for seed in range(8)
    ]
    figures = [figure for picture in pictures for figure in picture.figures]
    for figure in figures:
        assert (figure.seat is not None) == (
            figure.pose["left_hip"][0] > 65 and figure.pose["right_hip"][0] > 65
        )
        skirts = {*wardrobe.SKIRTS, *wardrobe.DRESSES} & {garment.name for garment in figure.clothes}
        assert figure.seat is None or not skirts
    assert 0.08 < np.mean([figure.seat is not None for figure in figures]) < 0.35


def test_glasses_and_hats_are_worn_now_and_then():
    random = np.random.default_rng(3)
    outfits = [wardrobe.sample_outfit(PEOPLE[0], random) for _ in range(2000)]
    assert np.mean([outfit.glasses is not None for outfit in outfits]) > 0.12
    assert np.mean([outfit.hat is not None for outfit in outfits]) > 0.08


def test_expressions_are_shares():
    random = np.random.default_rng(2)
    drawn = [expressions.sample_expression(random) for _ in range(200)]
    assert all(0 <= weight <= 1 for one in drawn for weight in one.values())
    assert sum("mouthSmileLeft" in one for one in drawn) > 50


def test_everybody_is_dressed():
    for picture in PICTURES:
        for figure in picture.figures:
            names = [garment.name for garment in figure.clothes]
            suits = (
                wardrobe.MEN_SUITS if is_male(figure.identity) else (*wardrobe.WOMEN_SUITS, *wardrobe.DRESSES)
            )
            assert names[-1] in wardrobe.SHOES
            assert names[0] in suits or (names[0] in wardrobe.TOPS and names[1] in wardrobe.BOTTOMS)


def test_colours_and_lights_are_possible():
    for picture in PICTURES:
        background = np.array(picture.background.colours)
        assert background.min() >= 0 and background.max() <= 1
        for light in picture.lighting.lights:
            assert min(light.colour) > 0 and light.strength >= 0 and -180 <= light.azimuth <= 180


def test_people_together_stand_apart():
    for seed in range(40):
        places = [figure.place for figure in sample_picture(PEOPLE[:3], seed=seed).figures]
        assert all(b[0] - a[0] > 0.2 for a, b in pairwise(places))


def test_framings_can_be_asked_for():
    for name, framing in FRAMINGS.items():
        assert sample_picture(PEOPLE[:1], seed=1, framing=name).camera.frame == framing.frame


@pytest.mark.parametrize("count", [0, 4])
def test_too_few_or_many_people_are_refused(count):
    with pytest.raises(ValueError, match="1 to 3 people"):
        sample_picture(PEOPLE[:count], seed=1)
