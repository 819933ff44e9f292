"""The page without a browser: the form's keys and values, a run's updates, and the public call."""

import re
from contextlib import closing
from pathlib import Path

import gradio as gr
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from instantid.errors import Cancelled, InvalidRequest, NoFaceFound
from instantid.request import Control, Person, Photo, Request, Result, Step
from instantid.styles import NO_STYLE, Style
from instantid.ui import build_ui, launch_options
from instantid.ui.form import read_mask, read_request
from instantid.ui.inputs import build_inputs
from instantid.ui.photos import notice
from instantid.ui.problems import BUG, shown_on_page
from instantid.ui.results import build_results, captions, progress_line
from instantid.ui.updates import page_updates
from instantid.ui.words import CHOSEN_SIZE, CONTROL_LABELS, FOLLOW_PHOTO, LABELS
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
    values = {name: part.value for name, part in inputs.parts.items() if not isinstance(part, gr.Gallery)}
    galleries = {name: None for name, part in inputs.parts.items() if isinstance(part, gr.Gallery)}
    return values | galleries | {"people": box(photo)} | changes


def read(studio, photo, **changes):
    return read_request(values_of(studio, photo, **changes), studio)


def box(path):
    """What a box of photos holds."""
    return [(str(path), None)]


def test_every_field_has_a_label():
    assert set(LABELS) == set(Request.model_fields)
    assert set(CONTROL_LABELS) == set(Control.model_fields)


PAINTED = {"background": None, "layers": [Image.new("RGBA", (8, 8), (13, 148, 136, 255))], "composite": None}
# What to enter to change a field, besides the face photo; “@” stands for a photo.
ENTERED = {
    "people": {"people": "@"},
    "prompt": {"prompt": "a man"},
    "negative_prompt": {"negative_prompt": "hats"},
    "style": {"style": NO_STYLE},
    "seed": {"seed": 7, "randomise": False},
    "steps": {"steps": 9},
    "guidance_scale": {"guidance_scale": 3.0},
    "scheduler": {"scheduler": "UniPC"},
    "recipe": {"recipe": "LCM, 4 steps"},
    "identity_strength": {"identity_strength": 0.5},
    "adapter_strength": {"adapter_strength": 0.5},
    "faceid_strength": {"faceid_strength": 0.5},
    "face_region": {"face_region": False},
    "free_pose": {"free_pose": True},
    "pose_image": {"pose_image": "@"},
    "controls": {"controls": ["canny"]},
    "style_image": {"style_image": "@"},
    "style_strength": {"style_strength": 0.5},
    "style_mode": {"style_mode": "layout"},
    "layout_image": {"layout_image": "@", "style_image": "@"},
    "style_content": {"style_content": "a cat"},
    "style_content_strength": {"style_content_strength": 0.9},
    "start_image": {"start_image": "@"},
    "start_strength": {"start_strength": 0.3},
    "repaint": {"repaint": "face", "start_image": "@"},
    "repaint_mask": {"repaint": "mask", "start_image": "@", "repaint_mask": PAINTED},
    "upscale": {"upscale": 1.5},
    "upscale_strength": {"upscale_strength": 0.6},
    "upscale_by": {"upscale_by": "latents"},
    "face_detail": {"face_detail": True},
    "face_detail_strength": {"face_detail_strength": 0.7},
    "loras": {"lora_3": "watercolour"},
    "textual_inversions": {"textual_inversions": ["easynegative"]},
    "base": {"base": "realvis"},
    "vae": {"vae": "fp16-fix"},
    "cfg_rescale": {"cfg_rescale": 0.7},
    "negative_noise": {"negative_noise": 0.35},
    "perturbed_negative": {"perturbed_negative": 0.2},
    "off_size": {"off_size": True},
    "width": {"width": 512, "size": CHOSEN_SIZE},
    "height": {"height": 512, "size": CHOSEN_SIZE},
    "images": {"images": 3},
}


def test_every_field_of_the_request_can_be_entered():
    assert set(ENTERED) == set(Request.model_fields)


@pytest.mark.parametrize("field", ENTERED)
def test_what_is_entered_reaches_the_request(field, photo):
    studio = fake_studio(FakeEngine())
    untouched = values_of(studio, photo)
    entered = {name: box(photo.with_name("other.png")) if value == "@" else value
               for name, value in ENTERED[field].items()}  # fmt: skip
    assert set(entered) <= set(untouched)
    before, after = (read_request(values, studio) for values in (untouched, untouched | entered))
    assert getattr(before, field) != getattr(after, field)


