"""The whole way, on a tiny untrained bundle: pictures, measurements, report; and going on where it stopped."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from photos import ASTRONAUT, GRACE_HOPPER
from PIL import Image
from portraits import opencv_folder as opencv_folder
from portraits import portrait_bundle as portrait_bundle
from portraits import portrait_engine as portrait_engine
from test_cli import refusal, run

from instantid.controls import Annotators
from instantid.engine import Engine
from instantid.errors import InvalidRequest
from instantid.evaluation import Wanted, clip, evaluate, protocols, pulid, summary
from instantid.evaluation.protocols import (
    DEFAULT,
    LESS_CONTENT,
    NO_NET,
    OFF,
    OTHER,
    POSE_ALONE,
    PROTOCOLS,
    SEVERAL,
    STYLE,
    Plan,
)
from instantid.evaluation.sets import open_set


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two people, one with three photos."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "eileen").mkdir()
    photo = Image.open(ASTRONAUT).convert("RGB").crop((60, 0, 420, 360))
    for i in range(3):
        photo.resize((180 + 20 * i, 180 + 20 * i)).save(folder / "eileen" / f"{i}.png")
    Image.open(GRACE_HOPPER).convert("RGB").resize((256, 300)).save(folder / "grace.png")
    return folder


@pytest.fixture(scope="module")
def plan(portrait_engine, photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    people = open_set(str(photos), folder, portrait_engine.face_finder, people=5, seed=0, side=80)
    bundle = portrait_engine.bundle
    return Plan(
        bundle=bundle,
        subjects=people.subjects,
        folder=folder,
        pictures=2,
        seed=7,
        settings={"steps": 1},
        annotators=Annotators(bundle),
    )


def test_a_control_s_map_lies_where_the_face_is_asked_for(plan):
    """The bundle brings small faces closer: so does the map that is given."""
    closer = plan.bundle.defaults.model_copy(update={"least_face": 0.9})
    near = dataclasses.replace(plan, bundle=plan.bundle.model_copy(update={"defaults": closer}))
    for each in (plan, near):
        seen = np.asarray(each.control_map("canny", 0, -1))[..., 0] > 0
        assert seen.shape == each.size[::-1]
        left, top = np.floor(each.wanted(0, -1).min(axis=0)).astype(int)
        right, bottom = np.ceil(each.wanted(0, -1).max(axis=0)).astype(int)
        assert seen[top:bottom, left:right].any(), "edges of eyes and mouth"
    assert np.ptp(near.wanted(0, -1), axis=0).min() > 1.1 * np.ptp(plan.wanted(0, -1), axis=0).min()
    assert near.control_map("canny", 0, -1).tobytes() != plan.control_map("canny", 0, -1).tobytes()


WANTED = Wanted(people=2, pictures=1, clip="bundle", settings={"steps": 1})


@pytest.fixture(scope="module")
def mini_report(portrait_engine, photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("mini")
    wanted = dataclasses.replace(WANTED, set=str(photos), protocol="mini")
    return out, evaluate(portrait_engine, wanted, out)


def test_all_that_mini_is_judged_by_is_told(mini_report):
    out, told = mini_report
    judged = {(row.what, row.condition): row for row in told.rows if row.section == "Judged by"}
    wants = ("AUC", "way", "gain", "keypoint", "what the prompt", "look", "map", "seconds", "peak memory")
    for want in wants:
        assert any(want in what for what, _ in judged), want
    assert {row.condition for row in judged.values()} >= {DEFAULT, OFF, OTHER, SEVERAL, STYLE, LESS_CONTENT}
    for row in told.rows:
        assert (row.value is None) == bool(row.why), row  # a figure, or why there is none
    assert told.warnings and "untrained" in told.warnings[0]
    page = (out / "index.html").read_text()
    assert "not measured: no rendered people to train the judge" in page and page.count("data:image/jpeg") > 8


def test_what_a_bundle_lacks_is_told(mini_report):
    rows = {row.condition: row for row in mini_report[1].rows if row.why}
    assert rows["depth control"].why == "the bundle has no depth annotator"


def test_seconds_and_memory_are_measured(mini_report):
    rows = {row.what: row for row in mini_report[1].rows if row.section == "Cost"}
    assert 0 < rows["seconds per picture"].value.value < 60
    assert 0.1 < rows["peak memory, GiB (process)"].value.value < 16


def test_the_same_again_keeps_the_pictures_and_the_figures(mini_report, portrait_engine, photos, monkeypatch):
    out, told = mini_report
    monkeypatch.setattr(Engine, "stream", lambda self, request: pytest.fail("it is there already"))
    again = evaluate(portrait_engine, dataclasses.replace(WANTED, set=str(photos), protocol="mini"), out)
    assert [row.to_json() for row in again.rows] == [row.to_json() for row in told.rows]


def test_other_settings_or_weights_want_another_folder(mini_report, portrait_engine, photos, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(mini_report[0], out)
    wanted = dataclasses.replace(WANTED, set=str(photos), protocol="mini")
    with pytest.raises(InvalidRequest, match="other settings"):
        evaluate(portrait_engine, dataclasses.replace(wanted, settings={"steps": 2}), out)
    (out / "pictures" / "bundle.json").write_text(json.dumps({"name": "portraits", "weights": "older"}))
    with pytest.raises(InvalidRequest, match="before it was trained further"):
        evaluate(portrait_engine, wanted, out)


def test_strengths_are_drawn_as_curves(portrait_engine, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(protocols, "STRENGTHS", (0.0, 0.8))
    seen = []
    wanted = dataclasses.replace(WANTED, set=str(photos), protocol="strengths")
    told = evaluate(portrait_engine, wanted, tmp_path, seen.append)
    titles = ("Prompt following by strength",)
    assert all(any(title in plot for plot in told.plots) for title in titles)
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    assert stages == ["pictures", "measuring"] and seen[-1].done == seen[-1].total == 4


def test_conditions_differ_in_nothing_but_what_they_are_called_after(plan):
    trials = PROTOCOLS["default"](plan).trials
    assert len(trials) == 2 * 2 * 2 * 2  # conditions, people, prompts, pictures
    pairs = {(trial.subject, *trial.key): trial for trial in trials if trial.condition == OFF}
    for trial in (each for each in trials if each.condition == DEFAULT):
        other = pairs[trial.subject, *trial.key]
        changed = {name for name, value in trial.request if value != getattr(other.request, name)}
        assert changed <= {"identity_strength", "adapter_strength", "people"}
        assert other.request.people[0].keypoints == trial.request.people[0].keypoints


def test_somebody_else_s_face_goes_where_the_own_one_would(plan):
    trials = PROTOCOLS["mini"](plan).trials
    [own, *_] = [trial for trial in trials if trial.condition == DEFAULT and trial.subject == 0]
    [other, *_] = [trial for trial in trials if trial.condition == OTHER and trial.subject == 0]
    assert other.given == 1 and other.request.people[0].references == plan.subjects[1].references
    assert other.request.people[0].keypoints == own.request.people[0].keypoints
    assert np.allclose(own.keypoints / 80, own.request.people[0].keypoints, atol=1e-5)


def test_the_pose_is_not_the_reference_s(plan):
    [trial, *_] = PROTOCOLS["default"](plan).trials
    who = plan.subjects[0]
    assert len(who.photos) == 3 and who.photos[-1] not in who.references
    assert trial.request.people[0].references == who.photos[:1]


def test_a_bundle_without_a_style_adapter_goes_without(plan):
    bare = dataclasses.replace(
        plan, bundle=plan.bundle.model_copy(update={"style_adapter": None, "controlnets": {}})
    )
    planned = PROTOCOLS["mini"](bare)
    assert planned.missing[STYLE] == planned.missing[LESS_CONTENT] == "the bundle has no style adapter"
    assert planned.missing["canny control"] == "the bundle has no canny ControlNet"
    assert (
        planned.missing[POSE_ALONE] == planned.missing["pose control"] == "the bundle has no pose ControlNet"
    )
    assert not {STYLE, LESS_CONTENT, "canny control"} & {trial.condition for trial in planned.trials}


def test_a_pose_is_judged_where_no_keypoints_tell_the_same(plan, monkeypatch):
    monkeypatch.setattr(protocols, "controls_of", lambda bundle: ("pose",))
    monkeypatch.setattr(protocols, "_missing", lambda plan: {})
    monkeypatch.setattr(Plan, "control_map", lambda *_: Image.new("RGB", (80, 80)))
    trials = PROTOCOLS["mini"](plan).trials
    alone, without, both = (
        next(trial.request for trial in trials if trial.condition == condition)
        for condition in (POSE_ALONE, NO_NET, "pose control")
    )
    assert {name for name, value in alone if value != getattr(without, name)} == {"controls"}
    assert {name for name, value in alone if value != getattr(both, name)} == {"identity_strength"}
    assert alone.identity_strength == 0


def test_one_person_alone_has_nobody_else(plan):
    planned = PROTOCOLS["mini"](dataclasses.replace(plan, subjects=plan.subjects[1:]))
    assert planned.missing[OTHER] == "there is one person in the set"
    assert planned.missing[SEVERAL] == "nobody in the set has three photos"


def test_pulid_s_protocol_is_pulid_s(plan):
    trials = PROTOCOLS["pulid"](plan).trials
    own = [trial for trial in trials if trial.condition != OFF and trial.subject == 0]
    assert len(pulid.PROMPTS) == 20 and len(own) == 21 * 4
    assert all(trial.request.identity_strength == 0.8 for trial in own)
    assert len([trial for trial in trials if trial.condition == OFF]) == 20 * 4  # once for everybody


def test_a_bundle_s_own_clip_sees_pictures_and_words(portrait_engine):
    own = clip.open_clip("bundle", portrait_engine.bundle)
    pictures = own.embed_pictures([Image.new("RGB", (80, 60), colour) for colour in ("red", "blue", "red")])
    words = own.embed_words(["a man", "a woman in the street " * 40])
    assert pictures.shape[1] == words.shape[1] and np.allclose(np.linalg.norm(words, axis=1), 1)
    assert (
        np.allclose(clip.clip_i(pictures[:1], pictures[2:]), 1)
        and clip.clip_i(pictures[:1], pictures[1:2]) < 0.9999
    )
    assert clip.clip_t(pictures[:2], words).shape == (2,)
    assert "portraits" in own.name


def test_a_published_clip_is_read_from_a_folder(tmp_path):
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    from instantid.mini_tokenizer import build_tokenizer

    tokenizer = build_tokenizer(pad="!")
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    vision = small | {"image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(tmp_path)
    CLIPProcessor(CLIPImageProcessor(size=32, crop_size=32), tokenizer).save_pretrained(tmp_path)
    own = clip.PublishedClip(str(tmp_path))
    assert own.embed_pictures([Image.new("RGB", (50, 40))]).shape == (1, 8)
    assert np.allclose(np.linalg.norm(own.embed_words(["a man", "a very old woman"]), axis=1), 1)


def test_without_any_clip_the_reason_is_told(portrait_engine):
    bare = portrait_engine.bundle.model_copy(update={"image_encoder": None})
    with pytest.raises(InvalidRequest, match="has no image encoder"):
        clip.open_clip("bundle", bare)


def test_a_bundle_without_a_face_model_is_refused(tiny, photos, tmp_path):
    from instantid.errors import BundleError

    with pytest.raises(BundleError, match="no face model"):
        evaluate(Engine.load(tiny, device="cpu"), dataclasses.replace(WANTED, set=str(photos)), tmp_path)


def test_an_unknown_protocol_is_refused(portrait_engine, tmp_path):
    with pytest.raises(InvalidRequest, match="There are: default, strengths, pulid, mini"):
        evaluate(portrait_engine, dataclasses.replace(WANTED, protocol="lpips"), tmp_path)


def test_the_command_writes_a_report(portrait_bundle, photos, tmp_path):
    words = ("--bundle", portrait_bundle, "--device", "cpu", "--set", photos, "--people", 1, "--pictures", 1)
    done = run("evaluate", *words, "--steps", 1, "--clip", "bundle", "--out", tmp_path / "report")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "report" / "index.html").is_file() and "report.md" in done.stderr


def test_the_command_refuses_what_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file" in refusal(run("evaluate", "--out", tmp_path / "file"))
    assert "no recipe" in refusal(run("evaluate", "--out", tmp_path / "new", "--recipe", "warp"))


def test_what_leaks_is_told_from_how_little_a_picture_is_styled():
    """Without the content a picture is nearer to every photo, and still less like the one under its style picture."""
    photos, shown = np.eye(4), [1, 2, 3, 0]
    pictures = {STYLE: 0.5 * photos[shown], LESS_CONTENT: 0.1 * photos[shown] + 0.6}
    rows = {STYLE: np.arange(4), LESS_CONTENT: np.arange(4, 8)}
    observed = SimpleNamespace(
        clip=np.concatenate([*pictures.values()]),
        made=[SimpleNamespace(trial=SimpleNamespace(style_of=other)) for other in shown * 2],
        of=rows.get,
        subjects=lambda which: which % 4,
    )
    told = SimpleNamespace(
        clip="CLIP", photos={"CLIP": photos}, last_photos=lambda: np.arange(4), observed=observed, missing={}
    )
    row = summary._leak(told)
    assert row.value.value == pytest.approx(-0.4) and row.goal.met(row.value)
