"""What prompts ask for and records say; and that the judge learns to see it."""

from types import SimpleNamespace

import numpy as np
import pytest
from people_standin import open_standin
from PIL import Image

from instantid.errors import InvalidRequest
from instantid.evaluation import attribute_judge, attributes, tables
from instantid.evaluation.attribute_judge import SIDE, Training
from instantid.evaluation.rows import Goal
from instantid.training.people import making
from instantid.training.people.orders import Order, present_shards
from instantid.training.people.shards import read_shards


def record(**changes) -> dict:
    """Of a rendered photo; as shards have it."""
    facts = {"noun": "woman", "age": 70.0, "hair": "short dark brown hair"}
    told = {
        "look": "photo",
        "frame": "bust",
        "place": "studio",
        "clothes": [_worn("F_Dress_01", (0.6, 0.76, 0.92))],
    }
    facts |= {name: value for name, value in changes.items() if name in facts}
    told |= {name: value for name, value in changes.items() if name in told}
    figure = {"attributes": facts, "description": {"clothes": told["clothes"], "identity": 3}}
    scenery = {"background": {"kind": told["place"]}, "camera": {"frame": told["frame"]}}
    return {"look": told["look"], "figures": [figure], "scenery": scenery}


def _worn(name: str, colour: tuple | None) -> dict:
    return {"name": name, "tint": [1.0, 1.0, 1.0], "colour": colour}


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        (
            {},
            {
                "look": "photo",
                "sex": "woman",
                "age": "old",
                "hair": "black",
                "place": "plain",
                "clothes": "blue",
            },
        ),
        ({"noun": "person", "age": 40.0}, {"sex": None, "age": None}),
        ({"hair": "a bald head"}, {"hair": None}),
        ({"hair": "a white mohawk", "age": 20.0}, {"hair": "grey", "age": "young"}),
        ({"hair": None}, {"hair": None}),
        ({"frame": "head"}, {"clothes": None}),
        ({"clothes": [_worn("F_Dress_01", None)]}, {"clothes": None}),
        ({"clothes": [_worn("shoes01", (0.7, 0, 0))]}, {"clothes": None}),
        ({"look": "Snow"}, {"look": "Snow", "place": None, "clothes": None, "hair": "black"}),
        ({"look": "Origami"}, {"look": "another look"}),
    ],
)
def test_records_are_labelled_by_what_is_seen(changes, labels):
    told = attributes.read_labels(record(**changes))
    assert {name: told.get(name) for name in labels} == labels


def test_real_records_are_labelled(tmp_path):
    order = Order(people=4, views=3, size=64, looks=1, together=0)
    making.make(order, tmp_path, open_renderer=open_standin)
    told = [
        attributes.read_labels(sample.record) for sample in read_shards(list(present_shards(tmp_path, order)))
    ]
    assert len(told) == 24
    for labels in told:
        assert all(value in attribute_judge.CLASSES[name] for name, value in labels.items())
    assert any("clothes" in labels for labels in told) and any("hair" in labels for labels in told)


def test_prompts_say_what_is_wished_for():
    wishes = attributes.draw_wishes(np.random.default_rng(0), sex="woman", age="old")
    prompt = attributes.write_prompt(wishes)
    assert prompt.startswith("a photo of an old woman with long ")
    assert f"{wishes['hair']} hair" in prompt and f"a {wishes['clothes']} dress" in prompt
    somebody = attributes.draw_wishes(np.random.default_rng(0), sex=None, age=None)
    assert "a photo of a person with short" in attributes.write_prompt(somebody) and "age" not in somebody


def test_prompts_are_in_words_that_the_small_tokenizer_knows():
    from instantid.mini_tokenizer import build_tokenizer

    tokenizer = build_tokenizer(pad="!")
    for seed in range(20):
        random = np.random.default_rng(seed)
        prompt = attributes.write_prompt(attributes.draw_wishes(random, sex="man", age="middle-aged"))
        assert len(tokenizer(prompt).input_ids) < 40


