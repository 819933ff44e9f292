"""Where faces go, and who is who."""

import numpy as np
import pytest

from instantid.errors import InvalidRequest
from instantid.people import Face, Person, Place, Portrait
from instantid.placing import apart, assigned, place, poses_itself

CANVAS = (200, 100)
SPREAD = np.array([[-6, -6], [6, -6], [0, 0], [-5, 6], [5, 6]])


def face(x: float, y: float, half: float = 10, who: float = 1) -> Face:
    return Face(np.full(3, who), SPREAD * half / 10 + (x, y), (x - half, y - half, x + half, y + half))


def person(**settings) -> Person:
    return Person(references=[Portrait(face(0, 0), *CANVAS)], **settings)


def test_a_place_moves_the_face_as_it_is_posed():
    moved = place(person(place=Place(x=0.25, y=0.5, size=0.4)), face(0, 0, who=7), face(90, 90), CANVAS)
    assert moved.centre == pytest.approx((50, 50))
    assert moved.box[3] - moved.box[1] == pytest.approx(40)
    assert moved.keypoints == pytest.approx(SPREAD * 2 + (50, 50), abs=0.01)
    assert moved.embedding.tolist() == [7, 7, 7]


def test_keypoints_go_before_views_and_views_before_the_pose():
    points = tuple((x / 200 + 0.5, y / 100 + 0.5) for x, y in SPREAD.tolist())
    posed = face(30, 30)
    by_points = place(person(keypoints=points, view="profile left"), posed, posed, CANVAS)
    assert by_points.keypoints == pytest.approx(np.add(SPREAD, (100, 50)), abs=0.01)
    by_view = place(person(view="profile left"), posed, posed, CANVAS)
    assert by_view.centre == pytest.approx((30, 30), abs=0.5)
    assert by_view.keypoints[2, 0] < by_view.keypoints[:2, 0].min()
    assert [poses_itself(each) for each in (person(), person(view="up"), person(keypoints=points))] == [
        False, True, True,
    ]  # fmt: skip


def test_people_stand_apart_but_for_those_whose_place_is_given():
    people = [person(), person(view="front"), person(place=Place(x=0.9, y=0.5, size=0.2))]
    there = apart(people, [face(100, 50)] * 3, CANVAS)
    assert there[0].box[2] <= there[1].box[0]
    assert there[2].centre == pytest.approx((100, 50))  # was moved before


def test_a_ready_face_stays_where_it_is_on_the_canvas():
    ready = Person(references=[face(20, 60)])
    there = apart([ready, person()], [face(20, 60), face(100, 50)], CANVAS)
    assert there[0].centre == pytest.approx((20, 60))
    assert there[1].centre[0] == pytest.approx(150)


def test_a_face_without_a_size_cannot_be_given_one():
    with pytest.raises(InvalidRequest, match="no size"):
        place(person(place=Place()), face(0, 0), face(90, 90, half=0), CANVAS)


def test_who_is_who_goes_by_place_nearest_first():
    left, right = face(50, 50), face(150, 50)
    assert assigned([face(148, 52), face(55, 47)], [left, right])[0].centre == pytest.approx((55, 47))
    assert assigned([], [left, right]) == [None, None]
    assert assigned([face(100, 50)], [left, right]) == [None, None]  # too far from either
    close = [face(58, 50), face(52, 50)]
    assert assigned(close, [left]) == [close[1]]
    # One face cannot be two people.
    assert [found is not None for found in assigned([face(52, 50)], [left, face(56, 50)])] == [True, False]
