"""Pictures that differ in their seeds alone, painted at once: each as if it were painted alone."""

import numpy as np
import pytest
import torch
from PIL import Image
from test_engine import OneFace

from instantid import acceleration, metadata, repeating
from instantid.engine import Engine
from instantid.errors import Cancelled, InvalidRequest, NoFaceFound, OutOfMemory
from instantid.request import Control, Face, Person, Place, Request, Result, Step
from instantid.schedulers import SCHEDULERS

ROUNDING = 2  # of 255; what is seen here is 1


@pytest.fixture(scope="module")
def alone(tiny) -> Engine:
    return Engine.load(tiny, device="cpu")


@pytest.fixture(scope="module")
def together(tiny) -> Engine:
    return Engine.load(tiny, device="cpu", at_once=4)


@pytest.fixture
def request_(face) -> Request:
    return Request(
        people=[Person(references=[face])], prompt="a man", negative_prompt="blurry", steps=3, images=3
    )


@pytest.fixture
def noisy() -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def pixels(result: Result) -> np.ndarray:
    return np.stack([np.asarray(picture) for picture in result.images]).astype(int)


class batches:
    """How many latents the UNet is given at each call."""

    def __init__(self, engine: Engine):
        self.unet, self.seen = engine._models.pipeline.unet, []

    def __enter__(self) -> list[int]:
        note = lambda unet, inputs: self.seen.append(len(inputs[0]))  # noqa: E731
        self.hook = self.unet.register_forward_pre_hook(note)
        return self.seen

    def __exit__(self, *_):
        self.hook.remove()


def same(alone: Engine, together: Engine, request: Request) -> Result:
    with batches(alone) as few:
        expected = alone.generate(request)
    with batches(together) as many:
        made = together.generate(request)
    assert max(many) == request.images * max(few)
    assert len(many) < len(few)
    assert abs(pixels(made) - pixels(expected)).max() <= ROUNDING
    assert pixels(made).std(axis=0).max() > 10, "the pictures of a run are not one"
    assert made.likeness == expected.likeness and made.notes == expected.notes
    return made


@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
def test_each_picture_is_the_one_painted_alone_by_every_scheduler(alone, together, request_, scheduler):
    same(alone, together, request_.replace(scheduler=scheduler))


@pytest.mark.parametrize(
    "changes",
    [
        {"guidance_scale": 1.0},
        {"cfg_rescale": 0.7},
        {"face_region": False},
        {"free_pose": True},
        {"identity_strength": 0.0},
        {"perturbed_negative": 0.3},
        {"style": "Watercolor", "scheduler": "Heun", "guidance_scale": 0.0},
        {"width": 104, "height": 72},
        {"upscale": 1.5, "upscale_strength": 0.7},
        {"upscale": 1.5, "upscale_strength": 0.7, "upscale_by": "latents"},
    ],
    ids=str,
)
def test_each_picture_is_the_one_painted_alone_whatever_else_is_asked(alone, together, request_, changes):
    expected, made = (
        alone.generate(request_.replace(**changes)),
        together.generate(request_.replace(**changes)),
    )
    assert abs(pixels(made) - pixels(expected)).max() <= ROUNDING
    assert made.bundle["at_once"] == 3 and "at_once" not in expected.bundle


def test_where_each_seed_has_a_negative_face_of_its_own_they_are_painted_one_by_one(
    alone, together, request_
):
    """diffusers takes one for all pictures of a call; two were both taken as one picture's, as twice the tokens."""
    request = request_.replace(negative_noise=0.35, perturbed_negative=0.3)
    expected, made = alone.generate(request), together.generate(request)
    assert np.array_equal(pixels(made), pixels(expected))
    assert "at_once" not in made.bundle


def test_each_picture_sees_a_face_once(together, request_):
    """The attention takes twice the rows as twice the tokens, without a word."""
    seen = []
    unet = together._models.pipeline.unet
    hook = unet.encoder_hid_proj.register_forward_hook(lambda _, inputs, tokens: seen.append(tokens[0].shape))
    try:
        together.generate(request_)
        together.generate(request_.replace(guidance_scale=1.0))
    finally:
        hook.remove()
    assert [shape[:2] for shape in seen] == [(6, 1)] * 3 + [(3, 1)] * 3