def test_every_visible_control_has_a_label_and_says_what_it_does():
    page = build_ui(fake_studio(FakeEngine()))
    asking = (gr.Slider, gr.Textbox, gr.Number, gr.Dropdown, gr.Checkbox, gr.CheckboxGroup, gr.Radio)
    found = [block for block in page.blocks.values() if isinstance(block, asking) and block.visible is True]
    assert len(found) > 12
    unexplained = [block.label for block in found if block.parent and not (block.label and block.info)]
    # a person's own strengths repeat what stands above them
    assert [label for label in unexplained if not re.search(r", person [1-4]$", label or "")] == []


def test_the_untouched_form_is_the_reference_demo_on_the_bundles_defaults(photo):
    request = read(fake_studio(FakeEngine()), photo)
    assert request.style == "Watercolor"
    assert (request.identity_strength, request.adapter_strength, request.face_region) == (0.8, 0.8, True)
    assert request.controls == {"pose": Control(strength=0.4)}
    assert request.seed is None  # randomised
    assert (request.steps, request.guidance_scale, request.scheduler) == (4, 5.0, "Euler")
    assert request.negative_prompt == "low quality, watermark"
    assert (request.width, request.height) == (None, None)


def test_a_bundle_without_pose_or_watercolor_starts_from_what_it_has(photo):
    request = read(fake_studio(FakeEngine(), controls=("canny",), styles={}), photo)
    assert (request.controls, request.style) == ({}, None)


def test_the_page_starts_with_the_sampler_of_the_bundle(photo):
    own = fake_studio(FakeEngine()).defaults | {"scheduler": "LCM"}
    assert read(fake_studio(FakeEngine(), defaults=own), photo).scheduler == "LCM"


def test_the_page_starts_with_the_strengths_of_the_bundle(photo):
    own = fake_studio(FakeEngine()).defaults | {"identity_strength": 1.0, "adapter_strength": 0.6}
    studio = fake_studio(FakeEngine(), defaults=own)
    request = read(studio, photo)
    assert (request.identity_strength, request.adapter_strength) == (1.0, 0.6)
    second = read(studio, photo, people_count=2, person_2=box(photo), own_2=True).people[1]
    assert (second.identity_strength, second.adapter_strength) == (1.0, 0.6)


def test_what_the_bundle_lacks_is_neither_on_the_page_nor_asked_for(photo):
    bare = fake_studio(
        FakeEngine(),
        controls=(),
        style_reference=False,
        faceid=False,
        recipes={},
        weights=None,
        styles={},
        advise=None,
    )
    parts = form_of(bare)[0].parts
    lacking = (
        "faceid_",
        "style_",
        "layout_",
        "recipe",
        "controls",
        "pose_s",
        "canny_",
        "lora_",
        "textual",
        "base",
        "vae",
    )
    assert [name for name in parts if name.startswith(lacking)] == []
    assert read(bare, photo) == Request(
        people=(Person(references=(photo,)),),
        seed=None,
        negative_prompt="low quality, watermark",
        steps=4,
        guidance_scale=5.0,
        scheduler="Euler",
        identity_strength=0.8,
        adapter_strength=0.8,
    )


def test_a_control_whose_map_cannot_be_read_here_asks_for_a_ready_one(photo):
    studio = fake_studio(FakeEngine(), readable_controls=("canny",))
    assert read(studio, photo).controls == {}  # the reference's pose cannot be what the page starts with
    with pytest.raises(InvalidRequest, match="pose control needs a ready map"):
        read(studio, photo, controls=["pose"])
    ready = box(photo.with_name("map.png"))
    pose = read(studio, photo, controls=["pose"], pose_map=ready, pose_end=0.5).controls["pose"]
    assert (pose.map.image, pose.end) == (photo.with_name("map.png"), 0.5)


def test_only_offered_and_uploaded_weights_are_taken_but_the_owner_may_type(photo):
    typed = {"lora_1": "/models/mine.pt", "vae": "someone/vae"}
    with pytest.raises(InvalidRequest, match=r"no loras called “/models/mine.pt”"):
        read(fake_studio(FakeEngine()), photo, **typed)
    request = read(fake_studio(FakeEngine(), open_weights=True), photo, **typed)
    assert (request.loras[0].source, request.vae) == ("/models/mine.pt", "someone/vae")
    upload = {
        "weight_files": ["/tmp/up/hat.safetensors"],
        "lora_2": "hat.safetensors",
        "lora_2_strength": 0.3,
    }
    (lora,) = read(fake_studio(FakeEngine()), photo, **upload).loras
    assert (lora.source, lora.strength) == ("/tmp/up/hat.safetensors", 0.3)
    with pytest.raises(InvalidRequest, match=r"hat.ckpt.*safetensors"):
        read(fake_studio(FakeEngine()), photo, weight_files=["/tmp/up/hat.ckpt"], lora_1="hat.ckpt")


