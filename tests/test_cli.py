import json
import os
import re
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import typer
from photos import ASTRONAUT, GRACE_HOPPER, NO_PEOPLE
from PIL import Image
from portraits import opencv_folder as opencv_folder
from portraits import portrait_bundle as portrait_bundle
from portraits import portrait_engine as portrait_engine
from standin_hub import serve
from typer.testing import CliRunner, Result

from instantid import bundles, cli, doctor, hosting, library, metadata, trial
from instantid.cli import settings
from instantid.cli.options import of_field
from instantid.errors import InstantIDError
from instantid.faces import ATTEMPTS
from instantid.request import Control, Lora, Person, Photo, Place, RecipeName, Request, Step
from instantid.request import Result as Made
from instantid.trial import Outcome

ROOT = Path(__file__).parents[1]


def run(*words: object, answer: str | None = None, **options) -> Result:
    return CliRunner().invoke(cli.app, [str(word) for word in words], input=answer, **options)


@pytest.fixture
def generate(portrait_bundle, tmp_path):
    """`generate("--seed", 3)` on the tiny bundle, with a face unless one is given."""

    def call(*words: object, bundle: object = portrait_bundle) -> Result:
        words = (*words, "--bundle", bundle) if bundle else words
        if "--face" not in words:
            words = ("--face", ASTRONAUT, *words)
        if "--out" not in words:
            words = (*words, "--out", tmp_path / "out.png")
        return run("generate", "--device", "cpu", *words)

    call.bundle = portrait_bundle
    return call


@pytest.fixture
def loaded(portrait_engine, monkeypatch):
    """The tiny bundle's engine, loaded once for many commands."""
    monkeypatch.setattr(hosting, "load_engine", lambda *args, **kwargs: portrait_engine)


@pytest.fixture
def nothing_loads(monkeypatch):
    def load(*args, **kwargs):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(hosting, "load_engine", load)


