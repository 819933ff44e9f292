"""What can be asked: every limit holds, and every refusal names the field and what was given."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instantid.errors import InvalidRequest, NoFaceFound
from instantid.request import MAX_SEED, MAX_STRENGTH, Face, Person, Photo, Request, Result, limits

NUMBERS = {
    "seed": (0, MAX_SEED),
    "steps": (1, 150),
    "guidance_scale": (0, 20),
    "identity_strength": (0, MAX_STRENGTH),
    "adapter_strength": (0, MAX_STRENGTH),
    "style_strength": (0, MAX_STRENGTH),
    "width": (64, 4096),
    "height": (64, 4096),
    "images": (1, 16),
}


@pytest.fixture
def request_(face) -> Request:
    return Request(people=[Person(references=[face])])


@pytest.mark.parametrize(("name", "bounds"), NUMBERS.items())
def test_a_number_holds_within_its_limits_and_not_beyond(request_, name, bounds):
    low, high = bounds
    assert limits(name) == bounds
    for value in bounds:
        assert getattr(request_.replace(**{name: value}), name) == value
    for value in (low - 1, high + 8, float("nan"), float("inf"), "many", [1]):
        with pytest.raises(InvalidRequest, match=rf"^This request cannot be used\. {name}: "):
            request_.replace(**{name: value})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 100}, r"width: .*multiple of 8 \(got 100\)"),
        ({"steps": 2.5}, r"steps: .*integer.*\(got 2\.5\)"),
        ({"images": None}, r"images: .*\(got None\)"),
        ({"identity_strength": 2}, r"identity_strength: .*1\.5 \(got 2\)"),
        ({"scheduler": "Eulr"}, r"scheduler: .*'Euler'.*\(got 'Eulr'\)"),
        ({"controls": {"pose": 9.0}}, r"controls\.pose\.strength: .*1\.5 \(got 9\.0\)"),
        ({"controls": {"soul": 0.5}}, r"controls\.soul.*'pose', 'canny' or 'depth' \(got 'soul'\)"),
        ({"prompt": None}, r"prompt: .*string \(got None\)"),
        ({"people": []}, r"people: .*at least 1"),
        ({"pose_image": 3}, r"pose_image: .*\(got 3\)"),
        ({"colour": "red"}, r"colour: Extra inputs are not permitted \(got 'red'\)"),
        ({"width": 9, "height": 5000}, r"width: .*got 9.*; height: .*got 5000"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_refused_by_field_and_value(request_, changes, words):
    with pytest.raises(InvalidRequest, match=words):
        request_.replace(**changes)


def test_there_are_four_people_at_most(face):
    person = Person(references=[face])
    with pytest.raises(InvalidRequest, match=r"people: .*at most 4"):
        Request(people=[person] * 5)


def test_a_person_has_references_and_legal_strengths(face):
    with pytest.raises(InvalidRequest, match=r"This person cannot be used\. references: .*at least 1"):
        Person(references=[])
    with pytest.raises(InvalidRequest, match=r"adapter_strength: .*\(got -1\)"):
        Person(references=[face], adapter_strength=-1)


def test_pictures_and_paths_become_photos(face):
    picture = Image.new("RGB", (64, 64))
    person = Person(references=[picture, "a.jpg", Path("b.jpg"), Photo(image="c.jpg", face=2), face])
    images = [reference.image for reference in person.references[:4]]
    assert images == [picture, Path("a.jpg"), Path("b.jpg"), Path("c.jpg")]
    assert [reference.face for reference in person.references[:4]] == [1, 1, 1, 2]
    assert person.references[4] is face
    asked = Request(people=[person], pose_image="pose.jpg", style_image=picture)
    assert (asked.pose_image, asked.style_image) == (Photo(image="pose.jpg"), Photo(image=picture))


def test_faces_are_counted_from_one():
    with pytest.raises(InvalidRequest, match=r"face: .*\(got 0\)"):
        Photo(image="a.jpg", face=0)


def test_a_request_cannot_be_changed_in_place(request_):
    with pytest.raises(ValueError, match="frozen"):
        request_.steps = 3
    assert request_.steps is None


def test_replace_changes_a_copy_alone(request_):
    changed = request_.replace(steps=7, prompt="a man")
    assert (changed.steps, changed.prompt, request_.steps, request_.prompt) == (7, "a man", None, "")
    assert changed.people == request_.people
    assert changed.replace(steps=None, prompt="") == request_


def test_a_request_travels_between_processes(request_):
    asked = request_.replace(pose_image=Image.new("RGB", (40, 40), "red"), controls={"canny": 0.4}, steps=3)
    there = pickle.loads(pickle.dumps(asked))
    assert there.pose_image.image.tobytes() == asked.pose_image.image.tobytes()
    assert (there.controls, there.steps) == (asked.controls, 3)
    [before], [after] = asked.people[0].references, there.people[0].references
    assert np.array_equal(before.embedding, after.embedding)


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(NoFaceFound("No face.", tried=("at 640", "at 512"))))
    assert (str(error), error.tried) == ("No face.", ("at 640", "at 512"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"embedding": np.zeros((2, 4))}, r"Face\.embedding must have shape .*got \(2, 4\)"),
        ({"keypoints": np.zeros((4, 2))}, r"Face\.keypoints must have shape \(5, 2\), got \(4, 2\)"),
        ({"keypoints": np.zeros(10)}, r"Face\.keypoints must have shape"),
        ({"box": [1, 2, 3]}, r"Face\.box must have shape \(4,\), got \(3,\)"),
        ({"box": ["a", "b", "c", "d"]}, r"Face\.box must be an array of numbers"),
        ({"keypoints": [[1, 2], [3]]}, r"Face\.keypoints must be an array of numbers"),
        ({"embedding": [1.0, np.nan]}, r"Face\.embedding holds NaN"),
        ({"box": [0, 0, np.inf, 1]}, r"Face\.box holds NaN or infinite"),
    ],
    ids=str,
)
def test_a_face_that_is_none_is_refused(face, changes, words):
    with pytest.raises(InvalidRequest, match=words):
        Face(**{name: getattr(face, name) for name in ("embedding", "keypoints", "box")} | changes)


def test_a_face_holds_float32_and_knows_its_area():
    face = Face(embedding=[1, 2, 3], keypoints=[[0, 1]] * 5, box=[10, 20, 40, 30])
    assert {array.dtype for array in (face.embedding, face.keypoints, face.box)} == {np.dtype(np.float32)}
    assert face.area == 300
    assert Face(face.embedding, face.keypoints, box=[40, 20, 10, 30]).area == 0


def test_nothing_that_is_shown_holds_the_embedding(face, request_):
    numbers = [f"{value:.3f}"[:5] for value in face.embedding[:50]]
    with pytest.raises(InvalidRequest) as caught:
        request_.replace(people=[{"references": [face], "identity_strength": 9}])
    for shown in (repr(face), str(request_), repr(request_), str(caught.value)):
        assert not any(number in shown for number in numbers)
    assert "512-d" in repr(request_)


def test_each_image_of_a_result_has_the_next_seed(request_):
    pictures = [Image.new("RGB", (8, 8))] * 3
    result = Result(images=pictures, seed=7, request=request_, timings={})
    assert result.seeds == [7, 8, 9]


def test_every_image_of_a_run_has_a_seed_that_can_be_asked_for(face):
    people = [Person(references=[face])]
    assert Request(people=people, seed=MAX_SEED).seed == MAX_SEED
    with pytest.raises(InvalidRequest, match="2 images"):
        Request(people=people, seed=MAX_SEED, images=2)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e9, -1.5])
def test_keypoints_are_in_parts_of_the_canvas(wrong):
    points = [(0.3, 0.3), (0.5, 0.3), (0.4, 0.4), (0.33, 0.5), (0.47, wrong)]
    with pytest.raises(InvalidRequest, match="keypoints"):
        Person(references=["a.png"], keypoints=points)


def test_a_face_far_beyond_any_picture_is_refused():
    with pytest.raises(InvalidRequest, match="pixels"):
        Face(np.ones(3), np.full((5, 2), 1e9), np.array([0, 0, 9, 9]))
