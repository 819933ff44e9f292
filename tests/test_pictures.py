"""What else a picture may go through: a start, a mask, a larger canvas, its faces again; alone and together."""

import re

import numpy as np
import pytest
import torch
from diffusers.pipelines.controlnet.pipeline_controlnet_inpaint_sd_xl import rescale_noise_cfg
from PIL import Image
from test_engine import OneFace

from instantid import pictures, remedies
from instantid.engine import Engine
from instantid.errors import Cancelled, InvalidRequest
from instantid.request import Control, Face, Person, Place, Request, Result
from instantid.styles import DEFAULT_NEGATIVE_PROMPT


@pytest.fixture(scope="module")
def engine(tiny) -> Engine:
    return Engine.load(tiny, device="cpu")


@pytest.fixture
def request_(face) -> Request:
    return Request(people=[Person(references=[face])], prompt="a man", steps=4)


@pytest.fixture
def noisy() -> Image.Image:
    """A picture that nothing painted looks like."""
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8))


@pytest.fixture
def left_half() -> Image.Image:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    return mask


@pytest.fixture
def two(face) -> list[Person]:
    """Two people who are not alike, side by side."""
    other = Face(-face.embedding, face.keypoints, face.box)
    return [
        Person(references=[face], place=Place(x=0.25, y=0.5, size=0.4)),
        Person(references=[other], place=Place(x=0.75, y=0.5, size=0.4)),
    ]


def pixels(result: Result, i: int = 0) -> np.ndarray:
    return np.asarray(result.images[i]).astype(int)


def distance(a, b) -> float:
    return float(abs(np.asarray(a, int) - np.asarray(b, int)).mean())


class posed_by:
    """Give the engine a face model that finds `face` in every picture; None: finds none."""

    def __init__(self, engine: Engine, face: Face | None):
        self.engine, self.face = engine, face

    def __enter__(self):
        self.engine._finder = OneFace(self.face)

    def __exit__(self, *_):
        self.engine._finder = None


# From a picture.


def started(request_: Request, picture: Image.Image, **changes) -> Request:
    people = [request_.people[0].replace(view="front", place=Place(x=0.4, y=0.5, size=0.5))]
    return request_.replace(people=people, start_image=picture, **changes)


def test_the_more_is_painted_anew_the_less_of_the_start_is_left(engine, request_, noisy):
    other = noisy.transpose(Image.Transpose.ROTATE_180)
    apart = [
        distance(
            *(pixels(engine.generate(started(request_, each, start_strength=s))) for each in (noisy, other))
        )
        for s in (0.25, 0.5, 1.0)
    ]
    assert apart[0] > 1.5 * apart[1] > 1.5 * 1.5 * apart[2]


def test_who_it_is_matters_from_a_picture_too(engine, request_, noisy, face):
    request = started(request_, noisy)
    other = Person(
        references=[Face(-face.embedding, face.keypoints, face.box)], **request.people[0].model_dump(
            include={"view", "place"}
        )
    )  # fmt: skip
    one, another = (
        pixels(engine.generate(request.replace(people=[person]))) for person in (request.people[0], other)
    )
    assert distance(one, another) > 0.5
    off = {"identity_strength": 0, "adapter_strength": 0}
    nobody, nobody_else = (
        pixels(engine.generate(request.replace(people=[person], **off)))
        for person in (request.people[0], other)
    )
    assert np.array_equal(nobody, nobody_else)


def test_outside_the_mask_not_a_pixel_changes_and_inside_they_do(engine, request_, noisy, left_half):
    request = started(request_, noisy, repaint="mask", repaint_mask=left_half, start_strength=1.0)
    made, before = pixels(engine.generate(request)), np.asarray(noisy).astype(int)
    assert np.array_equal(made[:, 32:], before[:, 32:])
    assert distance(made[:, :28], before[:, :28]) > 10


def test_a_face_swap_repaints_the_face_found_in_the_start_picture(engine, request_, noisy, face):
    with posed_by(engine, face):
        result = engine.generate(request_.replace(start_image=noisy, repaint="face", start_strength=1.0))
    changed = (pixels(result) != np.asarray(noisy)).any(axis=2)
    rows, columns = np.nonzero(changed)
    x1, y1, x2 = face.box[:3]
    assert changed[30:36, 24:32].all()
    assert columns.min() >= x1 - 6 and columns.max() <= x2 + 6 and rows.min() >= y1 - 6
    assert not changed[:, 56:].any()


