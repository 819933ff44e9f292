"""The embedded bundle knows people: strangers (rendered, and held out from its training) come out as themselves.

`strangers.npz` holds SFace embeddings of two photos of each, and the keypoints of the second, of 128 pixels a side.
The first is shown, and what is painted is compared with the second, where the keypoints were asked for: nobody has
to find a face in it.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from test_faces import OPENCV_FILES
from test_faces import opencv_folder as opencv_folder

from instantid import Engine, Face, Person, Request, face_measures
from instantid.controls import Annotators
from instantid.evaluation.maps import depth_error, line_error
from instantid.images import in_blocks
from instantid.request import Control

STRANGERS, SIDE = 24, 128
EXAMPLES = Path(__file__).parents[1] / "assets" / "examples"
RENDERED = sorted(EXAMPLES.glob("rendered-*.jpg"))


@pytest.fixture(scope="module")
def engine():
    return Engine.load("mini", device="cpu")


@pytest.fixture(scope="module")
def strangers(engine):
    """Their places in pixels of the bundle's pictures."""
    held = dict(np.load(Path(__file__).parent / "strangers.npz"))
    scale = engine.bundle.defaults.width / SIDE
    return held | {name: (held[name] * scale).astype(np.float32) for name in ("keypoints", "boxes")}


@pytest.fixture(scope="module")
def recognise(opencv_folder):
    """A picture and where its face was asked for → SFace's embedding of that, of length one."""
    [file] = [name for name in OPENCV_FILES if "sface" in name]
    recogniser = cv2.FaceRecognizerSF.create(str(opencv_folder / file), "")

    def embed(picture: Image.Image, keypoints: np.ndarray) -> np.ndarray:
        aligned = face_measures.align(picture, keypoints)
        embedding = recogniser.feature(np.ascontiguousarray(aligned[..., ::-1]))[0]
        return embedding / np.linalg.norm(embedding)

    return embed


@pytest.fixture(scope="module")
def judged(engine, strangers, recognise):
    """How often a picture is more like whom it was asked for than like one of the others."""
    known = strangers["other"][:STRANGERS].astype(np.float32)
    known /= np.linalg.norm(known, axis=1, keepdims=True)

    def judge(shown: np.ndarray | None = None, **asked) -> float:
        shown = strangers["shown"] if shown is None else shown
        cosines = np.empty((STRANGERS, STRANGERS))
        for i in range(STRANGERS):
            keypoints, box = strangers["keypoints"][i], strangers["boxes"][i]
            face = Face(shown[i].astype(np.float32), keypoints, box)
            request = Request(
                people=[Person(references=[face])], prompt="a photo of a person", seed=1, **asked
            )
            [picture] = engine.generate(request).images
            cosines[i] = known @ recognise(picture, keypoints.astype(np.float32))
        others = cosines[~np.eye(STRANGERS, dtype=bool)].reshape(STRANGERS, -1)
        return float((cosines.diagonal()[:, None] > others).mean())

    return judge


@pytest.fixture(scope="module")
def by_default(judged):
    return judged()


def test_strangers_are_recognised_at_default_settings(by_default):
    assert by_default > 0.93


def test_without_both_strengths_nobody_is(judged):
    assert judged(identity_strength=0, adapter_strength=0) < 0.62


def test_with_the_next_ones_face_they_are_not(judged, by_default, strangers):
    assert judged(np.roll(strangers["shown"][:STRANGERS], 1, axis=0)) < min(0.7, by_default - 0.1)


def test_less_strength_is_less_likeness(judged, by_default):
    assert judged(identity_strength=0.2, adapter_strength=0.2) < by_default - 0.05


def test_a_style_picture_changes_the_colours_and_not_the_person(engine, judged, strangers):
    """An orange one and a grey one, of nobody: colours follow, likeness stays."""
    orange, grey = (Image.effect_noise((128, 128), 60).convert("RGB") for _ in range(2))
    orange = Image.blend(orange, Image.new("RGB", orange.size, (255, 120, 0)), 0.7)
    chroma = {}
    for name, picture in (("orange", orange), ("grey", grey)):
        face = Face(
            strangers["shown"][0].astype(np.float32), strangers["keypoints"][0], strangers["boxes"][0]
        )
        people = [Person(references=[face])]
        request = Request(prompt="a photo of a person", people=people, style_image=picture, seed=1)
        red, _, blue = np.moveaxis(np.asarray(engine.generate(request).images[0]).astype(float), -1, 0)
        chroma[name] = (red - blue).mean()
    assert chroma["orange"] > chroma["grey"] + 15
    assert judged(style_image=orange) > 0.87