def test_several_people_in_their_regions(alone, together, request_, face):
    other = Face(-face.embedding, face.keypoints, face.box)
    places = [Place(x=0.25, y=0.5, size=0.4), Place(x=0.75, y=0.5, size=0.4)]
    people = [
        Person(references=[each], place=place) for each, place in zip((face, other), places, strict=True)
    ]
    same(alone, together, request_.replace(people=people, width=96, height=64))


@pytest.mark.parametrize("masked", [False, True], ids=["from a picture", "inside a mask"])
@pytest.mark.parametrize("strength", [0.5, 1.0], ids=str)
def test_from_a_picture_each_has_its_own_noise(alone, together, request_, noisy, masked, strength):
    """diffusers' inpainting gives one picture that is to be painted several times the first one's noise for all."""
    people = [request_.people[0].replace(view="front", place=Place(x=0.4, y=0.5, size=0.5))]
    mask = {"repaint": "mask", "repaint_mask": Image.new("L", (64, 64), 255)} if masked else {}
    same(
        alone,
        together,
        request_.replace(people=people, start_image=noisy, start_strength=strength, steps=4, **mask),
    )


def test_an_extra_control_and_faces_painted_again(alone, together, request_, face, noisy):
    for engine in (alone, together):
        engine._finder = OneFace(face)
    try:
        people = [request_.people[0].replace(view="front", place=Place(x=0.4, y=0.5, size=0.5))]
        control = Control(strength=0.7, map=noisy)
        same(alone, together, request_.replace(people=people, controls={"canny": control}))
        request = request_.replace(people=people, face_detail=True, face_detail_strength=0.7)
        expected, made = alone.generate(request), together.generate(request)
        assert abs(pixels(made) - pixels(expected)).max() <= 2 * ROUNDING, "painted twice"
        assert made.likeness == pytest.approx(expected.likeness) and len(made.likeness) == 3
        for engine in (alone, together):
            engine._finder = OneFace(None)
        assert together.generate(request).notes == alone.generate(request).notes != []
    finally:
        alone._finder = together._finder = None


def test_one_at_a_time_is_the_same_to_the_bit_and_two_by_two_leave_one_over(alone, tiny, request_):
    once, twice = (Engine.load(tiny, device="cpu", at_once=count) for count in (1, 2))
    expected = pixels(alone.generate(request_))
    assert np.array_equal(pixels(once.generate(request_)), expected)
    with batches(twice) as seen:
        made = twice.generate(request_)
    assert seen == [4, 4, 4, 2, 2, 2]
    assert abs(pixels(made) - expected).max() <= ROUNDING
    assert np.array_equal(pixels(twice.generate(request_.replace(images=1)))[0], expected[0]), (
        "nothing stays behind"
    )


@pytest.mark.parametrize("placement", acceleration.PLACEMENTS[1:])
def test_offloaded_models_paint_several_at_once_where_it_is_asked_for(alone, tiny, request_, placement):
    same(alone, Engine.load(tiny, device="cpu", placement=placement, at_once=4), request_)


def test_half_precision_paints_several_at_once(alone, tiny, request_):
    half = Engine.load(tiny, device="cpu", dtype=torch.bfloat16, at_once=4)
    assert abs(pixels(half.generate(request_)) - pixels(alone.generate(request_))).mean() < 10


def test_a_picture_says_with_how_many_it_was_painted(alone, together, request_, tmp_path):
    result = together.generate(request_)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    metadata.save(result, paths)
    [told] = repeating.made_otherwise(metadata.read(paths[1]), alone.generate(request_).bundle)
    assert "float32, 3 pictures at once; this one with" in told


