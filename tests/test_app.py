"""The app as it is started: one process for all of this module, on a free port of this machine."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import gradio_client
import httpx
import psutil
import pytest
from gradio.components.image_editor import EditorData
from gradio.data_classes import FileData
from PIL import Image
from test_faces import opencv_folder as opencv_folder

from instantid import bundles, metadata, mini
from instantid.styles import DEFAULT_NEGATIVE_PROMPT

ROOT = Path(__file__).parents[1]
FACE = ROOT / "assets" / "examples" / "grace-hopper.jpg"


@dataclass
class Started:
    """The app as soon as it answered. `first_run`: what a run that was asked for at that moment reported."""

    address: str
    wall: float
    processor: float
    log: Path
    first_run: list[str]


@pytest.fixture(scope="module")
def app(opencv_folder, tmp_path_factory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("app")
    untrained = mini.build(folder / "mini", faces={"kind": "opencv", "path": str(opencv_folder.resolve())})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"XDG_CACHE_HOME": str(folder), "GRADIO_TEMP_DIR": str(folder / "gradio")}
    environment |= {"HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1"}
    command = [sys.executable, "app.py", "--bundle", str(untrained), "--device", "cpu", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        while not answers(address):
            assert process.poll() is None and time.monotonic() < start + 90, (folder / "log").read_text()
            time.sleep(0.05)
        wall, used = time.monotonic() - start, psutil.Process(process.pid).cpu_times()
        first_run = run_from_the_page(address)
        yield Started(address, wall, used.user + used.system, folder / "log", first_run)
    finally:
        process.kill()
        process.wait(20)


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def run_from_the_page(address: str) -> list[str]:
    """Press Generate as the page does, with the form as it stands and one photo; each message of the run."""
    with httpx.Client(base_url=f"{address}/gradio_api", timeout=90) as browser:
        config = httpx.get(f"{address}/config").raise_for_status().json()
        with FACE.open("rb") as photo:
            [path] = browser.post("/upload", files={"files": photo}).raise_for_status().json()
        values = {part["id"]: part["props"].get("value") for part in config["components"]}
        labels = {part["id"]: part["props"].get("label") for part in config["components"]}
        [run] = [event for event in config["dependencies"] if event["api_name"] == "run_form"]
        file = {"path": path, "orig_name": FACE.name, "meta": {"_type": "gradio.FileData"}}
        given = {"Face photos": [{"image": file, "caption": None}], "Steps": 2}
        assert set(given) <= set(labels.values()), labels
        data = [given.get(labels[i], values[i]) for i in run["inputs"]]
        session = {"session_hash": "first", "fn_index": run["id"], "data": data, "trigger_id": None}
        browser.post("/queue/join", json=session).raise_for_status()
        with browser.stream("GET", "/queue/data", params={"session_hash": "first"}) as stream:
            messages = []
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    messages.append(line)
                    if json.loads(line.removeprefix("data:"))["msg"] in {"process_completed", "close_stream"}:
                        return messages
    raise AssertionError(f"The run never ended: {messages}")


def test_the_page_answers_within_seconds_of_starting(app):
    print(f"The page answered after {app.wall:.1f} s, of which {app.processor:.1f} s on a processor.")
    # Where many share the processors, only the second figure tells something.
    assert app.processor < 15
    assert app.wall < 60


@pytest.mark.parametrize(
    ("words", "environment", "whose"),
    [
        ([], {}, True),
        (["--host", "127.0.0.1"], {}, True),
        (["--host", "0.0.0.0"], {}, False),
        (["--host", "192.168.1.7"], {}, False),
        ([], {"GRADIO_SERVER_NAME": "0.0.0.0"}, False),
        ([], {"GRADIO_SHARE": "True"}, False),
        (["--share"], {}, False),
        ([], {"SPACE_ID": "somebody/studio"}, False),
    ],
)
def test_only_who_sits_at_the_machine_may_name_its_files(monkeypatch, words, environment, whose):
    import app

    for name in ("GRADIO_SERVER_NAME", "GRADIO_SHARE", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["app.py", *words])
    assert app.only_here(app.read_options()) is whose


@pytest.mark.parametrize(
    ("name", "words", "first", "strength"),
    [("mini", "", (), 1.0), ("sdxl", DEFAULT_NEGATIVE_PROMPT, ("pose",), 0.4)],
)
def test_a_small_bundle_begins_without_what_it_makes_little_of(name, words, first, strength):
    from app import make_studio

    options = SimpleNamespace(people=None, history=None, host=None, share=False)
    standby = SimpleNamespace(stream_several=None)
    studio = make_studio(standby, bundles.open_bundle(name), {}, "as asked for", None, options)
    assert studio.default_negative == words and (studio.first_controls, studio.control_strength) == (
        first,
        strength,
    )


def test_no_upload_starts_another_program(tmp_path, monkeypatch):
    """Pillow opens EPS with Ghostscript, and Gradio opens with Pillow what is uploaded as the mask's picture."""
    from PIL import EpsImagePlugin

    from instantid.ui.start_group import build_start

    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    ran = tmp_path / "ran"
    gs = tmp_path / "gs"
    gs.write_text(f"#!/bin/sh\ntouch {ran}\n")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    eps = tmp_path / "mask.png"
    eps.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n")
    with gr.Blocks():
        mask = build_start()[0]["repaint_mask"]
    with pytest.raises(Exception, match="Ghostscript"):
        mask.preprocess(EditorData(background=FileData(path=str(eps)), layers=[], composite=None))
    assert not ran.exists()


def test_the_page_names_its_bundle_and_serves_its_form(app):
    page = httpx.get(app.address).text
    assert "InstantID Studio" in page and "untrained" in page


def test_a_run_asked_for_while_the_model_loads_says_so_and_then_finishes(app):
    loading = [i for i, message in enumerate(app.first_run) if "Loading the model" in message]
    last = json.loads(app.first_run[-1].removeprefix("data:"))
    assert loading and max(loading) < len(app.first_run) - 1
    assert last["msg"] == "process_completed" and last["success"], last
    assert any("instantid-" in message and ".png" in message for message in app.first_run)


def test_the_public_call_gives_a_picture_that_carries_its_request(app):
    client = gradio_client.Client(app.address, verbose=False)
    pictures, seed = client.predict(
        people=[gradio_client.handle_file(FACE)],
        prompt="an admiral",
        steps=2,
        seed=5,
        randomise=False,
        api_name="/generate",
    )
    record = metadata.read(Path(pictures[0]["image"]))
    assert (seed, record.settings["seed"], record.settings["prompt"]) == (5, 5, "an admiral")
    assert record.bundle["untrained"] and record.settings["steps"] == 2


def test_a_photo_without_a_face_is_told_and_the_app_goes_on(app, tmp_path):
    Image.new("RGB", (300, 300), "grey").save(tmp_path / "grey.png")
    client = gradio_client.Client(app.address, verbose=False)
    for _ in range(2):
        with pytest.raises(Exception, match="no face to be found"):
            client.predict(people=[gradio_client.handle_file(tmp_path / "grey.png")], api_name="/generate")


def test_the_log_holds_no_traces(app):
    assert "Traceback" not in app.log.read_text()


def test_help_names_every_flag():
    run = subprocess.run(
        [sys.executable, "app.py", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    for flag in (
        "--bundle",
        "--fetch",
        "--device",
        "--placement",
        "--at-once",
        "--styles",
        "--host",
        "--port",
    ):
        assert flag in run.stdout
