"""The page without a browser: the form's keys and values, a run's updates, and the public call."""

from contextlib import closing
from pathlib import Path

import gradio as gr
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from instantid.errors import Cancelled, InvalidRequest, NoFaceFound
from instantid.request import Photo, Request, Result, Step
from instantid.styles import NO_STYLE, Style
from instantid.ui import build_ui, launch_options
from instantid.ui.form import read_request
from instantid.ui.inputs import build_inputs
from instantid.ui.photos import notice
from instantid.ui.problems import BUG, shown_on_page
from instantid.ui.results import build_results, captions, progress_line
from instantid.ui.updates import page_updates
from instantid.ui.words import CHOSEN_SIZE, FOLLOW_PHOTO, LABELS
from tests.fake_engine import FakeEngine, draw_photo, fake_studio


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "face.png"
    draw_photo().save(path)
    return path


def form_of(studio):
    with gr.Blocks():
        return build_inputs(studio), build_results()


def values_of(studio, photo, **changes):
    """What the untouched form holds, with one photo in it."""
    inputs, _ = form_of(studio)
    values = {name: component.value for name, component in (inputs.fields | inputs.own).items()}
    galleries = {"people": [(str(photo), None)], "pose_image": None, "style_image": None}
    return values | galleries | changes


def test_every_field_of_the_request_has_one_component_and_a_label():
    inputs, _ = form_of(fake_studio(FakeEngine()))
    assert set(inputs.fields) == set(Request.model_fields)
    assert set(LABELS) == set(Request.model_fields)


def test_every_visible_control_has_a_label_and_says_what_it_does():
    page = build_ui(fake_studio(FakeEngine()))
    asking = (gr.Slider, gr.Textbox, gr.Number, gr.Dropdown, gr.Checkbox, gr.CheckboxGroup, gr.Radio)
    found = [block for block in page.blocks.values() if isinstance(block, asking) and block.visible]
    assert len(found) > 12
    unexplained = [block.label for block in found if block.parent and not (block.label and block.info)]
    assert unexplained == []


def test_the_untouched_form_is_the_reference_demo_on_the_bundles_defaults(photo):
    request = read_request(values_of(fake_studio(FakeEngine()), photo))
    assert request.style == "Watercolor"
    assert (request.identity_strength, request.adapter_strength, request.face_region) == (0.8, 0.8, True)
    assert request.controls == {"pose": 0.4}
    assert request.seed is None  # randomised
    assert (request.steps, request.guidance_scale, request.scheduler) == (4, 5.0, "Euler")
    assert request.negative_prompt == "low quality, watermark"
    assert (request.width, request.height) == (None, None)


def test_a_bundle_without_pose_or_watercolor_starts_from_what_it_has(photo):
    studio = fake_studio(FakeEngine(), controls=("canny",), styles={}, schedulers=("LCM",))
    request = read_request(values_of(studio, photo))
    assert (request.controls, request.style, request.scheduler) == ({}, None, "LCM")


def test_size_and_seed_are_taken_only_when_chosen(photo):
    studio = fake_studio(FakeEngine())
    chosen = {"width": 512, "height": 640, "seed": 7, "style": NO_STYLE}
    ignored = read_request(values_of(studio, photo, **chosen))
    taken = read_request(values_of(studio, photo, **chosen, size=CHOSEN_SIZE, randomise=False))
    assert (ignored.width, ignored.height, ignored.seed) == (None, None, None)
    assert (taken.width, taken.height, taken.seed, taken.style) == (512, 640, 7, None)


def test_the_chosen_face_goes_with_its_photo(photo):
    values = values_of(fake_studio(FakeEngine()), photo, faces={str(photo): 2})
    values["pose_image"] = [(str(photo.with_name("pose.png")), None)]
    request = read_request(values)
    assert request.people[0].references == (Photo(image=photo, face=2),)
    assert request.pose_image.face == 1


def test_a_form_without_a_photo_asks_for_one(photo):
    with pytest.raises(InvalidRequest, match="no face photo yet"):
        read_request(values_of(fake_studio(FakeEngine()), photo, people=None))


def test_a_side_that_is_no_multiple_of_eight_is_named(photo):
    values = values_of(fake_studio(FakeEngine()), photo, size=CHOSEN_SIZE, width=513)
    with pytest.raises(InvalidRequest, match=r"width.*513"):
        read_request(values)


def test_a_run_shows_steps_then_pictures_with_seed_likeness_and_maps(photo):
    studio = fake_studio(FakeEngine(), untrained=True)
    inputs, results = form_of(studio)
    values = values_of(studio, photo, randomise=False, images=2)
    updates = list(page_updates(studio, values, inputs, results))
    assert "Step 1 of 4" in updates[0][results.status]
    assert "left" not in updates[0][results.status] and "left" in updates[1][results.status]
    assert updates[-1][results.seeds] == [42, 43]
    assert updates[-1][inputs.fields["seed"]] == 42
    pictures = updates[-1][results.gallery]["value"]
    shown = [caption for _, caption in pictures]
    assert shown == [
        "seed 42 · likeness 0.71 · untrained weights",
        "seed 43 · no face found in it · untrained weights",
    ]
    assert [name for _, name in updates[-1][results.maps]] == ["keypoints", "canny"]