def test_steps_are_counted_over_all_and_the_first_is_shown(alone, together, request_):
    request = request_.replace(upscale=1.5, upscale_strength=0.7)
    told = [event for event in together.stream(request) if isinstance(event, Step) and event.step]
    counted = list(dict.fromkeys((step.step, step.total) for step in told))
    assert counted == [(n, 15) for n in (3, 6, 9, 10, 11, 12, 13, 14, 15)]
    notes = list(dict.fromkeys(step.note for step in told))
    assert notes[:2] == ["Painting pictures 1 to 3 of 3", "Making it larger picture 1 of 3"]
    first = [step.preview for step in alone.stream(request_) if isinstance(step, Step) and step.preview]
    difference = np.asarray(told[0].preview, int) - np.asarray(first[0], int)
    assert abs(difference).max() <= ROUNDING


def test_cancelling_stops_all_of_them_and_the_engine_goes_on(alone, together, request_):
    seen = []

    def on_step(step, total, preview):
        seen.append(step)
        return step < 3

    with pytest.raises(Cancelled, match="step 3 of 9"):
        together.generate(request_, on_step)
    assert seen[-1] == 3
    assert abs(pixels(together.generate(request_)) - pixels(alone.generate(request_))).max() <= ROUNDING


# Where memory runs out


class narrow:
    """Memory for so many pictures, not for more."""

    def __init__(self, engine: Engine, room: int):
        self.unet, self.room = engine._models.pipeline.unet, room

    def __enter__(self):
        def refuse(unet, inputs):
            if len(inputs[0]) > 2 * self.room:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        self.hook = self.unet.register_forward_pre_hook(refuse)

    def __exit__(self, *_):
        self.hook.remove()


@pytest.mark.parametrize(
    ("room", "seen", "note"),
    [
        (2, [4, 4, 4, 4, 2, 2], "There was no room to paint 4 pictures at once: it went on 2 at a time."),
        (1, [2] * 10, "There was no room to paint 2 pictures at once: it went on one at a time."),
    ],
)
def test_where_memory_runs_out_half_as_many_are_painted_and_it_is_said(
    alone, together, request_, room, seen, note
):
    request = request_.replace(images=5, steps=2)
    with narrow(together, room), batches(together) as counted:
        made = together.generate(request)
    assert counted == seen
    assert made.notes == [note]
    assert abs(pixels(made) - pixels(alone.generate(request))).max() <= ROUNDING
    with narrow(together, 0), pytest.raises(OutOfMemory, match="smaller size"):
        together.generate(request)


# Requests of their own


def test_requests_of_any_seeds_each_get_the_result_they_would_get_alone(alone, together, request_):
    requests = [request_.replace(seed=seed, images=1) for seed in (9, 3, 77, 3, 500)]
    *_, last = events = list(together.stream_several(requests))
    results = [event for event in events if isinstance(event, Result)]
    assert last is results[-1] and len(results) == 5
    for request, result in zip(requests, results, strict=True):
        expected = alone.generate(request)
        assert (result.seed, result.request) == (request.seed, expected.request)
        assert abs(pixels(result) - pixels(expected)).max() <= ROUNDING
        assert list(result.timings) == list(expected.timings) and result.timings["pictures"] > 0
    assert {event.total for event in events if isinstance(event, Step) and event.step} == {15}
    before = events[: events.index(results[0])]
    assert max(event.step for event in before) == 12, "four are there before the fifth is begun"
    assert [result.bundle.get("at_once") for result in results] == [4, 4, 4, 4, None]


def test_requests_that_differ_in_more_are_refused(together, request_):
    for other in (request_.replace(steps=4), request_.replace(prompt="a woman")):
        with pytest.raises(InvalidRequest, match="differ in their seeds alone"):
            list(together.stream_several([request_, other]))


def test_one_problem_is_told_of_all(together, request_):
    together._finder = OneFace(None)
    try:
        photo = request_.replace(people=[Person(references=[Image.new("RGB", (64, 64))])], images=1)
        with pytest.raises(NoFaceFound):
            list(together.stream_several([photo, photo.replace(seed=1)]))
    finally:
        together._finder = None
    together.generate(request_)