def test_a_mask_is_white_where_paint_went(photo):
    layer = Image.new("RGBA", (40, 20))
    layer.paste((13, 148, 136, 255), (10, 0, 20, 20))
    mask = read_mask({"background": None, "layers": [layer], "composite": None})
    assert (mask.size, mask.getpixel((15, 10)), mask.getpixel((5, 10))) == ((40, 20), 255, 0)
    empty = {"background": None, "layers": [Image.new("RGBA", (40, 20))], "composite": None}
    with pytest.raises(InvalidRequest, match="Nothing is painted"):
        read(fake_studio(FakeEngine()), photo, repaint="mask", repaint_mask=empty, start_image=box(photo))


def test_pictures_that_need_another_are_told_in_the_pages_words(photo):
    studio = fake_studio(FakeEngine())
    for repaint in ("face", "mask"):
        with pytest.raises(InvalidRequest, match="no start picture yet"):
            read(studio, photo, repaint=repaint)
    with pytest.raises(InvalidRequest, match="wants a style picture beside it"):
        read(studio, photo, layout_image=box(photo))


def test_size_and_seed_are_taken_only_when_chosen(photo):
    studio = fake_studio(FakeEngine())
    chosen = {"width": 512, "height": 640, "seed": 7, "style": NO_STYLE}
    ignored = read(studio, photo, **chosen)
    taken = read(studio, photo, **chosen, size=CHOSEN_SIZE, randomise=False)
    assert (ignored.width, ignored.height, ignored.seed) == (None, None, None)
    assert (taken.width, taken.height, taken.seed, taken.style) == (512, 640, 7, None)


def test_the_chosen_face_goes_with_its_photo(photo):
    pose = box(photo.with_name("pose.png"))
    request = read(fake_studio(FakeEngine()), photo, faces={str(photo): 2}, pose_image=pose)
    assert request.people[0].references == (Photo(image=photo, face=2),)
    assert request.pose_image.face == 1


def test_a_form_without_a_photo_asks_for_one(photo):
    with pytest.raises(InvalidRequest, match="no face photo yet"):
        read(fake_studio(FakeEngine()), photo, people=None)


def test_a_side_that_is_no_multiple_of_eight_is_named(photo):
    with pytest.raises(InvalidRequest, match=r"width.*513"):
        read(fake_studio(FakeEngine()), photo, size=CHOSEN_SIZE, width=513)


@pytest.mark.parametrize(("untrained", "role"), [(True, "alert"), (False, "note")])
def test_the_page_says_what_small_weights_are(untrained, role):
    about = "mini is a small model: <a look-alike>, not you."
    studio = fake_studio(FakeEngine(), untrained=untrained, about="" if untrained else about)
    config = build_ui(studio).get_config_file()
    [masthead] = [
        part["props"] for part in config["components"] if part["props"].get("elem_id") == "masthead"
    ]
    told = "These weights are untrained" if untrained else "a small model: &lt;a look-alike&gt;, not you."
    assert told in masthead["value"] and f'role="{role}"' in masthead["value"]
    [style] = [part["props"] for part in config["components"] if part["props"].get("elem_id") == "style"]
    assert style["value"] == "Watercolor", "whatever the weights"


def test_a_run_shows_steps_then_pictures_with_seed_likeness_and_maps(photo):
    studio = fake_studio(FakeEngine(), untrained=True)
    inputs, results = form_of(studio)
    values = values_of(studio, photo, randomise=False, images=2)
    updates = list(page_updates(studio, values, inputs, results))
    assert "Step 1 of 4" in updates[0][results.status]
    assert "left" not in updates[0][results.status] and "left" in updates[1][results.status]
    assert updates[-1][results.seeds] == [42, 43]
    assert updates[-1][inputs.parts["seed"]] == 42
    pictures = updates[-1][results.gallery]["value"]
    shown = [caption for _, caption in pictures]
    assert shown == [
        "seed 42 · likeness 0.71 · untrained weights",
        "seed 43 · no face found in it · untrained weights",
    ]
    assert [name for _, name in updates[-1][results.maps]] == ["keypoints", "pose"]


def test_where_the_face_model_has_a_scale_the_likeness_says_it(photo):
    studio = fake_studio(FakeEngine(), likeness_scale="the same person: from 0.36")
    inputs, results = form_of(studio)
    values = values_of(studio, photo, randomise=False, images=2)
    shown = [
        caption
        for _, caption in list(page_updates(studio, values, inputs, results))[-1][results.gallery]["value"]
    ]
    assert shown == ["seed 42 · likeness 0.71 (the same person: from 0.36)", "seed 43 · no face found in it"]
    told = [block.info for block in build_ui(studio).blocks.values() if getattr(block, "info", None)]
    assert sum("the same person: from 0.36" in info for info in told) == 2  # history's, and comparisons'


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