@pytest.mark.parametrize(
    ("control", "measure", "most"), [("canny", line_error, 0.6), ("depth", depth_error, 0.7)]
)
def test_maps_lead_the_picture(engine, control, measure, most):
    """Of pictures that were not trained on: nearer than without, with the same face there."""
    annotators, errors, pixel = (
        Annotators(engine.bundle),
        {True: [], False: []},
        engine.bundle.defaults.map_pixel,
    )
    assert len(RENDERED) == 4
    for path in RENDERED:
        request = Request(people=[Person(references=[path])], pose_image=path, prompt="a photo", seed=1)
        led = engine.generate(request.replace(controls={control: Control(strength=1.0)}))
        wanted = np.asarray(led.control_maps[control])
        for picture, is_led in ((led.images[0], True), (engine.generate(request).images[0], False)):
            found = in_blocks(picture, pixel, lambda coarse: annotators.draw(control, coarse, Control()))
            errors[is_led].append(measure(np.asarray(found), wanted))
    assert np.mean(errors[True]) < most * np.mean(errors[False]), errors


def test_a_skeleton_is_read_and_heard(engine):
    request = Request(
        people=[Person(references=[RENDERED[0]])], pose_image=RENDERED[1], prompt="a photo", seed=1
    )
    result = engine.generate(request.replace(controls={"pose": Control(strength=1.0)}))
    assert np.asarray(result.control_maps["pose"]).any(), "somebody was seen"
    assert result.images[0].tobytes() != engine.generate(request).images[0].tobytes()


def test_words_that_it_never_met_or_hardly_follows_are_told(engine, strangers):
    face = Face(strangers["shown"][0].astype(np.float32), strangers["keypoints"][0], strangers["boxes"][0])
    request = Request(people=[Person(references=[face])], prompt="a woman with a zebra", seed=1, steps=1)
    [note] = engine.generate(request).notes
    assert "never met “zebra”" in note and "woman" not in note
    [note] = engine.generate(request.replace(prompt="a smiling woman in a park, oil painting")).notes
    assert "knows “smiling”, but hardly" in note, "places it paints"
    in_park = request.replace(prompt="a woman in a park")
    assert engine.generate(in_park).notes == []
    faint = [style for style, lost in engine.bundle.trained.words_faint.items() if "places" in lost]
    assert "Watercolor" not in faint, "where the page begins"
    assert engine.generate(in_park.replace(style="Watercolor")).notes == []
    [note] = engine.generate(in_park.replace(style=faint[0])).notes
    assert f"“park” faintly in the style {faint[0]}" in note and "without it" in note
    [both] = engine.generate(request.replace(prompt="a smiling woman in a park", style=faint[0])).notes
    assert "“smiling”, but hardly" in both and "“park” faintly" in both
    assert engine.generate(request.replace(prompt="a woman, oil painting", style=faint[0])).notes == []


@pytest.fixture(scope="module")
def painted(engine, strangers):
    """What is asked for → the mean of some pictures, (s, s, 3)."""

    def painted(words: str, style: str | None = None) -> np.ndarray:
        made = []
        for number in range(4):
            face = Face(
                *(strangers[name][number].astype(np.float32) for name in ("shown", "keypoints", "boxes"))
            )
            request = Request(
                people=[Person(references=[face])], prompt=f"a person, {words}", style=style, seed=number
            )
            made.append(np.asarray(engine.generate(request).images[0], np.float32))
        return np.mean(made, axis=0)

    return painted


def corners(picture):
    """The mean colour of both upper ones, where no face is."""
    side = len(picture) // 6
    return (picture[4:side, 4:side].mean(axis=(0, 1)) + picture[4:side, -side:-4].mean(axis=(0, 1))) / 2


def crown(picture):
    """The mean colour above the middle of faces, where hair is."""
    side = len(picture) // 6
    return picture[4:side, 2 * side : -2 * side].mean(axis=(0, 1))


def greenness(colour):
    return 2 * colour[1] - colour[0] - colour[2]


def test_words_choose_where_somebody_is(painted):
    garden, snow, sunset, night = (
        corners(painted(words)) for words in ("in a garden", "in the snow", "at sunset", "at night")
    )
    assert greenness(garden) > greenness(snow) + 40, "with the sky above it"
    assert sunset[0] > sunset[2] + 25, "red rather than blue"
    assert snow.mean() > garden.mean() + 20 and snow.mean() > night.mean() + 80


def test_words_choose_hair(painted):
    blonde, black, red = (crown(painted(f"with long {colour} hair")) for colour in ("blonde", "black", "red"))
    assert blonde.mean() > black.mean() + 60
    assert red[0] > red[2] + 60 and red[1] < blonde[1] - 30


def test_in_the_style_that_the_page_begins_with_words_choose_something_too(painted):
    garden, snow, night = (
        corners(painted(words, "Watercolor")) for words in ("in a garden", "in the snow", "at night")
    )
    assert greenness(garden) > greenness(snow) + 30
    assert snow.mean() > night.mean() + 60
    blonde, black = (crown(painted(f"with {colour} hair", "Watercolor")) for colour in ("blonde", "black"))
    assert blonde.mean() > black.mean() + 60
