"""The engine against the original's arithmetic, and against itself: nothing may stay behind."""

import dataclasses
import threading
import time
import weakref

import numpy as np
import oracle
import pytest
import torch
from PIL import Image

from instantid import acceleration, faces, images, mini, models
from instantid.engine import Engine
from instantid.errors import BundleError, Cancelled, InvalidRequest, InvalidStyle, OutOfMemory
from instantid.request import Control, Face, Person, Request, Result, Step
from instantid.schedulers import SCHEDULERS


@pytest.fixture(scope="module")
def engine(tiny) -> Engine:
    return Engine.load(tiny, device="cpu")


@pytest.fixture
def request_(face) -> Request:
    return Request(people=[Person(references=[face])], prompt="a man", negative_prompt="blurry", steps=3)


@pytest.fixture
def photo() -> Image.Image:
    """Something with edges for canny to find."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[12:36, 16:48] = (200, 120, 40)
    return Image.fromarray(pixels)


def pixels(result: Result, i: int = 0) -> np.ndarray:
    return np.asarray(result.images[i]).astype(int)


def original(tiny, request: Request, **changes) -> np.ndarray:
    """What the original pipeline makes of a request whose person is a ready face."""
    face = request.people[0].references[0]
    width, height = request.width or 64, request.height or 64
    inputs = oracle.OracleInputs(
        embedding=face.embedding,
        keypoint_map=faces.draw_keypoints(face.keypoints, width, height),
        text=oracle.encode_text(tiny, request.prompt, request.negative_prompt),
        noise=oracle.initial_noise(tiny, request.seed, width=width, height=height),
        width=width,
        height=height,
        steps=request.steps,
        guidance_scale=5.0 if request.guidance_scale is None else request.guidance_scale,
        identity_strength=0.8 if request.identity_strength is None else request.identity_strength,
        adapter_strength=0.8 if request.adapter_strength is None else request.adapter_strength,
        face_box=tuple(face.box) if request.face_region else None,
    )
    inputs = dataclasses.replace(inputs, **changes)
    return np.asarray(oracle.to_picture(oracle.original_image(tiny, inputs))).astype(int)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seed": 7, "guidance_scale": 1.0},
        {"guidance_scale": 0.0, "face_region": False},
        {"identity_strength": 0.0},
        {"adapter_strength": 0.0},
        {"identity_strength": 1.5, "adapter_strength": 0.3, "face_region": False},
        {"identity_strength": 0.4, "adapter_strength": 1.2, "guidance_scale": 2.5},
        {"width": 96, "height": 64},
        {"width": 104, "height": 72},
        {"prompt": "", "negative_prompt": ""},
    ],
    ids=str,
)
def test_pictures_equal_the_original_pipelines(engine, tiny, request_, changes):
    request = request_.replace(**changes)
    difference = abs(pixels(engine.generate(request)) - original(tiny, request))
    # float32 against float64, rounded to 8 bits: no more than the last bit, and that seldom.
    assert difference.max() <= 1
    assert difference.mean() < 0.02


def test_an_extra_controlnet_equals_the_original_pipelines(engine, tiny, request_, photo):
    reference = request_.replace(pose_image=None, controls={})
    canny = images.fit(photo.size, (64, 64)).image(
        engine._annotators.draw("canny", photo.resize((64, 48)), Control())
    )
    changes = {"extra_controls": ((tiny / "controlnets" / "canny", canny, 0.7),)}
    expected = original(tiny, reference, **changes)
    with engine_that_follows(engine, photo, request_) as request:
        result = engine.generate(request.replace(controls={"canny": 0.7}, width=64, height=64))
    assert np.array_equal(np.asarray(result.control_maps["canny"]), np.asarray(canny))
    assert abs(pixels(result) - expected).max() <= 1


class engine_that_follows:
    """Give the engine a face model that finds, in `photo`, the request's own face."""

    def __init__(self, engine: Engine, photo: Image.Image, request: Request):
        self.engine, self.photo, self.request = engine, photo, request

    def __enter__(self) -> Request:
        face = self.request.people[0].references[0]
        # On the 64×64 canvas the 64×48 photo lies 8 pixels down: the photo's face is that much higher.
        up = Face(face.embedding, face.keypoints - [0, 8], face.box - [0, 8, 0, 8])
        self.engine._finder = OneFace(up)
        return self.request.replace(pose_image=self.photo)

    def __exit__(self, *_):
        self.engine._finder = None


