"""Metrics on numbers whose answers are known."""

import math
import mmap

import numpy as np
import pytest

from instantid.evaluation import intervals, likeness, maps, memory, pose, variety
from instantid.evaluation.likeness import People

POINTS = np.array([[40, 40], [60, 40], [50, 51], [42, 61], [58, 61]], np.float64)


def random_people(
    count: int = 20, spread: float = 0.0, seed: int = 1
) -> tuple[People, np.ndarray, np.ndarray]:
    """`count` people in two groups, two other photos and two pictures of each, `spread` from who they are."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(count, 64))
    whose = np.repeat(np.arange(count), 2)
    there = People(
        references=centres,
        groups=["one" if i % 2 else "other" for i in range(count)],
        others=centres[whose] + 0.5 * random.normal(size=(2 * count, 64)),
        whose=whose,
    )
    return there, centres[whose] + spread * random.normal(size=(2 * count, 64)), whose


def test_a_mean_counts_people_not_pictures():
    values, people = np.array([1.0, 1, 1, 1, 0]), np.array([0, 0, 0, 0, 1])
    assert intervals.mean(values, people).value == 0.5


def test_many_pictures_of_few_people_do_not_narrow_the_interval():
    random = np.random.default_rng(0)
    each = random.normal(size=8)
    few = intervals.mean(each, np.arange(8))
    many = intervals.mean(np.repeat(each, 50), np.repeat(np.arange(8), 50))
    assert (few.low, few.high) == pytest.approx((many.low, many.high))


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says():
    random, held = np.random.default_rng(0), 0
    for _ in range(60):
        told = intervals.mean(random.normal(3, 1, 30), np.arange(30))
        held += told.low <= 3 <= told.high
    assert 50 <= held <= 60


def test_what_is_not_known_is_left_out_and_nothing_is_none():
    nan = math.nan
    assert intervals.mean(np.array([1, nan]), np.array([0, 1])).value == 1
    assert intervals.mean(np.array([nan, nan]), np.array([0, 1])) is None
    assert intervals.difference(np.array([1.0]), np.array([0]), np.array([1.0]), np.array([1])) is None
    assert intervals.words(None) == "–"
    assert intervals.words(intervals.mean(np.array([2.0]), np.array([0]))) == "2.000 (one person)"


def test_a_difference_is_taken_person_by_person():
    base = np.array([0.0, 10, 20, 30])
    told = intervals.difference(base + 1, np.arange(4), base, np.arange(4))
    assert (told.value, told.low, told.high) == (1, 1, 1)  # people differ widely, the gain does not


def test_pictures_like_their_person_are_told_apart():
    there, made, whose = random_people(spread=0.3)
    told = likeness.measure(made, whose, there)
    assert told.auc.value > 0.99 and told.auc_impostors.value > 0.99
    assert intervals.mean(told.relative, whose).low > 0.5


def test_pictures_of_nobody_are_at_chance():
    there, _, whose = random_people()
    told = likeness.measure(np.random.default_rng(5).normal(size=(40, 64)), whose, there)
    assert told.auc.low < 0.5 < told.auc.high
    assert abs(likeness.way(told, likeness.ceiling(there)).value) < 0.15


def test_true_photos_are_the_whole_way_and_a_blend_is_part_of_it():
    there, _, whose = random_people()
    true = likeness.ceiling(there)
    assert likeness.way(true, true).value == 1
    half = there.references[whose] + 2.5 * np.random.default_rng(3).normal(size=(40, 64))
    assert 0.2 < likeness.way(likeness.measure(half, whose, there), true).value < 0.8


def test_a_copy_of_the_reference_is_copying_and_a_true_photo_is_not():
    there, _, whose = random_people()
    true = likeness.ceiling(there)
    excess, rate = likeness.copying(likeness.measure(there.references[whose], whose, there), true)
    assert excess.low > 0.05 and rate.value == 1
    excess, rate = likeness.copying(true, true)
    assert excess.value == 0 and 0.2 < rate.value < 0.8


def test_somebody_else_s_face_counts_neither_as_own_nor_as_other():
    there, _, whose = random_people()
    given = (whose + 1) % 20
    told = likeness.measure(there.references[given], whose, there, given)
    assert told.auc.low < 0.5 < told.auc.high
    assert likeness.measure(there.references[given], given, there).auc.value == 1


def test_pictures_without_a_face_are_left_out():
    there, made, whose = random_people(spread=0.3)
    made[3] = np.nan
    told = likeness.measure(made, whose, there)
    assert np.isnan(told.own[3]) and np.isnan(told.relative[3]) and told.auc.value > 0.99


def test_one_person_has_no_others():
    there, made, whose = random_people(count=1)
    told = likeness.measure(made, whose, there)
    assert told.auc is None and told.auc_impostors is None and np.isnan(told.relative).all()


def test_shifted_keypoints_are_told_in_parts_of_the_face_box():
    assert pose.keypoint_error(POINTS, POINTS) == 0
    one, two = (pose.keypoint_error(POINTS + np.array([shift, 0]), POINTS) for shift in (2, 4))
    assert two == pytest.approx(2 * one)
    assert 0.02 < one < 0.06  # 2 pixels of a box of some 50
    assert pose.keypoint_error(3 * POINTS + np.array([6, 0]), 3 * POINTS) == pytest.approx(one, rel=0.01)


def test_a_tilt_is_an_error_of_roll_alone():
    angle = np.radians(20)
    turned = (POINTS - 50) @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) + 50
    yaw, pitch, roll = pose.turn_error(turned, POINTS)
    assert roll == pytest.approx(20, abs=0.5) and yaw < 1 and pitch < 1


def test_keypoints_of_a_body_are_right_or_wrong():
    found = POINTS + np.array([[1, 0], [1, 0], [30, 0], [1, 0], [1, 0]])
    seen = np.array([True, True, True, True, False])
    assert pose.correct_keypoints(found, POINTS, seen, size=50) == 0.75
    assert math.isnan(pose.correct_keypoints(found, POINTS, ~np.ones(5, bool), size=50))


def lines(shift: int) -> np.ndarray:
    drawn = np.zeros((128, 128, 3), np.uint8)
    drawn[20:100, 30 + shift] = drawn[50 + shift, 20:110] = 255
    return drawn


def test_lines_a_pixel_off_are_the_same_and_far_ones_are_not():
    assert maps.line_error(lines(0), lines(0)) == maps.line_error(lines(1), lines(0)) == 0
    assert maps.line_error(lines(12), lines(0)) > 0.9
    nothing = np.zeros((128, 128, 3), np.uint8)
    assert maps.line_error(nothing, lines(0)) == 1 and maps.line_error(nothing, nothing) == 0


def test_depth_is_compared_by_shape():
    slope = np.tile(np.arange(128, dtype=np.uint8), (128, 1))
    assert maps.depth_error(slope, slope // 2 + 60) < 0.01
    assert maps.depth_error(slope[:, ::-1], slope) > 1.9
    assert maps.depth_error(slope.T, slope) == pytest.approx(1)


def test_the_frechet_distance_of_gaussians_is_known():
    random = np.random.default_rng(0)
    one = random.normal(size=(20_000, 3))
    other = random.normal(size=(20_000, 3)) * (1, 2, 3) + (1, 0, 0)
    # 1 for the shift, (1 - 2)² and (1 - 3)² for the spreads
    assert variety.frechet_distance(one, other) == pytest.approx(6, abs=0.15)
    assert variety.frechet_distance(one, one) == pytest.approx(0, abs=1e-6)


def test_ssim_is_that_of_scikit_image():
    from skimage.metrics import structural_similarity

    random = np.random.default_rng(0)
    one = random.integers(0, 256, (64, 64, 1)).repeat(3, axis=2).astype(np.uint8)
    other = np.clip(one.astype(int) + random.integers(-40, 40, one.shape), 0, 255).astype(np.uint8)
    grey = [np.asarray(each).mean(axis=2).round().astype(np.uint8) for each in (one, one)]
    assert variety.similarity(one, one) == pytest.approx(1)
    theirs = structural_similarity(
        grey[0], _grey(other), gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert variety.similarity(one, other) == pytest.approx(theirs, abs=0.02)


def _grey(picture: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def test_diversity_is_within_a_group():
    features = np.array([[1.0, 0], [0, 1], [1, 0], [1, 0], [1, 0]])
    told = variety.diversity(features, np.array([0, 0, 1, 1, 2]))
    assert told[:4] == pytest.approx([1, 1, 0, 0]) and math.isnan(told[4])
    pictures = [np.full((32, 32, 3), level, np.uint8) for level in (0, 255, 100, 100)]
    told = variety.pixel_diversity(pictures, np.array([0, 0, 1, 1]))
    assert told[0] > 0.9 and told[2] == pytest.approx(0)


def test_the_peak_of_memory_is_since_the_reset(tmp_path):
    memory.reset()  # whatever ran before took more, maybe, and gave it back
    before = memory.peak("cpu").size
    # Not by malloc, which may have that much at hand and keep it.
    held = mmap.mmap(-1, 400_000_000)
    for page in range(0, len(held), mmap.PAGESIZE):
        held[page] = 1
    high = memory.peak("cpu")
    assert high.where == "process" and high.size > before + 200e6
    held.close()
    memory.reset()
    assert memory.peak("cpu").size < high.size - 200e6


def test_the_most_memory_of_all_runs_is_remembered(tmp_path):
    assert memory.remember(tmp_path, None) is None
    first = memory.remember(tmp_path, "cpu")
    assert memory.remember(tmp_path, None) == first
    assert memory.remember(tmp_path, "cpu").size >= first.size
