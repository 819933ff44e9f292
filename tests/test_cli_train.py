"""`python -m instantid train`: a command for each stage, data made ready, pauses, and errors in words."""

import json
import os
import signal

import photos as real
import pytest
from small_family import make_bundle, make_prepared
from typer.testing import CliRunner

from instantid import bundles
from instantid.cli import app
from instantid.cli import train as commands
from instantid.training import checkpoints, family, loop, runs
from instantid.training.prepared import Prepared


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"), people=12)


@pytest.fixture
def run_file(prepared, tmp_path):
    bundle = make_bundle(tmp_path / "start", prepared)
    file = tmp_path / "run.yaml"
    settings = {"steps": 4, "batch": 2, "warmup": 0, "sheet_every": 0, "device": "cpu", "log_every": 1}
    content = {
        "bundle": str(bundle),
        "data": str(prepared.folder),
        "out": str(tmp_path / "run"),
        "held_out": 8,
    }
    file.write_text(json.dumps(content | {"settings": settings}))  # JSON is YAML
    return file


def run(*words):
    return CliRunner().invoke(app, ["train", *map(str, words)])


def test_every_stage_has_its_command():
    assert set(commands.STAGES) == set(runs.STAGES)
    told = run("--help").output
    assert all(name in told for name in (*runs.STAGES, "prepare", "latents"))


def test_a_run_is_trained_and_tells_where_its_bundle_is(run_file, tmp_path):
    result = run("base", run_file, "--set", "settings.steps=2")
    assert result.exit_code == 0, result.output
    assert "base 2/2" in result.output and "run/bundle" in result.output.replace("\n", "")
    assert bundles.open_bundle(tmp_path / "run" / "bundle").present("base")


def test_ctrl_c_pauses_after_the_step_and_the_same_command_goes_on(run_file, tmp_path, monkeypatch):
    one, interrupted, before = loop._one, [], signal.getsignal(signal.SIGINT)

    def interrupt(*arguments):
        if not interrupted:
            interrupted.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return one(*arguments)

    monkeypatch.setattr(loop, "_one", interrupt)
    result = run("base", run_file)
    assert result.exit_code == 130 and "the same command goes on" in result.output
    assert checkpoints.steps_done(tmp_path / "run") == 1
    assert signal.getsignal(signal.SIGINT) is before
    assert run("base", run_file).exit_code == 0
    assert checkpoints.steps_done(tmp_path / "run") == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--set", "settings.steps"), "--set wants NAME=VALUE"),
        (("--set", "settings.steps=[1"), "no value that YAML knows"),
        (("--set", "settings.stepps=1"), "settings.stepps"),
        (("--set", "options.colour=red"), "colour"),
        (("--set", "bundle=nowhere"), "There is no bundle"),
        (("--set", "held_out=100"), "none is left to learn from"),
    ],
)
def test_what_is_wrong_is_said_in_words(run_file, words, told):
    result = run("base", run_file, *words)
    assert result.exit_code == 1 and told in result.output.replace("\n", " "), result.output
    assert "Traceback" not in result.output


def test_photos_are_prepared_and_encoded(tmp_path, prepared):
    source, out = tmp_path / "photos", tmp_path / "out"
    source.mkdir()
    (source / "a.png").write_bytes(real.ASTRONAUT.read_bytes())
    (source / "b.png").write_bytes(b"nothing")
    result = run("prepare", source, out, "--size", 64, "--bundle", "mini")
    assert result.exit_code == 0, result.output
    assert "a folder of photos: 2 pictures" in result.output and "Kept 1 of 2" in result.output
    bundle = make_bundle(tmp_path / "bundle", prepared)
    result = run("latents", out, bundle, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert Prepared(out).latents([0]).shape == (1, 4, 8, 8)


def test_a_plan_that_is_paused_early_says_that_there_is_nothing_to_pack(tmp_path, monkeypatch):
    monkeypatch.setattr(family, "train_family", lambda *told, **how: None)
    paused = run("mini", tmp_path / "work", "--pack", tmp_path / "packed")
    assert paused.exit_code == 0, paused.output
    assert "Paused" in paused.output and "identity stage" in paused.output
    assert not (tmp_path / "packed").exists()
    monkeypatch.setattr(family, "train_family", lambda *told, **how: tmp_path)
    assert run("mini", tmp_path / "work", "--pack", tmp_path / "packed").exit_code == 1