def coloured(count: int = 160) -> tuple[np.ndarray, list[dict[str, str]], np.ndarray]:
    """Pictures whose look is told by their colour, and the sex by what half is bright."""
    random = np.random.default_rng(0)
    pictures, labels = [], []
    for i in range(count):
        picture = random.integers(90, 120, (SIDE, SIDE, 3))
        look, sex = ("photo", "Snow")[i % 2], ("woman", "man")[i // 2 % 2]
        picture[..., 0 if look == "photo" else 2] += 100
        picture[: SIDE // 2 if sex == "woman" else None] += 0 if sex == "woman" else 30
        pictures.append(picture.clip(0, 255).astype(np.uint8))
        labels.append({"look": look, "sex": sex} if i % 5 else {"look": look})
    return np.stack(pictures), labels, np.arange(count) // 4


def test_the_judge_learns_what_can_be_seen():
    pictures, labels, people = coloured()
    training = Training(steps=25, batch=12)
    judge = attribute_judge.train(pictures, labels, people, training)
    assert judge.accuracy["look"] > 0.9
    assert "hair" not in judge.accuracy  # no picture said any
    verdict = judge.judge([Image.fromarray(pictures[1]).resize((300, 300))])[0]
    assert verdict["look"] == "Snow" and set(verdict) == set(attributes.ATTRIBUTES)


@pytest.mark.parametrize(
    ("face", "corner", "side"),
    [
        ((40, 20, 60, 50), (20, 5), 60),  # 30 high, half of the side
        ((0, 0, 20, 30), (0, 0), 60),  # no further than the picture goes
        ((90, 90, 100, 100), (80, 80), 20),
        ((10, 10, 90, 90), (0, 0), 100),  # large enough as it is
        ((30, 30, 30, 30), (0, 0), 100),
    ],
)
def test_it_learns_from_faces_as_large_as_small_bundles_paint_them(face, corner, side):
    y, x = np.mgrid[:100, :100].astype(np.uint8)
    seen = attribute_judge._framed(100, face, 0.5).picture(np.stack([x, y, x], axis=-1), side)
    assert seen.shape == (side, side, 3) and tuple(seen[0, 0, :2]) == corner


def test_the_judge_is_kept_and_not_trained_twice(tmp_path):
    order = Order(people=10, views=2, size=64, looks=0, together=0)
    making.make(order, tmp_path / "data", open_renderer=open_standin)
    training, steps = Training(steps=2, batch=4), []
    first, second = (
        attribute_judge.open_judge(
            tmp_path / "data", tmp_path / "cache", training, lambda done, total: steps.append(done)
        )
        for _ in range(2)
    )
    assert steps == [1, 2] and first.accuracy == second.accuracy
    picture = Image.new("RGB", (64, 64), (200, 30, 30))
    assert first.judge([picture]) == second.judge([picture])


def test_too_few_people_are_refused(tmp_path):
    making.make(Order(people=1, views=2, size=64, looks=0), tmp_path / "data", open_renderer=open_standin)
    with pytest.raises(InvalidRequest, match="too few rendered people"):
        attribute_judge.open_judge(tmp_path / "data", tmp_path / "cache")
    with pytest.raises(InvalidRequest, match="no data set"):
        attribute_judge.open_judge(tmp_path, tmp_path / "cache")


def test_a_judge_that_errs_often_decides_nothing():
    wishes = [{"hair": "red", "sex": "man"}, {"hair": "black", "sex": "man"}]
    seen = SimpleNamespace(
        made=[SimpleNamespace(trial=SimpleNamespace(wishes=wish)) for wish in wishes],
        verdicts=[{"hair": "red", "sex": "man"}, {"hair": "red", "sex": "man"}],
        of=lambda condition: np.arange(2),
        subjects=lambda rows: np.asarray(rows),
    )
    judge = SimpleNamespace(accuracy={"hair": 0.97, "sex": 0.6})
    goal = Goal("0.85 or more", lambda told: told.value >= 0.85)
    hair, sex = tables.attribute_rows(SimpleNamespace(observed=seen, judge=judge), "any", goal=goal)
    assert hair.value.value == 0.5 and hair.met is False and "the judge itself: 97%" in hair.what
    assert sex.value.value == 1 and sex.met is None and "too poor to decide" in sex.what