class OneFace(faces.FaceFinder):
    """Finds the same face, or none, in every picture."""

    dimension = 512

    def __init__(self, face: Face | None):
        super().__init__()
        self.face = face

    def _detect(self, bgr, size):
        if self.face is None:
            return np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32)
        return self.face.box[None], self.face.keypoints[None]

    def _embed(self, bgr, box, keypoints):
        return self.face.embedding


@pytest.mark.parametrize("placement", acceleration.PLACEMENTS)
def test_every_placement_gives_the_same_picture(engine, tiny, request_, photo, placement):
    placed = Engine.load(tiny, device="cpu", placement=placement)
    for request in (request_, request_.replace(images=2, guidance_scale=1.0), request_):
        assert np.array_equal(pixels(placed.generate(request)), pixels(engine.generate(request)))
    with engine_that_follows(placed, photo, request_) as request:
        placed.generate(request.replace(controls={"canny": 0.7}))
    assert np.array_equal(pixels(placed.generate(request_)), pixels(engine.generate(request_)))


def test_half_precision_gives_nearly_the_same_picture(engine, tiny, request_, photo):
    """float16 is CUDA's default."""
    half = Engine.load(tiny, device="cpu", dtype=torch.float16)
    for changes in (
        {},
        {"guidance_scale": 1.0},
        {"face_region": False},
        {"images": 2},
        {"scheduler": "Heun"},
    ):
        request = request_.replace(**changes)
        difference = abs(pixels(half.generate(request)) - pixels(engine.generate(request)))
        assert difference.mean() < 4
    results = []
    for either in (half, engine):
        with engine_that_follows(either, photo, request_) as request:
            results.append(pixels(either.generate(request.replace(controls={"canny": 0.7}))))
    assert abs(results[0] - results[1]).mean() < 4


@pytest.mark.parametrize("placement", acceleration.PLACEMENTS[1:])
def test_offloading_works_in_half_precision(engine, tiny, request_, placement):
    half = Engine.load(tiny, device="cpu", dtype=torch.float16, placement=placement)
    difference = abs(pixels(half.generate(request_)) - pixels(engine.generate(request_)))
    assert difference.mean() < 4


@pytest.mark.parametrize("placement", acceleration.PLACEMENTS)
def test_another_base_is_loaded_when_the_last_one_is_gone_and_so_back(
    tiny, tmp_path, request_, placement, monkeypatch
):
    other = mini.build(tmp_path / "other", mini.TINY, seed=5) / "base"
    engine = Engine.load(tiny, device="cpu", placement=placement)
    before = pixels(engine.generate(request_))
    there = [weakref.ref(getattr(engine._models.pipeline, part)) for part in ("unet", "vae", "text_encoder")]
    real = models.load
    monkeypatch.setattr(models, "load", lambda *a: [ref() for ref in there] == [None] * 3 and real(*a))
    assert not np.array_equal(pixels(engine.generate(request_.replace(base=str(other)))), before)
    with pytest.raises(BundleError):
        engine.generate(request_.replace(vae=str(other / "unet")))  # is found to be none when it is loaded
    assert np.array_equal(pixels(engine.generate(request_)), before)


@pytest.mark.parametrize(
    ("free", "expected"), [(20, "resident"), (12, "model offload"), (7, "group offload")], ids=str
)
def test_placement_follows_free_memory(free, expected):
    gib = acceleration.GIB
    cuda = torch.device("cuda")
    sizes = {"total": 11 * gib, "working": 8 * gib}
    assert acceleration.choose_placement(device=cuda, free=free * gib, **sizes) == expected
    assert acceleration.choose_placement(device=torch.device("cpu"), free=0, **sizes) == "resident"


@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
def test_every_scheduler_runs_and_leaves_nothing_behind(engine, request_, scheduler):
    before = pixels(engine.generate(request_))
    steps = []
    result = engine.generate(
        request_.replace(scheduler=scheduler, steps=4), lambda step, total, _: steps.append((step, total))
    )
    assert result.request.scheduler == scheduler
    assert steps[0] == (0, 4) and steps[-1] == (4, 4)
    assert steps == sorted(steps)
    assert np.array_equal(pixels(engine.generate(request_)), before)