def refusal(result: Result) -> str:
    """The one line of a refusal."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("Error: "), result.stderr
    assert "Traceback" not in result.output and result.stdout == ""
    return lines[0]


# generate


def test_a_picture_is_made_as_asked_and_says_how(generate, tmp_path):
    out = tmp_path / "a [red] picture.png"
    result = generate(
        *("--prompt", "a king", "--pose", GRACE_HOPPER, "--style", "Film Noir", "--control", "canny=0.4"),
        *("--negative", "blurry", "--seed", 7, "--steps", 2, "--cfg", 3, "--scheduler", "UniPC"),
        *("--identity-strength", 0.7, "--adapter-strength", 0.6, "--no-face-region", "--out", out),
    )
    assert result.exit_code == 0, result.output
    assert f"Wrote {out}: seed 7, no face found in it" in result.stderr
    assert "these weights are untrained" in result.stderr
    assert result.stdout == ""
    settings = metadata.read(out).settings
    wanted = {
        **{"prompt": "a king", "negative_prompt": "blurry", "style": "Film Noir"},
        **{"seed": 7, "steps": 2, "guidance_scale": 3.0, "scheduler": "UniPC", "face_region": False},
        **{"identity_strength": 0.7, "adapter_strength": 0.6, "images": 1},
    }
    assert {name: settings[name] for name in wanted} == wanted
    assert settings["controls"]["canny"]["strength"] == 0.4
    with Image.open(GRACE_HOPPER) as pose, Image.open(out) as picture:
        assert picture.width / picture.height == pytest.approx(pose.width / pose.height, rel=0.1)


class FakeEngine:
    """Notes what it is asked, and paints it grey."""

    name = "fake"  # of its bundle

    def __init__(self):
        self.requests: list[Request] = []

    def stream(self, request: Request):
        request = request.replace(seed=request.seed or 1, width=64, height=64)
        self.requests.append(request)
        yield Step(0, 1, None, "Reading the photos")
        bundle = {"name": self.name, "untrained": False, "device": "cpu", "dtype": "float32"}
        pictures = [Image.new("RGB", (64, 64), "grey")] * request.images
        notes = ["Nobody was [found]."]
        timings = {"total": 0.0}
        yield Made(
            images=pictures, seed=request.seed, request=request, timings=timings, bundle=bundle, notes=notes
        )

    def stream_several(self, requests):
        for request in requests:
            yield from self.stream(request)


@pytest.fixture
def fake(monkeypatch) -> FakeEngine:
    engine = FakeEngine()
    engine.loaded = []

    def load(opened, **options):
        engine.loaded.append(options)
        return engine

    monkeypatch.setattr(hosting, "load_engine", load)
    return engine


@pytest.fixture
def photos(tmp_path) -> dict[str, Path]:
    names = ("a", "b", "c", "region", "pose", "style", "layout", "start", "mask", "skeleton")
    paths = {name: tmp_path / f"{name}.png" for name in names}
    for path in paths.values():
        Image.new("RGB", (64, 64), "grey").save(path)
    return paths


def test_every_field_of_a_request_is_reached(generate, fake, photos, tmp_path, monkeypatch):
    looked_up = []
    monkeypatch.setattr(library.Library, "find", lambda self, kind, source: looked_up.append((kind, source)))
    result = generate(
        *("--face", photos["a"], "--face", photos["b"], "--face-number", 2, "--region1", photos["region"]),
        *(
            "--view",
            "profile left",
            "--place1",
            "0.3,0.4,0.35",
            "--keypoints",
            ".1,.2;.3,.2;.2,.3;.1,.4;.3,.4",
        ),
        *("--identity-strength1", 0.3, "--adapter-strength1", 1.1, "--face2", photos["c"], "--view2", "up"),
        *(
            "--adapter-strength2",
            0.9,
            "--prompt",
            "two kings",
            "--negative",
            "blurry",
            "--style",
            "Film Noir",
        ),
        *(
            "--seed",
            7,
            "--steps",
            5,
            "--cfg",
            3,
            "--scheduler",
            "Heun",
            "--recipe",
            "lightning-4",
            "--images",
            2,
        ),
        *("--identity-strength", 0.7, "--adapter-strength", 0.6, "--no-face-region"),
        *("--pose", photos["pose"], "--pose-face-number", 3, "--control", "pose=0.5:0.1-0.6"),
        *("--map", f"pose={photos['skeleton']}", "--control", "canny=0.3", "--canny", "80,160"),
        *("--style-image", photos["style"], "--style-strength", 0.5, "--style-mode", "layout"),
        *("--layout-image", photos["layout"], "--style-content", "a cat", "--style-content-strength", 0.25),
        *("--start", photos["start"], "--start-strength", 0.1, "--repaint", "mask", "--mask", photos["mask"]),
        *("--upscale", 1.5, "--upscale-strength", 0.2, "--upscale-by", "latents"),
        *(
            "--face-detail",
            "--face-detail-strength",
            0.3,
            "--lora",
            "film=-0.5",
            "--lora",
            "who/what/x.safetensors",
        ),
        *("--lora", "odd=name", "--embedding", "bad-hands", "--base", "realvis", "--vae", "sharp"),
        *("--cfg-rescale", 0.7, "--negative-noise", 0.35, "--perturbed-negative", 0.1, "--off-size"),
        *("--width", 64, "--height", 64, "--models", tmp_path, "--models", photos["a"].parent),
    )
    assert result.exit_code == 0, result.output
    assert "Note: Nobody was [found]." in result.stderr
    expected = Request(
        people=[
            Person(
                references=[Photo(image=photos["a"], face=2), Photo(image=photos["b"], face=2)],
                region=photos["region"],
                view="profile left",
                place=Place(x=0.3, y=0.4, size=0.35),
                keypoints=[(0.1, 0.2), (0.3, 0.2), (0.2, 0.3), (0.1, 0.4), (0.3, 0.4)],
                identity_strength=0.3,
                adapter_strength=1.1,
            ),
            Person(references=[photos["c"]], view="up", adapter_strength=0.9),
        ],
        prompt="two kings",
        negative_prompt="blurry",
        style="Film Noir",
        seed=7,
        steps=5,
        guidance_scale=3.0,
        scheduler="Heun",
        recipe="Lightning, 4 steps",
        images=2,
        identity_strength=0.7,
        adapter_strength=0.6,
        face_region=False,
        pose_image=Photo(image=photos["pose"], face=3),
        controls={
            "pose": Control(strength=0.5, start=0.1, end=0.6, map=photos["skeleton"]),
            "canny": Control(strength=0.3, low=80, high=160),
        },
        style_image=photos["style"],
        style_strength=0.5,
        style_mode="layout",
        layout_image=photos["layout"],
        style_content="a cat",
        style_content_strength=0.25,
        start_image=photos["start"],
        start_strength=0.1,
        repaint="mask",
        repaint_mask=photos["mask"],
        upscale=1.5,
        upscale_strength=0.2,
        upscale_by="latents",
        face_detail=True,
        face_detail_strength=0.3,
        loras=[Lora(source="film", strength=-0.5), "who/what/x.safetensors", "odd=name"],
        textual_inversions=["bad-hands"],
        base="realvis",
        vae="sharp",
        cfg_rescale=0.7,
        negative_noise=0.35,
        perturbed_negative=0.1,
        off_size=True,
        width=64,
        height=64,
    )
    assert fake.requests == [expected]
    untold = {
        name for name, field in Request.model_fields.items() if getattr(expected, name) == field.default
    }
    assert untold == {"free_pose", "faceid_strength"}, "an option is missing above"
    assert fake.loaded[0]["models"] == [tmp_path, tmp_path]
    assert looked_up == [
        *(
            ("checkpoints", "realvis"),
            ("vaes", "sharp"),
            ("loras", "film"),
            ("loras", "who/what/x.safetensors"),
        ),
        *(("loras", "odd=name"), ("embeddings", "bad-hands")),
    ]


FAMILIES = {
    "several people": ("--face2", GRACE_HOPPER, "--view2", "profile left", "--place2", "0.75,0.4,0.3"),
    "place": ("--view", "three-quarter right", "--place", "0.4,0.5,0.4"),
    "keypoints": ("--keypoints", "0.3,0.4;0.6,0.4;0.45,0.5;0.32,0.6;0.58,0.6"),
    "free pose": ("--free-pose",),
    "start": ("--start", ASTRONAUT, "--start-strength", 0.5),
    "face swap": ("--start", GRACE_HOPPER, "--repaint", "face"),
    "upscale": ("--upscale", 1.5, "--upscale-strength", 0.5),
    "face detail": ("--face-detail", "--face-detail-strength", 0.5),
    "remedies": ("--cfg-rescale", 0.7, "--negative-noise", 0.35, "--perturbed-negative", 0.2, "--off-size"),
    "control": ("--pose", ASTRONAUT, "--control", "canny=0.5:0-0.6", "--canny", "50,100"),
    "ready map": ("--control", "canny=0.5", "--map", f"canny={GRACE_HOPPER}"),
    "style picture": (
        "--style-image",
        GRACE_HOPPER,
        "--style-mode",
        "whole image",
        "--style-content",
        "a hat",
    ),
}
PICTURE_FLAGS = {"--face2", "--pose", "--start", "--map", "--style-image"}


@pytest.mark.parametrize("words", FAMILIES.values(), ids=FAMILIES)
def test_each_kind_of_picture_is_made_and_repeated_to_the_pixel(generate, loaded, tmp_path, words):
    plain, first, second = (tmp_path / f"{i}.png" for i in range(3))
    common = ("--seed", 3, "--steps", 2, "--prompt", "a king", "--width", 64, "--height", 64)
    assert generate(*common, "--out", plain).exit_code == 0
    made = generate(*common, *words, "--out", first)
    assert made.exit_code == 0, made.output
    assert pixels(first) != pixels(plain)
    pictures = [word for pair in pairwise(words) if pair[0] in PICTURE_FLAGS for word in pair]
    again = generate("--from", first, *pictures, "--out", second)
    assert again.exit_code == 0 and "differ" not in again.stderr, again.output
    assert pixels(second) == pixels(first)


def test_a_single_person_may_go_without_a_pose_and_by_faceid(generate, fake):
    assert generate("--free-pose", "--faceid-strength", 0.7).exit_code == 0
    assert (fake.requests[0].free_pose, fake.requests[0].faceid_strength) == (True, 0.7)


@pytest.mark.parametrize("recipe", get_args(RecipeName))
def test_recipes_go_by_their_names_and_by_short_ones(generate, fake, recipe):
    short = next(short for short, name in settings.RECIPES.items() if name == recipe)
    for word in (recipe, short, short.upper()):
        assert generate("--recipe", word, "--overwrite").exit_code == 0
    assert {request.recipe for request in fake.requests} == {recipe}


@pytest.mark.parametrize("name", ["identity_strength", "faceid_strength", "guidance_scale"])
def test_the_option_of_a_number_wants_one_and_tells_its_limits(name):
    option = of_field(name, "Some")
    assert option.kind is float and " From 0 to " in option.help


def test_what_is_not_given_stays_at_the_request_s_defaults(generate, fake):
    assert generate("--seed", 42).exit_code == 0
    request = fake.requests[0]
    differing = {
        name
        for name, field in Request.model_fields.items()
        if getattr(request, name) != (field.default_factory() if field.default_factory else field.default)
    }
    assert differing == {"people", "width", "height"}  # the fake engine fills in the size


def test_without_a_face_nothing_is_made(nothing_loads):
    assert "give a photo of their face" in refusal(run("generate", "--prompt", "x")).lower()


def test_several_people_are_repeated_from_their_file(generate, fake, photos, tmp_path):
    first = tmp_path / "1.png"
    words = ("--face", photos["a"], "--face2", photos["b"], "--region2", photos["region"])
    maps = ("--map", f"pose={photos['skeleton']}")
    assert generate(*words, *maps, "--view2", "up", "--control", "canny=0.3", "--out", first).exit_code == 0
    again = generate(
        "--from", first, *words, *maps, "--control", "canny=0.5", "--out", tmp_path / "2.png", bundle=None
    )
    assert "bundle called “fake”" in refusal(again)
    again = generate("--from", first, *words, *maps, "--control", "canny=0.5", "--out", tmp_path / "2.png")
    assert again.exit_code == 0 and "differ" not in again.stderr, again.output
    one, two = fake.requests
    assert two == one.replace(controls=one.controls | {"canny": Control(strength=0.5)})
    missing = generate("--from", first, "--face", photos["a"], "--out", tmp_path / "3.png")
    told = refusal(missing)
    assert "face photo of person 2, " in told and "region of person 2" in told and "ready pose map" in told


def test_without_a_seed_a_random_one_is_taken_and_told(generate, tmp_path):
    told = [re.search(r"seed (\d+)", generate("--steps", 1, "--overwrite").stderr)[1] for _ in range(2)]
    assert told[0] != told[1]
    assert metadata.read(tmp_path / "out.png").settings["seed"] == int(told[1])


def test_several_pictures_are_numbered(generate, tmp_path):
    result = generate("--images", 2, "--seed", 5, "--steps", 1)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["out-1.png", "out-2.png"]
    assert [metadata.read(tmp_path / f"out-{i}.png").settings["seed"] for i in (1, 2)] == [5, 6]


def test_a_picture_is_repeated_to_the_pixel_and_another_photo_told(generate, tmp_path):
    first, second, third, fourth = (tmp_path / f"{i}.png" for i in range(4))
    generate("--prompt", "a “king”", "--style", "Watercolor", "--steps", 2, "--out", first)
    result = generate("--from", first, "--out", second)
    assert result.exit_code == 0 and "differ" not in result.stderr, result.output
    assert pixels(second) == pixels(first)
    result = generate("--from", first, "--face", GRACE_HOPPER, "--out", third)
    assert "Note: The face photo is not the one that the picture was made from." in result.stderr
    assert result.exit_code == 0 and pixels(third) != pixels(first)
    generate("--from", first, "--prompt", "a queen", "--out", fourth)
    assert metadata.read(fourth).settings == metadata.read(first).settings | {"prompt": "a queen"}


def pixels(path: Path) -> bytes:
    with Image.open(path) as picture:
        return picture.tobytes()


@pytest.mark.parametrize("bundle", ["sdxl", "sdxl:realvisxl", "sdxl+union"])
def test_a_repeated_picture_asks_for_the_bundle_it_was_made_with(
    generate, fake, portrait_bundle, tmp_path, monkeypatch, bundle
):
    asked = []
    fake.name = bundle

    def open_bundle(name):
        asked.append(name)
        return bundles.open_bundle(portrait_bundle)

    monkeypatch.setattr(hosting, "open_bundle", open_bundle)
    assert generate("--steps", 1, "--out", tmp_path / "1.png", bundle=None).exit_code == 0
    assert generate("--from", tmp_path / "1.png", "--out", tmp_path / "2.png", bundle=None).exit_code == 0
    assert asked == ["mini", bundle]


def test_small_weights_say_what_they_are_before_the_picture(
    generate, fake, portrait_bundle, tmp_path, monkeypatch
):
    card = {
        "on": "renders",
        "hours": 9,
        "hardware": "CPU",
        "command": "train",
        "date": "2026-11-24",
        "commit": "0123",
    }
    trained = {"untrained": False, "trained": bundles.Trained(**card)}
    small = bundles.open_bundle(portrait_bundle).model_copy(update=trained)
    monkeypatch.setattr(hosting, "open_bundle", lambda name: small)
    told = generate("--out", tmp_path / "1.png").stderr
    note, wrote = told.index("Note: portraits is a small model"), told.index("Wrote ")
    assert note < wrote and "untrained" not in told


def test_a_picture_chooses_no_folder_to_load_from(generate, tmp_path, monkeypatch):
    generate("--steps", 1, "--out", tmp_path / "1.png")
    monkeypatch.setattr(hosting, "open_bundle", lambda name: pytest.fail(f"{name} was opened"))
    told = refusal(generate("--from", tmp_path / "1.png", "--out", tmp_path / "2.png", bundle=None))
    assert "“portraits”" in told and "--bundle" in told


def test_a_repetition_with_another_bundle_says_so(generate, portrait_bundle, tmp_path, monkeypatch):
    generate("--steps", 1, "--out", tmp_path / "1.png")
    other = bundles.open_bundle(portrait_bundle).model_copy(update={"name": "other"})
    monkeypatch.setattr(hosting, "open_bundle", lambda name: other)
    result = generate("--from", tmp_path / "1.png", "--out", tmp_path / "2.png")
    assert "made with portraits cpu float32; this one with other cpu float32" in result.stderr


def test_a_photo_without_a_face_says_what_was_tried(generate, tmp_path):
    told = refusal(generate("--face", NO_PEOPLE[0]))
    assert f"“{NO_PEOPLE[0].name}”" in told and "What works" in told
    assert len(re.findall(r"pixels", told)) >= len(ATTEMPTS)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--out", "out.jpg"), "--out must end in .png"),
        (("--out", "nowhere/out.png"), "There is no folder nowhere"),
        (("--out", "taken.png"), "taken.png exists. Choose another --out, or add --overwrite"),
        (("--out", "many.png", "--images", 2), "many-2.png exists"),
        (("--control", "canny"), "such as canny=0.4 or pose=0.5:0-0.6; got 'canny'"),
        (("--control", "canny=much"), "got 'canny=much'"),
        (("--control", "canny=nan"), "controls.canny.strength: Input"),
        (("--control", "canny=9"), "strength: Input should be less than or equal to 1.5 (got 9.0)"),
        (("--control", "[red]=0.4"), "no control “[red]”: take one of pose, canny, depth"),
        (("--scheduler", "Eular"), "scheduler: Input should be 'Euler'"),
        (("--style", "Watercolour"), "no style “Watercolour”. Did you mean “Watercolor”"),
        (("--steps", 0), "steps: Input should be greater than or equal to 1 (got 0)"),
        (("--seed", -1), "seed: "),
        (("--seed", 2**31), "seed: "),
        (("--cfg", 21), "guidance_scale: "),
        (("--identity-strength", 1.6), "identity_strength: "),
        (("--width", 100), "width: Input should be a multiple of 8"),
        (("--images", 17), "images: "),
        (("--face-number", 0), "face: "),
        (("--face", "nobody.jpg"), "There is no file nobody.jpg"),
        (("--pose", "taken.png"), "“taken.png” is an empty file"),
        (("--region", "taken.png"), "“taken.png” is an empty file"),
        (("--control", "pose=0.5:0.6"), "got 'pose=0.5:0.6'"),
        (("--control", "pose=0.5:0.6-0.2"), "start 0.6 must come before end 0.2"),
        (("--map", "pose"), "such as pose=skeleton.png; got 'pose'"),
        (("--map", "canny=taken.png"), "“taken.png” is an empty file"),
        (("--canny", "200"), "two whole numbers, such as 100,200; got '200'"),
        (("--canny", "200,100"), "low 200 must not be above high 100"),
        (("--recipe", "lightning-5"), "recipe: Input should be 'LCM, 4 steps'"),
        (("--lora", "film=3"), "strength: Input should be less than or equal to 2 (got 3.0)"),
        (("--view", "back"), "view: Input should be 'front'"),
        (("--place", "0.5"), "--place wants x,y,size"),
        (("--place", "0.5,1.5"), "y: Input should be less than or equal to 1 (got 1.5)"),
        (("--keypoints", "0.1,0.2;0.3,0.4"), "--keypoints wants five"),
        (("--keypoints", "a,b;1,1;1,1;1,1;1,1"), "--keypoints wants five"),
        (("--pose-face-number", 2), "goes with --pose"),
        (("--face3", ASTRONAUT), "no face of person 2: give --face2"),
        (("--view2", "up"), "no face of person 2: give --face2"),
        (("--mask", ASTRONAUT), "go together"),
        (("--repaint", "face"), "needs a start_image"),
        (("--lora", "film=0.5"), "There is no lora “film”"),
        (("--base", "taken.png"), "taken.png"),
        (("--models", "nowhere"), "There is no folder nowhere"),
        (("--person", "ada"), "Name the folder as --people-folder"),
        (("--from", "nothing.png"), "There is no file nothing.png"),
        (("--from", ASTRONAUT), "carries no request"),
    ],
    ids=lambda value: " ".join(map(str, value))[-30:] if isinstance(value, tuple) else "",
)
def test_what_cannot_work_is_refused_in_one_line_before_a_model_is_loaded(
    generate, tmp_path, monkeypatch, nothing_loads, words, told
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.png").touch()
    (tmp_path / "many-2.png").touch()
    assert told in refusal(generate(*words))


@pytest.mark.parametrize(
    ("bundle", "told"),
    [("sdxk", "no bundle “sdxk”. There are: sdxl, "), ("sdxl:nobody", "has no base “nobody”")],
)
def test_an_unknown_bundle_is_refused_before_a_model_is_loaded(generate, nothing_loads, bundle, told):
    assert told in refusal(generate(bundle=bundle))
    assert told in refusal(run("fetch", "--bundle", bundle))
    assert told in refusal(run("doctor", "--bundle", bundle))


def test_weights_that_are_not_here_come_with_their_fetch_command_in_one_piece(
    generate, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    told = refusal(generate(bundle="sdxl"))
    assert "Run: python -m instantid fetch --bundle sdxl --part base" in told


def test_a_device_placement_that_does_not_exist_is_refused(generate):
    assert "no placement 'attic'" in refusal(generate("--placement", "attic"))


def test_pressing_ctrl_c_ends_without_a_trace(generate, monkeypatch):
    def load(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(hosting, "load_engine", load)
    result = generate()
    assert (result.exit_code, result.stderr.strip().splitlines()[-1]) == (130, "Stopped.")


def test_a_bug_is_not_passed_off_as_the_user_s(generate, monkeypatch):
    def load(*args, **kwargs):
        raise KeyError("unet")

    monkeypatch.setattr(hosting, "load_engine", load)
    assert isinstance(generate().exception, KeyError)


# fetch


@pytest.fixture
def hub_bundle(tiny, tmp_path, monkeypatch):
    """A folder bundle of which one part is on a hub, and that hub."""
    header = json.dumps({"x": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}).encode()
    weights = struct.pack("<Q", len(header)) + header + bytes(64)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    folder = tmp_path / "mine"
    folder.mkdir()
    for path in tiny.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "bundle.json").unlink()
    description = json.loads((tiny / "bundle.json").read_text())
    description |= {"previewer": "who/previewer", "licences": {"previewer": "Only [on] Sundays."}}
    (folder / "bundle.json").write_text(json.dumps(description))
    real = bundles.open_bundle
    with serve() as hub:
        hub.publish("who/previewer", {"diffusion_pytorch_model.safetensors": weights, "config.json": b"{}"})
        at = bundles.Hub(endpoint=hub.endpoint, cache=tmp_path / "hub")
        monkeypatch.setattr(bundles, "open_bundle", lambda name: real(name, hub=at))
        yield folder, hub


def test_what_is_here_already_is_not_asked_about(portrait_bundle):
    result = run("fetch", "--bundle", portrait_bundle)
    assert result.exit_code == 0 and "Everything asked for is here already: base, " in result.stderr


def test_an_unknown_part_is_refused_before_any_question(portrait_bundle):
    told = refusal(run("fetch", "--bundle", portrait_bundle, "--part", "bass", answer="y\n"))
    assert "no part “bass”" in told and "Did you mean “base”?" in told


def test_the_licence_is_shown_first_and_no_fetches_nothing(hub_bundle):
    folder, hub = hub_bundle
    result = run("fetch", "--bundle", folder, "--part", "previewer", answer="n\n")
    assert result.exit_code == 1
    assert "- previewer (who/previewer): Only [on] Sundays." in result.stderr
    assert "- base" not in result.stderr  # it is here: nothing to agree to
    assert "Fetch them on these terms?" in result.stderr and hub.asked == []


@pytest.mark.parametrize("words, answer", [((), "y\n"), (("--yes",), None)])
def test_agreeing_fetches(hub_bundle, words, answer):
    folder, hub = hub_bundle
    result = run("fetch", "--bundle", folder, "--all", *words, answer=answer)
    assert result.exit_code == 0, result.output
    assert "Only [on] Sundays." in result.stderr and result.stderr.strip().endswith("Done.")
    assert hub.downloads("diffusion_pytorch_model.safetensors")
    assert bundles.open_bundle(folder).require("previewer")
    again = run("fetch", "--bundle", folder, "--part", "previewer")
    assert "here already: previewer" in again.stderr


def test_a_bundle_is_written_for_a_machine_without_a_network(hub_bundle, tmp_path):
    folder, _ = hub_bundle
    result = run("fetch", "--bundle", folder, "--all", "--yes", "--into", tmp_path / "stick")
    assert result.exit_code == 0, result.output
    assert "previewer" in result.stderr and "app.py --bundle stick" in result.stderr
    opened = bundles.open_bundle(tmp_path / "stick")
    assert all(status.present for status in opened.parts())
    assert "in use" in refusal(run("fetch", "--bundle", folder, "--into", tmp_path / "stick"))


def test_single_weights_are_fetched_from_the_hub(hub_bundle, tmp_path, monkeypatch):
    _, hub = hub_bundle
    at = bundles.Hub(endpoint=hub.endpoint, cache=tmp_path / "hub")
    monkeypatch.setattr(bundles.hub_weights, "Hub", lambda: at)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    name = "who/previewer/diffusion_pytorch_model.safetensors"
    result = run("fetch", "--weights", name, "--weights", "who/previewer")
    assert result.exit_code == 0, result.output
    assert str(bundles.find_weights(name)) in result.stderr
    assert "--part" in refusal(run("fetch", "--weights", name, "--part", "base"))


def test_nothing_is_fetched_where_nobody_can_answer(hub_bundle):
    folder, hub = hub_bundle
    assert run("fetch", "--bundle", folder, "--part", "previewer", answer="").exit_code == 1
    assert hub.asked == []


def test_a_fetch_shows_one_bar_for_each_part(hub_bundle, monkeypatch):
    folder, _ = hub_bundle
    shown = []
    monkeypatch.setattr(
        cli.fetch.Progress, "add_task", lambda self, name, total: shown.append(name) or len(shown) - 1
    )
    monkeypatch.setattr(cli.fetch.Progress, "update", lambda self, task, completed, total: None)

    def fetch(bundle, parts, on_progress):
        for done in range(5):
            on_progress("base", done, 5)
            on_progress("vae", done, 5)

    monkeypatch.setattr(bundles, "fetch", fetch)
    assert run("fetch", "--bundle", folder, "--part", "previewer", "--yes").exit_code == 0
    assert shown == ["base", "vae"]


def test_a_hub_that_refuses_is_told_in_one_line(hub_bundle):
    folder, hub = hub_bundle
    hub.refusals["who/previewer"] = (401, "GatedRepo")
    result = run("fetch", "--bundle", folder, "--part", "previewer", "--yes")
    assert result.exit_code == 1
    [told] = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert "who/previewer" in told and "Traceback" not in result.stderr


# doctor

GOOD = doctor.Finding("Python", "3.13 on [Linux]")
BAD = doctor.Finding("OpenCV", "none", False, "pip install " + "opencv-python " * 20)


@pytest.mark.parametrize(("findings", "code"), [([GOOD], 0), ([GOOD, BAD], 1)])
def test_doctor_tells_what_it_found_and_ends_accordingly(monkeypatch, findings, code):
    monkeypatch.setattr(doctor, "examine", lambda bundle, models: findings)
    result = run("doctor")
    assert result.exit_code == code
    assert "ok   Python: 3.13 on [Linux]" in result.stderr
    assert (f"repair: {BAD.repair}" in result.stderr) == (BAD in findings)  # unbroken, to be copied


@pytest.mark.parametrize(("problems", "code"), [([], 0), (["black"], 1)])
def test_a_trial_ends_by_what_it_found(monkeypatch, tmp_path, portrait_bundle, problems, code):
    monkeypatch.setattr(doctor, "examine", lambda bundle, models: [GOOD])
    monkeypatch.setattr(trial, "run", lambda engine, folder, tell: tell("ok a") or [Outcome("a", problems)])
    monkeypatch.setattr(hosting, "load_engine", lambda *args, **kwargs: None)
    result = run("doctor", "--try", "--bundle", portrait_bundle, "--out", tmp_path / "t")
    assert result.exit_code == code and f"Wrote {tmp_path / 't' / 'index.html'}" in result.stderr


def test_a_trial_that_could_not_be_written_is_refused_first(tmp_path, nothing_loads):
    (tmp_path / "t").touch()
    assert "wants a folder" in refusal(run("doctor", "--try", "--out", tmp_path / "t"))


# Help

COMMANDS = (
    *("generate", "batch", "fetch", "doctor"),
    *("people", "people save", "people list", "people export", "people import", "people delete"),
)
HELP = """
import sys
from instantid import cli
try:
    cli.app(sys.argv[1:], prog_name="instantid")
