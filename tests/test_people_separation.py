"""AUC and its interval: what the identity report's numbers mean."""

import numpy as np
import pytest

from instantid.training.people.separation import area, separate


def people_apart(spread: float, count: int = 12, each: int = 5) -> tuple[np.ndarray, list[int]]:
    """Embeddings of `count` people, pictures of one person `spread` apart."""
    random = np.random.default_rng(3)
    centres = np.repeat(random.normal(size=(count, 32)), each, axis=0)
    people = [i for i in range(count) for _ in range(each)]
    return centres + spread * random.normal(size=centres.shape), people


def test_people_far_apart_are_told_perfectly():
    embeddings, people = people_apart(0.01)
    told = separate("x", embeddings, people, ["all"] * len(people))
    assert told.auc.value == told.auc.low == told.auc_impostors.value == 1
    assert told.same.mean > 0.99 > 0.5 > told.different.mean


def test_noise_tells_nobody_apart():
    embeddings = np.random.default_rng(5).normal(size=(80, 16))
    told = separate("x", embeddings, [i // 4 for i in range(80)], ["all"] * 80)
    assert told.auc.low < 0.5 < told.auc.high
    assert told.auc.high - told.auc.low < 0.3


def test_the_interval_narrows_with_more_people():
    few, many = (separate("x", *people_apart(2.0, count), ["all"] * count * 5).auc for count in (8, 60))
    assert few.high - few.low > 1.5 * (many.high - many.low)
    assert many.low < many.value < many.high


def test_the_area_counts_pairs():
    """Two same pairs, three different ones; of the six comparisons four are won and one is a draw."""
    scores = np.array([0.9, 0.5, 0.7, 0.5, 0.1])
    same = np.array([True, True, False, False, False])
    one, other = np.array([0, 1, 0, 0, 1]), np.array([0, 1, 1, 2, 2])
    assert area(scores, same, one, other).value == pytest.approx(4.5 / 6)


def test_impostors_of_the_same_group_are_harder():
    embeddings, people = people_apart(2.5, 20)
    groups = ["a" if person < 10 else "b" for person in people]
    embeddings[: len(people) // 2, :8] += 6
    told = separate("x", embeddings, people, groups)
    assert told.impostors.mean > told.different.mean
    assert told.auc_impostors.value < told.auc.value
    assert told.impostors.count < told.different.count


def test_nobody_twice_is_refused():
    with pytest.raises(ValueError, match="two pictures of one person"):
        separate("x", np.eye(3), [0, 1, 2], ["a"] * 3)