def test_a_karras_request_does_not_change_the_next_plain_one(engine, request_):
    plain = request_.replace(scheduler="DPM++ 2M", steps=5)
    before = pixels(engine.generate(plain))
    karras = pixels(engine.generate(plain.replace(scheduler="DPM++ 2M SDE Karras")))
    assert not np.array_equal(karras, before)
    assert np.array_equal(pixels(engine.generate(plain)), before)


@pytest.mark.parametrize(
    "changes",
    [
        {"adapter_strength": 0.0},
        {"identity_strength": 1.3},
        {"face_region": False},
        {"images": 3},
        {"guidance_scale": 1.0},
        {"width": 104, "height": 72},
        {"style": "Watercolor"},
    ],
    ids=str,
)
def test_every_setting_acts_and_leaves_nothing_behind(engine, request_, changes):
    before = engine.generate(request_)
    changed = engine.generate(request_.replace(**changes))
    assert changed.images[-1].tobytes() != before.images[0].tobytes()
    assert np.array_equal(pixels(engine.generate(request_)), pixels(before))


def test_both_strengths_at_zero_make_the_face_irrelevant(engine, request_):
    off = request_.replace(identity_strength=0, adapter_strength=0)
    somebody = off.people[0].references[0]
    else_ = Face(-3 * somebody.embedding, somebody.keypoints + 5, somebody.box)
    other = off.replace(people=[Person(references=[else_])])
    assert np.array_equal(pixels(engine.generate(off)), pixels(engine.generate(other)))


def test_a_persons_own_strengths_win_over_the_requests(engine, request_):
    face = request_.people[0].references[0]
    own = Person(references=[face], identity_strength=0.2, adapter_strength=1.1)
    expected = engine.generate(request_.replace(identity_strength=0.2, adapter_strength=1.1))
    assert np.array_equal(pixels(engine.generate(request_.replace(people=[own]))), pixels(expected))


def test_references_are_averaged_and_the_first_one_poses(engine, request_):
    first = request_.people[0].references[0]
    second = Face(first.embedding[::-1].copy(), first.keypoints + 9, first.box)
    mean = Face((first.embedding + second.embedding) / 2, first.keypoints, first.box)
    both = request_.replace(people=[Person(references=[first, second])])
    alone = request_.replace(people=[Person(references=[mean])])
    assert np.array_equal(pixels(engine.generate(both)), pixels(engine.generate(alone)))


def test_each_image_of_a_run_can_be_made_alone_by_its_seed(engine, request_):
    run = engine.generate(request_.replace(images=3, seed=5))
    assert run.seeds == [5, 6, 7]
    for i, seed in enumerate(run.seeds):
        alone = engine.generate(request_.replace(seed=seed))
        assert np.array_equal(pixels(run, i), pixels(alone))


def test_a_random_seed_is_returned_and_repeats(engine, request_):
    first = engine.generate(request_.replace(seed=None))
    second = engine.generate(request_.replace(seed=None))
    assert first.seed != second.seed
    assert first.request.seed == first.seed
    assert np.array_equal(pixels(engine.generate(first.request)), pixels(first))


def test_the_result_carries_the_request_with_every_default_filled_in(engine, request_):
    result = engine.generate(request_.replace(steps=None))
    filled = result.request
    assert (filled.steps, filled.guidance_scale, filled.scheduler) == (3, 5.0, "Euler")
    assert (filled.width, filled.height) == result.images[0].size == (64, 64)
    assert result.likeness is None  # the bundle has no face model
    assert result.bundle["untrained"] is True
    assert result.timings["total"] >= result.timings["pictures"] > 0
    assert list(result.control_maps) == ["keypoints"]


def test_likeness_compares_each_picture_with_the_reference(engine, request_, photo):
    with engine_that_follows(engine, photo, request_) as request:
        assert engine.generate(request).likeness == [pytest.approx(1.0)]
        engine._finder = OneFace(None)
        assert engine.generate(request_).likeness == [None]


def test_the_side_left_open_takes_the_shape_of_the_pose_photo(engine, request_, photo):
    with engine_that_follows(engine, photo, request_) as request:
        result = engine.generate(request.replace(width=128))
    assert result.images[0].size == (128, 96)
    assert (result.request.width, result.request.height) == (128, 96)


