"""Masks of people on a canvas."""

import numpy as np
import pytest
from PIL import Image

from instantid.images import box_mask
from instantid.people import Face
from instantid.regions import blended, ellipses, regions

WIDTH, HEIGHT = 120, 80
NOBODY = np.zeros(4)


def face(*box: float) -> Face:
    x1, y1, x2, y2 = box
    return Face(NOBODY, np.full((5, 2), ((x1 + x2) / 2, (y1 + y2) / 2)), box)


LEFT, RIGHT = face(10, 20, 40, 60), face(80, 20, 110, 60)


def masks(people, painted=None, *, face_only=True):
    return regions(people, painted or [None] * len(people), WIDTH, HEIGHT, face_only=face_only)


def test_one_person_acts_in_the_faces_box_to_the_pixel_or_everywhere():
    assert np.array_equal(masks([LEFT])[0], box_mask(LEFT.box, WIDTH, HEIGHT))
    assert masks([LEFT], face_only=False) == [None]


def test_a_painted_region_goes_before_the_box_and_a_full_one_is_everywhere():
    region = Image.new("L", (WIDTH, HEIGHT))
    region.paste(255, (60, 0, 120, 80))
    for face_only in (True, False):
        [mask] = masks([LEFT], [region], face_only=face_only)
        assert (mask[:, :55] == 0).all() and (mask[:, 65:] == 1).all()
        assert masks([LEFT], [Image.new("L", (WIDTH, HEIGHT), 255)], face_only=face_only) == [None]


def test_edges_are_soft_but_for_the_one_persons_box():
    region = Image.new("L", (WIDTH, HEIGHT))
    region.paste(255, (60, 0, 120, 80))
    for mask in (masks([LEFT], [region])[0], *masks([LEFT, RIGHT]), *masks([LEFT, RIGHT], face_only=False)):
        assert ((mask > 0.05) & (mask < 0.95)).any()
        assert mask.min() == 0 and mask.max() == 1


def test_without_regions_the_canvas_is_shared_by_who_is_nearer():
    left, right = masks([LEFT, RIGHT], face_only=False)
    assert (left[:, :55] == 1).all() and (right[:, 65:] == 1).all()
    assert left + right == pytest.approx(1, abs=1e-3)


def test_who_overlaps_shares():
    left, right = masks([face(10, 20, 70, 60), face(50, 20, 110, 60)])
    assert left[40, 60] == pytest.approx(0.5, abs=0.01)
    assert (left + right).max() <= 1 + 1e-6
    assert left[40, 30] == 1 and right[40, 90] == 1


def test_a_persons_region_reaches_no_further_for_another_ones_presence():
    alone, beside = masks([LEFT])[0], masks([LEFT, RIGHT])[0]
    assert (beside[:, 60:] == 0).all() and abs(alone - beside)[30:50, 15:35].max() == 0


def test_ellipses_lie_around_their_boxes():
    mask = ellipses([LEFT.box, RIGHT.box], WIDTH, HEIGHT, grow=1.0)
    assert mask[40, 25] == mask[40, 95] == 1 and mask[40, 60] == mask[21, 11] == 0
    assert ellipses([LEFT.box], WIDTH, HEIGHT, grow=2.0).sum() > 3 * mask[:, :60].sum()


def test_blending_touches_nothing_outside_and_fades_inside():
    old, new = Image.new("RGB", (60, 60), (10, 20, 30)), Image.new("RGB", (60, 60), (210, 220, 230))
    mask = np.zeros((60, 60), np.float32)
    mask[20:40, 20:40] = 1
    mixed = np.asarray(blended(new, old, mask, 5))
    assert (mixed[mask == 0] == [10, 20, 30]).all()
    assert (mixed[28:32, 28:32] == [210, 220, 230]).all()
    edge = mixed[30, 20:25, 0].astype(int)
    assert (np.diff(edge) > 0).all() and 10 < edge[0] < 100