def test_the_files_are_there_while_gradio_copies_them_and_gone_after(photo):
    studio = fake_studio(FakeEngine())
    inputs, results = form_of(studio)
    for update in page_updates(studio, values_of(studio, photo), inputs, results):
        if results.download in update:
            file = Path(update[results.download])
            assert Image.open(file).text["seed"] == str(update[results.seeds][0])
    assert not file.exists()


def test_a_failed_run_gives_the_page_back_before_it_raises(tmp_path):
    grey = tmp_path / "grey.png"
    Image.new("RGB", (64, 64), "grey").save(grey)
    studio = fake_studio(FakeEngine())
    inputs, results = form_of(studio)
    updates = []
    with pytest.raises(NoFaceFound):
        for update in page_updates(studio, values_of(studio, grey), inputs, results):
            updates.append(update)
    assert updates[-1][inputs.generate]["interactive"] is True
    assert "No face found" in updates[-1][results.status]


def test_closing_a_run_closes_the_engines_generator(photo):
    engine = FakeEngine(held=True)
    studio = fake_studio(engine)
    inputs, results = form_of(studio)
    with closing(page_updates(studio, values_of(studio, photo), inputs, results)) as updates:
        next(updates)
        assert not engine.closed.is_set()
    assert engine.closed.is_set()


def test_time_left_does_not_count_the_wait_before_the_first_step(photo, monkeypatch):
    now = 0.0

    def run(request):
        nonlocal now
        for step, then in (
            (Step(0, 1, None, "Loading the model"), 0.0),
            (Step(0, 4, None, "Reading the photos"), 600.0),
            (Step(1, 4, None), 602.0),
        ):
            now = then
            yield step

    monkeypatch.setattr("instantid.ui.updates.time.monotonic", lambda: now)
    studio = fake_studio(FakeEngine(), generate=run)
    inputs, results = form_of(studio)
    updates = list(page_updates(studio, values_of(studio, photo), inputs, results))
    assert "6.0 s left" in updates[-1][results.status]


def test_time_left_is_whole_seconds_and_minutes():
    assert "9.5 s left" in progress_line(Step(1, 3, None), 9.5)
    assert "2 min 05 s left" in progress_line(Step(1, 3, None), 125)


def test_likeness_is_left_out_where_the_bundle_has_no_face_model():
    result = Result(images=[Image.new("RGB", (8, 8))], seed=5, request=None, timings={})
    assert captions(result, fake_studio(FakeEngine())) == ["seed 5"]


def test_names_of_uploaded_files_are_not_read_as_html():
    assert "<b>" not in notice("<b>.png")


def test_a_problem_keeps_its_words_and_a_bug_keeps_its_traceback_to_the_log(caplog):
    with pytest.raises(gr.Error, match="on request"), shown_on_page():
        raise Cancelled("Stopped on request.")
    assert caplog.records == []
    with pytest.raises(gr.Error) as shown, shown_on_page():
        raise KeyError("secret detail")
    assert shown.value.message == BUG
    assert "secret detail" in caplog.text


def test_what_the_host_says_is_passed_on(caplog):
    with pytest.raises(gr.Error, match="quota is used up"), shown_on_page():
        raise gr.Error("Your quota is used up.")
    assert caplog.records == []


def test_only_the_files_shown_may_be_fetched_from_the_server(tmp_path):
    previewed = Style(name="Gouache", family="Mine", prompt="{prompt}", preview=tmp_path / "gouache.jpg")
    studio = fake_studio(FakeEngine(), styles={"Gouache": previewed})
    assert launch_options(studio)["allowed_paths"] == [str((tmp_path / "gouache.jpg").resolve())]


@pytest.fixture(scope="module")
def served():
    engine = FakeEngine()
    studio = fake_studio(engine)
    page = build_ui(studio)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options(studio))
    yield engine, Client(url, verbose=False)
    page.close()


def test_the_public_call_takes_a_photo_and_returns_pictures_and_the_seed(served, photo):
    engine, client = served
    pictures, seed = client.predict(
        people=[handle_file(photo)], prompt="a man", seed=11, randomise=False, images=2, api_name="/generate"
    )
    assert seed == 11
    assert [Image.open(entry["image"]).text["seed"] for entry in pictures] == ["11", "12"]
    assert engine.requests[-1].prompt == "a man"
    assert engine.requests[-1].style == "Watercolor"  # left out: the page's own


def test_the_public_call_says_what_is_wrong(served, tmp_path):
    _, client = served
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    with pytest.raises(AppError, match=r"broken\.png"):
        client.predict(people=[handle_file(broken)], api_name="/generate")
    with pytest.raises(AppError, match="no face photo yet"):
        client.predict(people=[], api_name="/generate")


def test_the_api_page_lists_only_generate_with_the_requests_own_names(served):
    _, client = served
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == ["/generate"]
    names = [parameter["parameter_name"] for parameter in endpoints["/generate"]["parameters"]]
    own = {"randomise", "size", "pose_strength", "canny_strength", "depth_strength"}
    assert set(names) == set(Request.model_fields) - {"style_image", "style_strength"} | own
    required = [
        p["parameter_name"] for p in endpoints["/generate"]["parameters"] if not p["parameter_has_default"]
    ]
    assert required == ["people"]


def test_follow_the_photo_is_where_the_size_starts():
    inputs, _ = form_of(fake_studio(FakeEngine()))
    assert inputs.own["size"].value == FOLLOW_PHOTO