def test_cancelling_stops_at_once_and_the_engine_goes_on(engine, request_):
    before = pixels(engine.generate(request_))
    seen = []

    def on_step(step, total, preview):
        seen.append(step)
        return step < 1

    with pytest.raises(Cancelled):
        engine.generate(request_.replace(adapter_strength=1.4, scheduler="DEIS", images=2), on_step)
    assert seen == [0, 0, 1]  # reading the photos, preparing, and the first step
    assert np.array_equal(pixels(engine.generate(request_)), before)


def test_previews_are_small_pictures_of_what_is_coming(engine, request_):
    previews = []
    engine.generate(request_, lambda step, total, preview: previews.append(preview if step else None))
    previews = [preview for preview in previews if preview]
    assert len(previews) == 3 and {preview.size for preview in previews} == {(8, 8)}
    assert previews[0].tobytes() != previews[-1].tobytes()


def test_streaming_gives_steps_and_then_the_result(engine, request_):
    *steps, result = engine.stream(request_)
    assert all(isinstance(step, Step) for step in steps)
    assert list(dict.fromkeys(step.step for step in steps)) == [0, 1, 2, 3]
    assert {step.note for step in steps if step.step} == {"Painting"}
    assert np.array_equal(pixels(result), pixels(engine.generate(request_)))


def test_a_slow_step_gives_signs_of_life(engine, request_, monkeypatch):
    monkeypatch.setattr("instantid.progress.HEARTBEAT", 0.01)
    with engine._lock:
        stream = engine.stream(request_)
        assert next(stream).note == next(stream).note != ""
    *_, result = stream
    assert isinstance(result, Result)


def test_closing_the_stream_cancels_the_run(engine, request_):
    stream = engine.stream(request_.replace(steps=150))
    next(stream)
    start = time.monotonic()
    stream.close()
    closed = time.monotonic()
    for thread in threading.enumerate():
        if thread.name == "generate":
            thread.join(30)
            assert not thread.is_alive()
    assert closed - start < 0.1  # the page closes it on the server's event loop
    engine.generate(request_)


def test_streaming_raises_what_generate_raises(engine, request_):
    with pytest.raises(InvalidStyle, match="Watercolour"):
        list(engine.stream(request_.replace(style="Watercolour")))


def test_requests_wait_for_each_other(engine, request_):
    expected = {seed: pixels(engine.generate(request_.replace(seed=seed))) for seed in (1, 2, 3)}
    made = {}
    threads = [
        threading.Thread(
            target=lambda s=seed: made.update({s: pixels(engine.generate(request_.replace(seed=s)))})
        )
        for seed in expected
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert made.keys() == expected.keys()
    assert all(np.array_equal(made[seed], expected[seed]) for seed in expected)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"style": "nonsense"}, InvalidStyle, "nonsense"),
        ({"controls": {"canny": 0.5}}, InvalidRequest, "needs a photo"),
        ({"pose_image": Image.new("RGB", (64, 64))}, BundleError, "no face model"),
        ({"upscale": 1.5, "upscale_strength": 0.1}, InvalidRequest, "upscale_strength of 0.1 leaves nothing"),
        ({"scheduler": "LCM", "steps": 60}, InvalidRequest, "at most 50"),
    ],
    ids=[
        "style",
        "control without photo",
        "pose without face model",
        "nothing to do",
        "LCM steps",
    ],
)
def test_what_cannot_be_done_is_refused_in_words(engine, request_, changes, error, words):
    before = pixels(engine.generate(request_))
    with pytest.raises(error, match=words):
        engine.generate(request_.replace(**changes))
    assert np.array_equal(pixels(engine.generate(request_)), before)


def test_a_face_of_another_model_is_refused(engine, request_):
    short = Face(
        np.ones(128), *[getattr(request_.people[0].references[0], name) for name in ("keypoints", "box")]
    )
    with pytest.raises(InvalidRequest, match=r"128.*512"):
        engine.generate(request_.replace(people=[Person(references=[short])]))


def test_running_out_of_memory_is_explained(engine, request_, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(engine._models.pipeline.unet, "forward", full)
    with pytest.raises(OutOfMemory, match="smaller size"):
        engine.generate(request_)
    monkeypatch.undo()
    engine.generate(request_)