# Larger, and closer.


@pytest.mark.parametrize("by", ["pixels", "latents"])
def test_a_picture_is_painted_again_on_a_larger_canvas(engine, request_, by):
    result = engine.generate(request_.replace(upscale=1.5, upscale_strength=0.5, upscale_by=by))
    assert result.images[0].size == (96, 96)
    assert (result.request.width, result.request.height) == (64, 64)
    again = engine.generate(result.request)
    assert np.array_equal(pixels(again), pixels(result))


def test_a_larger_picture_is_one_started_from_the_enlarged_small_one(engine, request_, face):
    larger = Face(face.embedding, face.keypoints * 1.5, face.box * 1.5)
    points = [tuple(float(value) for value in point) for point in larger.keypoints / 96]
    person = Person(references=[larger], keypoints=points)
    at_once = request_.replace(upscale=1.5, upscale_strength=0.5, face_region=False)
    first = engine.generate(request_.replace(face_region=False)).images[0]
    started = request_.replace(
        start_image=first.resize((96, 96), Image.Resampling.LANCZOS),
        start_strength=0.5,
        face_region=False,
        people=[person],
        width=96,
        height=96,
    )
    with posed_by(engine, None):
        expected = engine.generate(started)
    assert abs(pixels(engine.generate(at_once)) - pixels(expected)).max() <= 1


def test_what_a_mask_keeps_is_kept_when_made_larger(engine, request_, noisy, left_half):
    request = started(request_, noisy, repaint="mask", repaint_mask=left_half, upscale=1.5)
    made = pixels(engine.generate(request))
    larger = noisy.resize((96, 96), Image.Resampling.LANCZOS)
    assert np.array_equal(made[:, 54:], np.asarray(larger)[:, 54:])
    with pytest.raises(InvalidRequest, match="Latents cannot keep"):
        engine.generate(request.replace(upscale_by="latents"))