def test_progress_says_which_pass_it_is():
    line = progress_line(Step(9, 12, None, "Face detail"), None)
    assert "Face detail · step 9 of 12" in line and "<progress" in line


def test_a_result_tells_what_did_not_go_as_expected(photo):
    studio = fake_studio(FakeEngine())
    inputs, results = form_of(studio)
    values = values_of(studio, photo, off_size=True)
    assert "The seed was" in list(page_updates(studio, values, inputs, results))[-1][results.status]


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
    parameters = endpoints["/generate"]["parameters"]
    names = {parameter["parameter_name"] for parameter in parameters}
    assert set(Request.model_fields) <= names
    sides = {
        f"{name}_{side}"
        for name in ("pose", "canny", "depth")
        for side in ("strength", "start", "end", "map")
    }
    people = {f"region_{i}" for i in range(1, 5)} | {f"person_{i}" for i in range(2, 5)} | {"people_settings"}
    own = {"randomise", "size", "canny_low", "canny_high", "weight_files"}
    assert names == set(Request.model_fields) | sides | people | own
    assert [p["parameter_name"] for p in parameters if not p["parameter_has_default"]] == ["people"]


def test_the_public_call_reaches_all_that_steers(served, photo, tmp_path):
    engine, client = served
    lora = tmp_path / "mine.safetensors"
    lora.write_bytes(b"weights")
    file = handle_file(photo)
    client.predict(
        people=[file],
        person_2=[file, file],
        region_2=file,
        people_settings=[{"view": "front", "place": {"x": 0.3}}, {"identity_strength": 0.4, "faces": [1, 1]}],
        pose_image=file,
        controls=["canny"],
        canny_strength=0.7,
        canny_end=0.5,
        canny_low=50,
        canny_map=file,
        style_image=file,
        style_mode="style and layout",
        start_image=file,
        repaint="mask",
        repaint_mask=file,
        recipe="LCM, 4 steps",
        loras={"watercolour": 0.5, "mine.safetensors": 1.0},
        textual_inversions=["easynegative"],
        base="realvis",
        weight_files=[handle_file(lora)],
        api_name="/generate",
    )
    asked = engine.requests[-1]
    first, second = asked.people
    assert (first.view, first.place.x, first.region) == ("front", 0.3, None)
    assert (second.identity_strength, len(second.references)) == (0.4, 2)
    assert Path(second.region.image).name == photo.name
    assert asked.controls.keys() == {"canny"}
    canny = asked.controls["canny"]
    assert (canny.strength, canny.end, canny.low, Path(canny.map.image).name) == (0.7, 0.5, 50, photo.name)
    assert (asked.style_mode, asked.repaint) == ("style and layout", "mask")
    assert asked.recipe == "LCM, 4 steps"
    assert (asked.steps, asked.guidance_scale, asked.scheduler) == (None, None, None)  # the recipe's
    assert [(Path(lora.source).name, lora.strength) for lora in asked.loras] == [
        ("watercolour", 0.5),
        ("mine.safetensors", 1.0),
    ]
    assert (asked.textual_inversions, asked.base, asked.vae) == (("easynegative",), "realvis", None)


def test_without_a_recipe_the_public_call_takes_the_pages_values(served, photo):
    engine, client = served
    client.predict(people=[handle_file(photo)], guidance_scale=2.5, api_name="/generate")
    asked = engine.requests[-1]
    assert (asked.steps, asked.guidance_scale, asked.scheduler) == (4, 2.5, "Euler")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"loras": {"/etc/passwd": 1.0}}, "/etc/passwd"),
        ({"base": "someone/model"}, "someone/model"),
        ({"textual_inversions": ["../secret.pt"]}, "secret.pt"),
        ({"loras": ["watercolour"]}, "object of strengths"),
        ({"people_settings": [{"references": ["/etc/passwd"]}]}, "references"),
        ({"people_settings": [{"region": "/etc/passwd"}]}, "region"),
        ({"people_settings": {"view": "front"}}, "list with an object per person"),
        ({"people_settings": [{"view": "sideways"}]}, "view"),
        ({"people_settings": [{"faces": 2}]}, "list with a number per photo"),
        ({"textual_inversions": "easynegative"}, "list of names"),
    ],
)
def test_the_public_call_names_nothing_of_this_machine(served, photo, given, problem):
    engine, client = served
    before = len(engine.requests)
    with pytest.raises(AppError, match=problem):
        client.predict(people=[handle_file(photo)], **given, api_name="/generate")
    assert len(engine.requests) == before


def test_follow_the_photo_is_where_the_size_starts():
    inputs, _ = form_of(fake_studio(FakeEngine()))
    assert inputs.parts["size"].value == FOLLOW_PHOTO
