"""Twins: two pictures of one scene, of which only other things are to be said."""

import dataclasses

import numpy as np
import pytest
from people_standin import open_standin

from instantid.errors import InvalidRequest
from instantid.people import Face
from instantid.training import rendered
from instantid.training.people import words
from instantid.training.people.description import BACKGROUNDS
from instantid.training.people.making import compose, make
from instantid.training.people.orders import Order, present_shards
from instantid.training.people.twins import PLACES, SCENERIES
from instantid.training.prepared import Example

ORDER = Order(people=40, views=4, size=64, looks=1, together=0.1, twins=True, people_per_shard=40)
SAID = {"clothes", "glasses", "hat", "hair", "hair_colour", "expression"}


def pairs():
    for person in range(ORDER.people):
        for view in range(0, ORDER.views, 2):
            yield compose(ORDER, person, view), compose(ORDER, person, view + 1)


def test_twins_differ_in_what_is_said_of_them_and_in_nothing_else():
    for one, other in pairs():
        assert dataclasses.replace(one, figures=(), background=other.background, seed=other.seed) == (
            dataclasses.replace(other, figures=())
        )
        for figure, twin in zip(one.figures, other.figures, strict=True):
            kept = [field.name for field in dataclasses.fields(figure) if field.name not in SAID]
            assert all(getattr(figure, name) == getattr(twin, name) for name in kept)
            assert [worn.name for worn in figure.clothes] == [worn.name for worn in twin.clothes]
    told = [
        (words.hair(one.figures[0]), words.hair(other.figures[0]), one.background, other.background)
        for one, other in pairs()
    ]
    assert np.mean([hair != twin for hair, twin, *_ in told]) > 0.7
    assert np.mean([place.kind != twin.kind for *_, place, twin in told]) > 0.8


def test_the_same_order_gives_the_same_twins_and_a_scene_two_different_ones():
    assert compose(ORDER, 3, 1) == compose(ORDER, 3, 1) != compose(ORDER, 3, 0)
    assert compose(ORDER, 3, 0).camera != compose(ORDER, 3, 2).camera


def test_hair_and_walls_have_the_colours_that_they_are_called_by():
    figures = [picture.figures[0] for both in pairs() for picture in both]
    colours = [words.colour_name(figure.hair_colour, words.HAIR_COLOURS) for figure in figures]
    assert set(colours) == set(words.HAIR_COLOURS), "evenly drawn, not as people have them"
    assert set(SCENERIES) < set(PLACES) == set(BACKGROUNDS)
    walls = {
        words.colour_name(picture.background.colours[0])
        for both in pairs()
        for picture in both
        if picture.background.kind == "plain"
    }
    assert len(walls) > 10


def test_an_odd_number_of_views_is_refused():
    with pytest.raises(InvalidRequest, match="even number"):
        Order(people=2, views=3, twins=True)


def test_twins_are_cut_alike_and_have_one_face(tmp_path, monkeypatch):
    make(ORDER, tmp_path / "set", open_renderer=open_standin)
    [shard] = present_shards(tmp_path / "set", ORDER)

    def look(finder, image, sample, size):
        [figure, *_] = sample.record["figures"]
        embedding = np.full(8, len(embeddings))
        embeddings.append(embedding)
        return Face(embedding, np.array(figure["face_keypoints"], np.float32), np.array(figure["face_box"]))

    embeddings: list[np.ndarray] = []
    monkeypatch.setattr(rendered, "_face", look)
    by_twin: dict[str, list[Example]] = {}
    for example in rendered._examples(shard, None, 64, 0.58):
        by_twin.setdefault(example.record["twin"], []).append(example)
    assert all(len(same) == 4 for same in by_twin.values()), "two photos, and a look of each"
    for first, *others in by_twin.values():
        assert all(other.face is first.face for other in others)
    assert len(embeddings) == len(by_twin) == ORDER.people * ORDER.views / 2