except SystemExit as end:
    slow = {"torch", "diffusers", "transformers", "gradio", "insightface"} & set(sys.modules)
    assert not slow, slow
    sys.exit(end.code)
"""


@pytest.mark.parametrize("words", [(), *(tuple(name.split()) for name in COMMANDS)], ids=" ".join)
def test_help_comes_at_once_without_the_large_libraries(words):
    run = subprocess.run(
        [sys.executable, "-c", HELP, *words, "--help"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert run.returncode == 0, run.stderr
    assert "Usage: instantid" in run.stdout and "[OPTIONS]" in run.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name):
    command = typer.main.get_command(cli.app)
    for word in name.split():
        command = command.commands[word]
    assert [option.name for option in command.params if not option.help] == []


def test_help_names_the_limits_and_choices_that_the_request_has():
    told = run("generate", "--help", terminal_width=300).output
    told = re.sub(r"[\s│]+", " ", told)
    assert "0 is off. From 0 to 1.5." in told and "One of: everything; face; mask." in told
    for heading in (*settings.PANELS, "Machine"):
        assert f"─ {heading} ─" in told


def test_every_error_a_user_can_mend_is_one_line(generate, monkeypatch):
    def load(*args, **kwargs):
        raise InstantIDError("A [bracket] and a :smile: and a very long line " + "x" * 300)

    monkeypatch.setattr(hosting, "load_engine", load)
    assert refusal(generate()).endswith("A [bracket] and a :smile: and a very long line " + "x" * 300)
