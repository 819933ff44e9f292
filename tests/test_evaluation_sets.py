"""Of whom: folders, packages and rendered people; who is left out is told."""

import numpy as np
import pytest
from people_standin import open_standin
from photos import ASTRONAUT, GRACE_HOPPER, NO_PEOPLE
from PIL import Image

from instantid.errors import InvalidRequest
from instantid.evaluation.sets import VIEWS, open_set, style_picture
from instantid.faces.finder import FaceFinder
from instantid.training.people import making
from instantid.training.people.orders import Order


class Everywhere(FaceFinder):
    """Sees one face in the middle of any picture, and none in those that are wider than high."""

    model, dimension = "stand-in, 3", 3

    def _detect(self, bgr, size):
        h, w = bgr.shape[:2]
        if w > h:
            return np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32)
        points = np.array([[-1, -1], [1, -1], [0, 0], [-1, 1], [1, 1]]) * w / 8 + np.array([w / 2, h / 2])
        return np.array([[0, 0, w, h]], np.float32), points[None].astype(np.float32)

    def _embed(self, bgr, box, keypoints):
        return bgr.mean(axis=(0, 1))


def opened(source, folder, people=8, **more):
    return open_set(str(source), folder, Everywhere(), people=people, seed=3, side=96, **more)


def test_a_folder_has_a_person_per_file_or_folder(tmp_path):
    photos = tmp_path / "photos"
    (photos / "ada").mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (40, 50), (10 * i, 0, 0)).save(photos / "ada" / f"{i}.png")
    Image.new("RGB", (40, 50)).save(photos / "bob.png")
    Image.new("RGB", (50, 40)).save(photos / "landscape.png")
    told = opened(photos, tmp_path / "kept")
    assert [(who.name, len(who.photos), len(who.references)) for who in told.subjects] == [
        ("ada", 3, 2),
        ("bob", 1, 1),
    ]
    assert told.subjects[0].group is None and told.subjects[0].sizes[0] == (40, 50)
    assert "photo 1 of landscape" in told.notes[0]
    assert len(opened(photos, tmp_path / "kept", people=1).subjects) == 1


def test_a_set_without_a_face_is_an_error(tmp_path):
    Image.new("RGB", (50, 40)).save(tmp_path / "wide.png")
    with pytest.raises(InvalidRequest, match="nobody whose face is found"):
        opened(tmp_path, tmp_path)


def test_rendered_people_are_kept_and_the_same_again(tmp_path):
    told = opened("synthetic", tmp_path, people=2, open_renderer=open_standin)
    [first, second] = told.subjects
    assert len(first.photos) == len(VIEWS) and len(first.references) == 4 and first.sizes[0] == (128, 128)
    assert first.group.split()[1] in ("man", "woman") and first.name != second.name
    stamp = first.photos[0].image.stat().st_mtime_ns

    def nothing_renders(device, threads):
        raise AssertionError("they are there already")

    again = opened("synthetic", tmp_path, people=2, open_renderer=nothing_renders)
    assert again.subjects[0].photos[0].image.stat().st_mtime_ns == stamp
    assert again.subjects[0].group == first.group


def test_rendered_people_are_nobody_of_training():
    from instantid.evaluation.sets import APART
    from instantid.training.people.identities import sample_identity

    assert sample_identity(0, seed=0) != sample_identity(0, seed=APART)


def test_a_data_set_s_people_are_taken_with_their_groups(tmp_path):
    order = Order(people=3, views=4, size=64, looks=0, together=0, people_per_shard=2)
    making.make(order, tmp_path / "data", open_renderer=open_standin)
    told = opened(tmp_path / "data", tmp_path / "kept", people=2)
    assert len(told.subjects) == 2 and len(told.subjects[0].photos) == 4
    assert told.subjects[0].group.split()[1] in ("man", "woman")


def test_a_style_picture_is_the_last_photo_in_a_look(tmp_path):
    [who] = opened("synthetic", tmp_path, people=1, open_renderer=open_standin).subjects
    file = style_picture(who, "Film Noir", tmp_path / "style")
    painted = np.asarray(Image.open(file)).astype(int)
    assert np.abs(painted[..., 0] - painted[..., 2]).max() <= 2  # black and white
    assert painted.shape[:2] == (128, 128)
    assert style_picture(who, "Film Noir", tmp_path / "style") == file


def test_photos_in_packages_are_those_of_the_tests():
    from instantid.evaluation.sets import _packaged

    found = {name: photos for name, photos, _ in _packaged()}
    assert found["astronaut"][0].image == ASTRONAUT and found["grace_hopper"][0].image == GRACE_HOPPER
    assert found["t1-6"][0].face == 6 and NO_PEOPLE[0] not in found
