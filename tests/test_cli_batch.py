import json
from pathlib import Path

import pytest
from photos import ASTRONAUT, GRACE_HOPPER
from PIL import Image
from portraits import opencv_folder as opencv_folder
from portraits import portrait_bundle as portrait_bundle
from portraits import portrait_engine as portrait_engine
from test_cli import fake as fake
from test_cli import loaded as loaded
from test_cli import nothing_loads as nothing_loads
from test_cli import refusal, run

from instantid.errors import NoFaceFound
from instantid.people import Photo, Place
from instantid.request import Control


@pytest.fixture
def faces(tmp_path) -> Path:
    folder = tmp_path / "faces"
    folder.mkdir()
    for name, path in (("eileen", ASTRONAUT), ("grace", GRACE_HOPPER)):
        Image.open(path).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def batch(faces, portrait_bundle, tmp_path):
    def call(*words: object):
        common = ("--faces", faces, "--out", tmp_path / "out", "--bundle", portrait_bundle, "--device", "cpu")
        return run("batch", *common, *words)

    return call


def test_a_folder_of_faces_is_made_with_every_prompt_and_style_and_goes_on(batch, loaded, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("# one\n{name} in the rain\n")
    words = ("--prompts", prompts, "--style", "Film Noir", "--style", "Watercolor", "--steps", 1, "--seed", 5)
    first = batch(*words)
    assert first.exit_code == 0, first.output
    made = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert len(made) == 4 and made[0] == "eileen_01_Film-Noir_5.png"
    assert "4 pictures of 2 people." in first.stderr and "Done: 4 made." in first.stderr
    again = batch(*words)
    assert "Done: 4 kept." in again.stderr
    changed = batch(*words, "--cfg", 3)
    assert changed.exit_code == 1
    assert "Done: 4 differs." in changed.stderr and "add --again" in changed.stderr
    assert "Done: 4 made." in batch(*words, "--cfg", 3, "--again").stderr


def test_the_options_of_generate_are_everybody_s(batch, fake, faces, tmp_path):
    Image.open(ASTRONAUT).save(tmp_path / "pose.png")
    result = batch(
        *("--prompt", "a king", "--prompt", "a queen", "--images", 2, "--seed", 7),
        *("--pose", tmp_path / "pose.png", "--control", "canny=0.4", "--view", "up", "--place", "0.5,0.5"),
        *("--recipe", "lcm-4", "--upscale", 1.5, "--negative", "blurry", "--identity-strength", 0.5),
    )
    assert result.exit_code == 0, result.output
    assert len(fake.requests) == 8
    assert [request.seed for request in fake.requests[:2]] == [7, 8]
    assert {request.prompt for request in fake.requests} == {"a king", "a queen"}
    request = fake.requests[0]
    assert request.people[0].references == (Photo(image=faces / "eileen.png"),)
    assert (request.people[0].view, request.people[0].place) == ("up", Place(x=0.5, y=0.5))
    assert request.pose_image == Photo(image=tmp_path / "pose.png")
    assert request.controls == {"canny": Control(strength=0.4)}
    assert (request.recipe, request.upscale, request.identity_strength) == ("LCM, 4 steps", 1.5, 0.5)


def test_a_picture_that_fails_is_listed_at_the_end(batch, fake, tmp_path, monkeypatch):
    paint = fake.stream

    def stream(request):
        if "eileen" in str(request.people[0].references[0].image):
            raise NoFaceFound("There is [nobody].")
        yield from paint(request)

    monkeypatch.setattr(fake, "stream", stream)
    result = batch("--prompt", "x")
    assert result.exit_code == 1
    assert "Done: 1 made, 1 failed." in result.stderr
    assert result.stderr.strip().endswith("Note: eileen_01_no-style_42.png: There is [nobody].")
    rows = json.loads((tmp_path / "out" / "batch.json").read_text())
    assert [row["status"] for row in rows] == ["failed", "made"]


def test_seeds_are_made_together_as_many_at_once_as_is_said(batch, fake, monkeypatch):
    together, alone = [], fake.stream

    def several(requests):
        together.append([request.seed for request in requests])
        for request in requests:
            yield from alone(request)

    monkeypatch.setattr(fake, "stream_several", several)
    result = batch("--prompt", "x", "--prompt", "y", "--images", 3, "--seed", 7, "--at-once", 2)
    assert result.exit_code == 0, result.output
    assert together == [[7, 8, 9]] * 4, "two people, two prompts"
    assert fake.loaded[0]["at_once"] == 2
    assert result.stderr.count("Nobody was [found].") == 1, "what is true of all is told once"
    assert batch("--prompt", "x", "--at-once", 17).exit_code == 2


def test_ctrl_c_stops_and_the_same_command_goes_on(batch, fake, tmp_path, monkeypatch):
    paint = fake.stream

    def stream(request):
        if len(fake.requests) == 1:
            raise KeyboardInterrupt
        yield from paint(request)

    monkeypatch.setattr(fake, "stream", stream)
    stopped = batch("--prompt", "x")
    assert (stopped.exit_code, stopped.stderr.strip().splitlines()[-1]) == (130, "Stopped.")
    monkeypatch.setattr(fake, "stream", paint)
    assert "Done: 1 made, 1 kept." in batch("--prompt", "x").stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "What is to be shown?"),
        (("--prompts", "nothing.txt"), "nothing.txt cannot be read"),
        (("--prompt", "x", "--faces", "nowhere"), "There is no folder nowhere"),
        (("--prompt", "x", "--style", "Watercolour"), "Did you mean “Watercolor”"),
        (("--prompt", "x", "--style", "Watercolor", "--style", "Watercolor"), "would both be called"),
        (("--prompt", "x", "--steps", 0), "steps: "),
        (("--prompt", "x", "--pose", "nobody.jpg"), "There is no file nobody.jpg"),
        (("--prompt", "x", "--lora", "film"), "There is no lora “film”"),
        (("--prompt", "x", "--seed", 2**31), "seed: "),
    ],
    ids=lambda value: " ".join(map(str, value))[-25:] if isinstance(value, tuple) else "",
)
def test_what_cannot_work_is_refused_in_one_line_before_a_model_is_loaded(batch, nothing_loads, words, told):
    assert told in refusal(batch(*words))


def test_what_is_one_person_s_is_no_option_of_a_batch():
    for flag in ("--face", "--person", "--face2", "--view2", "--identity-strength1"):
        assert run("batch", "--faces", ".", "--out", ".", "--prompt", "x", flag, "1").exit_code == 2