def test_a_face_is_painted_again_and_the_rest_stays(engine, request_, face):
    before = pixels(engine.generate(request_))
    small = Face(face.embedding, face.keypoints * 0.4 + 20, face.box * 0.4 + 20)
    with posed_by(engine, small):
        result = engine.generate(
            request_.replace(face_detail=True, face_detail_strength=0.75, people=[Person(references=[small])])
        )
        plain = engine.generate(request_.replace(people=[Person(references=[small])]))
    changed = (pixels(result) != pixels(plain)).any(axis=2)
    x1, y1, x2, y2 = (round(float(value)) for value in small.box)
    assert changed[(y1 + y2) // 2, (x1 + x2) // 2]
    assert not changed[: y1 - 5].any() and not changed[:, x2 + 5 :].any()
    assert result.notes == []
    assert before.shape == pixels(result).shape


def test_a_face_that_is_not_found_is_told(engine, request_):
    with posed_by(engine, None):
        result = engine.generate(request_.replace(face_detail=True, face_detail_strength=0.5))
        assert "no face was found in picture 1" in result.notes[0] and "planned place" in result.notes[0]
        free = engine.generate(request_.replace(face_detail=True, face_detail_strength=0.5, free_pose=True))
        assert "left as it is" in free.notes[0]
        assert np.array_equal(pixels(free), pixels(engine.generate(request_.replace(free_pose=True))))


def test_a_face_planned_off_the_picture_is_left_alone(engine, request_, face):
    points = [(x / 64 + 1.2, y / 64) for x, y in face.keypoints.tolist()]
    away = Person(references=[face], keypoints=points, region=Image.new("L", (64, 64), 255))
    plain = request_.replace(people=[away])
    made = engine.generate(plain.replace(face_detail=True, face_detail_strength=0.5))
    assert "left as it is" in made.notes[0]
    assert np.array_equal(pixels(made), pixels(engine.generate(plain)))


@pytest.mark.parametrize("steps", [1, 3, 6, 7, 30, 150])
def test_the_strength_that_is_advised_is_the_least_that_works(request_, steps):
    def asked(strength: float) -> Request:
        return request_.replace(steps=steps, upscale=1.5, upscale_strength=strength)

    with pytest.raises(InvalidRequest) as refusal:
        pictures.passes(asked(0.001))
    advised = float(re.search(r"Raise it to (\S+) at least", str(refusal.value))[1])
    pictures.passes(asked(advised))
    if advised > 0.01:
        with pytest.raises(InvalidRequest):
            pictures.passes(asked(advised - 0.01))


# Several people.


def test_one_person_with_a_full_region_equals_that_person_everywhere(engine, request_):
    full = [request_.people[0].replace(region=Image.new("L", (64, 64), 255))]
    everywhere = pixels(engine.generate(request_.replace(face_region=False)))
    for face_region in (True, False):
        made = engine.generate(request_.replace(people=full, face_region=face_region))
        assert np.array_equal(pixels(made), everywhere)


def test_each_of_two_people_steers(engine, request_, two):
    both = engine.generate(request_.replace(people=two))
    assert both.control_maps["keypoints"].size == (64, 64)
    for i in range(2):
        people = list(two)
        people[i] = people[i].replace(adapter_strength=0, identity_strength=0)
        assert distance(pixels(engine.generate(request_.replace(people=people))), pixels(both)) > 0.1
    swapped = [two[0].replace(references=two[1].references), two[1].replace(references=two[0].references)]
    assert distance(pixels(engine.generate(request_.replace(people=swapped))), pixels(both)) > 0.1


def test_likeness_of_several_is_that_of_the_least_alike(engine, request_, two, face):
    class Everywhere(OneFace):  # in a picture of any size at the same place
        def _detect(self, bgr, size):
            boxes, keypoints = super()._detect(bgr, size)
            return boxes * bgr.shape[1] / 64, keypoints * bgr.shape[1] / 64

    engine._finder = Everywhere(Face(face.embedding, face.keypoints * 0.25 + 40, face.box * 0.25 + 40))
    small = request_.replace(people=[Person(references=[engine._finder.face])])
    larger = small.replace(upscale=2, upscale_strength=0.25)
    assert engine.generate(larger).likeness == engine.generate(small).likeness == pytest.approx([1.0])
    with posed_by(engine, Face(face.embedding, face.keypoints, [8, 20, 24, 44])):
        assert engine.generate(request_.replace(people=two)).likeness == [None]  # only one face is there
        assert engine.generate(request_.replace(people=two[:1])).likeness == pytest.approx([1.0])


# Controls.


@pytest.mark.parametrize(
    ("changes", "acts"),
    [
        ({}, True),
        ({"start_strength": 0.5}, False),
        ({"start_strength": 0.5, "scheduler": "Heun"}, True),
        ({"start_strength": 0.5, "upscale": 1.5, "upscale_strength": 1.0}, True),
        ({"start_strength": 0.5, "face_detail": True, "face_detail_strength": 1.0}, False),
    ],
    ids=str,
)
def test_a_control_whose_window_holds_no_step_of_any_pass_is_told(engine, request_, noisy, changes, acts):
    settings = {"start_strength": 1.0, "guidance_scale": 1.0} | changes
    request = started(request_, noisy, **settings)
    controlled = request.replace(controls={"canny": Control(strength=1, start=0.2, end=0.7, map=noisy)})
    result = engine.generate(controlled)
    assert ("The canny control never acts" in "".join(result.notes)) is not acts
    assert np.array_equal(pixels(result), pixels(engine.generate(request))) is not acts


# Without a pose.


def test_a_free_pose_is_the_adapter_alone_everywhere(engine, request_):
    free = engine.generate(request_.replace(free_pose=True))
    alone = engine.generate(request_.replace(identity_strength=0, face_region=False))
    assert np.array_equal(pixels(free), pixels(alone))
    assert "keypoints" not in free.control_maps


# Remedies.


def test_rescaled_guidance_is_diffusers_own_in_the_pipelines_that_lack_it():
    class Unet(torch.nn.Module):
        def forward(self, halves):
            return (halves,)

    unet, halves = Unet(), torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    away, towards = halves.chunk(2)
    guided = away + 7.0 * (towards - away)
    for amount in (0.0, 0.3, 1.0):
        with remedies.rescaled_guidance(unet, 7.0, amount):
            a, b = unet(halves)[0].chunk(2)
        expected = rescale_noise_cfg(guided, towards, amount)
        assert a + 7.0 * (b - a) == pytest.approx(expected.numpy(), abs=1e-5)
    assert torch.equal(unet(halves)[0], halves)


@pytest.mark.parametrize("remedy", ["cfg_rescale", "negative_noise", "perturbed_negative"])
def test_a_remedy_changes_the_picture_and_repeats_and_needs_guidance(engine, request_, remedy):
    plain, cured, again = (
        pixels(engine.generate(request_.replace(**{remedy: amount}))) for amount in (0, 0.5, 0.5)
    )
    assert np.array_equal(cured, again)
    assert distance(plain, cured) > 0.05
    unguided = request_.replace(guidance_scale=1.0)
    useless = engine.generate(unguided.replace(**{remedy: 0.5}))
    assert np.array_equal(pixels(engine.generate(unguided)), pixels(useless))
    assert "did nothing" in "".join(useless.notes)


def test_a_negative_prompt_that_is_not_heard_is_said_to_be_and_a_presets_own_is_not(request_):
    alone = request_.replace(guidance_scale=1.0, negative_prompt="", style="Watercolor")
    assert remedies.unheard(alone) == []
    assert remedies.unheard(alone.replace(negative_prompt=DEFAULT_NEGATIVE_PROMPT)) == []
    (said,) = remedies.unheard(alone.replace(negative_prompt="glasses", cfg_rescale=0.7))
    assert "the negative prompt, CFG rescale" in said
    assert remedies.unheard(alone.replace(negative_prompt="glasses", guidance_scale=1.1)) == []


def test_an_off_size_is_a_little_less_and_an_explicit_one_stays(engine, request_, monkeypatch):
    assert remedies.off_size((1024, 1024), 8) == (1016, 1016)
    defaults = engine.bundle.defaults.model_copy(update={"width": 80, "height": 80})
    monkeypatch.setattr(engine, "bundle", engine.bundle.model_copy(update={"defaults": defaults}))
    assert engine.generate(request_).images[0].size == (80, 80)
    assert engine.generate(request_.replace(off_size=True)).images[0].size == (72, 72)
    assert engine.generate(request_.replace(off_size=True, width=72, height=64)).images[0].size == (72, 64)


# All together.


def everything(request_: Request, two: list[Person], noisy: Image.Image, mask: Image.Image) -> Request:
    region = Image.new("L", (64, 64))
    region.paste(255, (0, 0, 30, 64))
    return request_.replace(
        people=[two[0].replace(region=region), two[1].replace(identity_strength=1.2)],
        start_image=noisy,
        start_strength=0.75,
        repaint="mask",
        repaint_mask=mask,
        style_image=noisy.transpose(Image.Transpose.ROTATE_90),
        style_content="a cat",
        layout_image=noisy,
        controls={
            "canny": Control(strength=0.5, end=0.5),
            "pose": Control(strength=0.3, map=noisy),
            "depth": Control(strength=0.2, start=0.5, map=noisy),
        },
        upscale=1.5,
        upscale_strength=0.5,
        face_detail=True,
        face_detail_strength=0.5,
        cfg_rescale=0.5,
        negative_noise=0.3,
        perturbed_negative=0.1,
        images=2,
    )


@pytest.mark.parametrize("placement", ["resident", "model offload", "group offload"])
def test_everything_at_once_leaves_nothing_behind(tiny, request_, two, noisy, left_half, placement):
    engine = Engine.load(tiny, device="cpu", placement=placement)
    before = pixels(engine.generate(request_))
    request = everything(request_, two, noisy, left_half)
    made = engine.generate(request)
    assert [picture.size for picture in made.images] == [(96, 96)] * 2
    assert not np.array_equal(pixels(made, 0), pixels(made, 1))
    alone = engine.generate(made.request.replace(images=1, seed=made.seeds[1]))
    assert np.array_equal(pixels(alone), pixels(made, 1))
    assert np.array_equal(pixels(engine.generate(request_)), before)


def test_steps_are_counted_over_all_passes_and_any_of_them_can_be_cancelled(
    engine, request_, two, noisy, left_half
):
    before = pixels(engine.generate(request_))
    request = everything(request_, two, noisy, left_half)
    told = []
    engine.generate(request, lambda step, total, preview: told.append((step, total)))
    steps = [step for step, _ in told]
    assert {total for _, total in told} == {pictures.steps_in_all(request)}
    assert steps == sorted(steps) and steps[0] == 0 and steps[-1] == told[0][1]
    for last in (1, 4, 6, 8):
        with pytest.raises(Cancelled):
            engine.generate(request, lambda step, total, preview, last=last: step < last)
        assert np.array_equal(pixels(engine.generate(request_)), before)
