import re
from dataclasses import replace

import pytest
from PIL import Image
from portraits import opencv_folder as opencv_folder
from portraits import portrait_bundle as portrait_bundle
from portraits import portrait_engine as portrait_engine

from instantid import metadata, trial
from instantid.bundles import Trained
from instantid.engine import Engine
from instantid.errors import NoFaceFound, OutOfMemory
from instantid.recipes import RECIPES
from instantid.trial import MODES, Mode


@pytest.fixture
def engine(tiny, face, monkeypatch) -> Engine:
    """To be broken. Its one person is a ready face, which spares finding it over and over."""
    monkeypatch.setattr(trial, "FACE", face)
    return Engine.load(tiny, device="cpu")


@pytest.fixture
def few_modes(monkeypatch):
    monkeypatch.setattr(trial, "MODES", MODES[:1])


def problems(outcomes) -> dict[str, list[str]]:
    return {outcome.mode: outcome.problems for outcome in outcomes if outcome.problems}


def test_every_mode_runs_and_is_on_the_page(portrait_engine, tmp_path):
    lines = []
    outcomes = trial.run(portrait_engine, tmp_path / "trial", lines.append)
    assert problems(outcomes) == {}
    tried = {outcome.mode for outcome in outcomes}
    # weights that the tiny bundle lacks
    absent = {"pose photo and pose", "pose photo and depth", "IP-Adapter FaceID", *RECIPES}
    assert {mode.name for mode in MODES} - tried == absent
    assert len(tried) == len(outcomes) == len(MODES) - len(absent) + 2 == len(lines)
    assert all(line.startswith("ok ") for line in lines)
    page = (tmp_path / "trial" / "index.html").read_text(encoding="utf-8")
    assert "all as expected" in page and "Untrained weights" in page
    pictures = re.findall(r'src="([^"]+)"', page)
    assert len(pictures) == len(set(pictures)) >= 2 * len(outcomes)
    for name in pictures:
        Image.open(tmp_path / "trial" / name).verify()
    assert metadata.read(tmp_path / "trial" / "00-0.png").settings["seed"] == 42


def test_sizes_follow_the_bundle_s_own(portrait_engine):
    assert trial._sized(portrait_engine, {"width": 192, "height": -192}) == {"width": 96, "height": 64}
    assert trial._sized(portrait_engine, {"steps": 5}) == {"steps": 5}


def test_an_engine_that_keeps_a_strength_is_caught(engine, tmp_path, monkeypatch):
    real = Engine.generate

    def leaky(self, request, on_step=None):
        result = real(self, request, on_step)
        if request.adapter_strength == 0:  # the image adapter stays off
            for name, weight in self._models.pipeline.unet.named_parameters():
                if "to_k_ip" in name or "to_v_ip" in name:
                    weight.data.zero_()
        return result

    monkeypatch.setattr(Engine, "generate", leaky)
    monkeypatch.setattr(
        trial, "MODES", [mode for mode in MODES if mode.name in {"defaults", "IdentityNet only"}]
    )
    told = problems(trial.run(engine, tmp_path, lambda line: None))
    assert told["defaults again, after all others"] == ["the same request no longer gives the same picture"]
    assert "all as expected" not in (tmp_path / "index.html").read_text()


def test_a_cancelled_run_that_leaves_something_behind_is_caught(engine, tmp_path, monkeypatch, few_modes):
    real = Engine.generate

    def leaky(self, request, on_step=None):
        if on_step is not None:
            self._models.pipeline.unet.conv_in.weight.data.mul_(1.5)
        return real(self, request, on_step)

    monkeypatch.setattr(Engine, "generate", leaky)
    assert problems(trial.run(engine, tmp_path, lambda line: None)) == {
        "defaults, after cancelling a run": ["the picture changed after a cancelled run"]
    }


def test_an_engine_that_cannot_be_cancelled_is_caught(engine, tmp_path, monkeypatch, few_modes):
    real = Engine.generate
    monkeypatch.setattr(Engine, "generate", lambda self, request, on_step=None: real(self, request))
    assert problems(trial.run(engine, tmp_path, lambda line: None)) == {
        "defaults, after cancelling a run": ["the run was not cancelled"]
    }


@pytest.mark.parametrize("colour", ["black", "grey"])
def test_pictures_of_one_colour_are_caught(engine, tmp_path, monkeypatch, few_modes, colour):
    real = Engine.generate

    def flat(self, request, on_step=None):
        result = real(self, request, on_step)
        return replace(result, images=[Image.new("RGB", image.size, colour) for image in result.images])

    monkeypatch.setattr(Engine, "generate", flat)
    lines = []
    told = problems(trial.run(engine, tmp_path, lines.append))
    assert set(map(tuple, told.values())) == {("image 1 is of one flat colour",)} and len(told) == 3
    assert all(line.startswith("BAD") for line in lines)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OutOfMemory("No room."), "No room."),
        (NoFaceFound("None."), "None."),
        (KeyError("x"), "KeyError('x')"),
    ],
)
def test_a_mode_that_fails_is_told_and_the_others_are_still_tried(engine, tmp_path, monkeypatch, error, told):
    real = Engine.generate

    def broken(self, request, on_step=None):
        if request.style == "Watercolor":
            raise error
        return real(self, request, on_step)

    monkeypatch.setattr(Engine, "generate", broken)
    names = {"defaults", "style Watercolor", "style Film Noir"}
    monkeypatch.setattr(trial, "MODES", [mode for mode in MODES if mode.name in names])
    outcomes = trial.run(engine, tmp_path, lambda line: None)
    assert problems(outcomes) == {"style Watercolor": [told]} and len(outcomes) == 5
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "1 of 5 not as expected" in page and "<h2>style Film Noir</h2>" in page


@pytest.mark.parametrize("error", [OutOfMemory("No room."), RuntimeError("no kernel")])
def test_where_nothing_works_there_is_still_a_page(engine, tmp_path, monkeypatch, few_modes, error):
    def broken(self, request, on_step=None):
        raise error

    monkeypatch.setattr(Engine, "generate", broken)
    outcomes = trial.run(engine, tmp_path, lambda line: None)
    assert all(outcome.problems for outcome in outcomes) and len(outcomes) == 3
    assert str(error) in (tmp_path / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("likeness", "told"),
    [
        ([0.9], []),
        ([0.79], ["likeness 0.79 is not within 0.80…1.00"]),
        ([None], ["no face found in the result"]),
        (None, []),
    ],
    ids=str,
)
def test_trained_weights_are_judged_by_likeness(engine, tmp_path, monkeypatch, likeness, told):
    real = Engine.generate
    monkeypatch.setattr(
        Engine,
        "generate",
        lambda self, request, on_step=None: replace(real(self, request), likeness=likeness),
    )
    engine.bundle = engine.bundle.model_copy(update={"untrained": False})
    base = trial.Request(people=[trial.Person(references=[trial.FACE])])
    assert trial._try(engine, Mode("defaults", {}, (0.8, 1.0)), base).problems == told
    assert trial._try(engine, Mode("IdentityNet only", {}, None), base).problems == []
    small = Trained(
        on="renders", hours=1, hardware="CPU", command="train", date="2026-11-24", commit="0123abc"
    )
    engine.bundle = engine.bundle.model_copy(
        update={"trained": small}
    )  # no model of that size reaches these figures
    assert trial._try(engine, Mode("defaults", {}, (0.8, 1.0)), base).problems == []
    assert "look-alike, not you" in trial._page(engine, [], tmp_path)
