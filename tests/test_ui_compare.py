"""Comparisons of the page without a browser: what rows take, what is planned, made, taken along, and put back."""

import dataclasses
import functools
import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from instantid import compare
from instantid.errors import InvalidRequest
from instantid.people import Photo
from instantid.request import Lora
from instantid.styles import NO_STYLE
from instantid.ui.compare_axes import (
    Entered,
    first_values,
    help_text,
    names_of,
    offered,
    read_row,
    write_values,
)
from instantid.ui.compare_plan import load, look_ahead, read_grid
from instantid.ui.compare_run import Made, make, table_of, take_along
from instantid.ui.compare_zoom import describe
from instantid.ui.pace import Pace
from instantid.ui.refill import refill
from tests.fake_engine import STYLES, FakeEngine, draw_photo, fake_studio
from tests.test_ui import box, values_of

NOTHING = Entered("")
STRENGTHS = Entered("identity_strength", "0..0.8 step 0.4")
STYLES_ROW = Entered("style", "Watercolor | none")


@pytest.fixture
def photo(tmp_path):
    draw_photo().save(tmp_path / "ada.png")
    return tmp_path / "ada.png"


@pytest.fixture
def studio():
    return fake_studio(FakeEngine(), bundle="fake")


def rows(x, y=NOTHING, z=NOTHING):
    return {"x": x, "y": y, "z": z}


@functools.cache
def untouched():
    return values_of(fake_studio(FakeEngine()), None, people=None, seed=7)


def form(photo, **changes):
    return untouched() | {"people": box(photo) if photo else None} | changes


def row(studio, field, text="", photos=None, **form):
    return read_row(Entered(field, text, photos), offered(studio, form), studio, form.get("weight_files"))


def made_of(studio, photo, folder, entered, **changes):
    made = Made(folder)
    grid = read_grid(form(photo, **changes), entered, studio)
    told = list(make(studio, grid, made, lambda: True))
    return made, told


# What may vary, and how it is written


def test_only_what_the_bundle_can_do_is_offered_and_every_person_control_and_lora_of_the_form(studio):
    bare = fake_studio(FakeEngine(), style_reference=False, faceid=False, recipes={}, weights=None)
    lacking = {"style_image", "style_strength", "layout_image", "recipe", "base", "vae", "loras"}
    lacking |= {"faceid_strength"}
    assert lacking <= offered(studio, {}).keys() and not lacking & offered(bare, {}).keys()
    assert "style" in offered(bare, {})
    several = offered(
        studio, {"people_count": 2, "controls": ["canny"], "lora_1": "watercolour", "lora_2": ""}
    )
    assert {"people.1.view", "controls.canny.strength", "loras.0.strength"} <= several.keys()
    assert "people.1.view" not in offered(studio, {})


def test_all_of_the_presets_and_samplers_can_be_put_in_and_are_read_again(studio):
    for field in ("style", "scheduler", "recipe", "method", "base", "face_region", "repaint", "adapters"):
        variable = offered(studio, {})[field]
        names = names_of(variable, studio)
        assert len(row(studio, field, " | ".join(names)).values) == len(names) > 1
    assert names_of(offered(studio, {})["style"], studio) == ("none", *(style.name for style in STYLES[1:]))


def test_what_stands_in_a_row_at_first_can_be_made(studio):
    for name, variable in offered(studio, {}).items():
        if text := first_values(variable, studio):
            assert len(row(studio, name, text).values) > 1, name
        assert help_text(variable, studio) or variable.name == "people.0.references"


@pytest.mark.parametrize(("usual", "text"), [(5.0, "2 | 5 | 8"), (1.0, "1 | 1.6")])
def test_guidance_is_varied_about_what_the_bundle_wants(usual, text):
    studio = fake_studio(FakeEngine(), bundle="fake")
    studio = dataclasses.replace(studio, defaults={**studio.defaults, "guidance_scale": usual})
    assert first_values(offered(studio, {})["guidance_scale"], studio) == text


def test_methods_are_those_that_the_bundle_has_the_weights_for(studio):
    bare = fake_studio(FakeEngine(), style_reference=False, faceid=False)
    assert row(studio, "method", "IP-Adapter | text only").values == ("IP-Adapter", "text only")
    assert names_of(offered(studio, {})["method"], studio) == compare.METHODS
    assert names_of(offered(bare, {})["method"], bare) == ("InstantID", "text only")
    for method in ("IP-Adapter", "IP-Adapter FaceID"):
        with pytest.raises(InvalidRequest, match=f"no “{method}” here"):
            row(bare, "method", method)


@pytest.mark.parametrize(
    ("field", "text", "problem"),
    [
        ("identity_strength", "0..9 step 1", "from 0 to 1.5"),
        ("style", "Water", "one of these: Watercolor"),
        ("scheduler", "Heun", "no “Heun” here"),
        ("people.0.references", "/etc/passwd", "no photos yet"),
        ("base", "/etc/passwd", "no checkpoints called"),
        ("loras", "../../secret=1", "no loras called"),
        ("steps", "  ", "no values yet"),
        ("seed", "1 | none", "a number for each cell"),
        ("people.3.view", "front", "cannot vary with these settings"),
        ("prompt.image", "a", "cannot vary"),
    ],
)
def test_a_row_says_what_is_wrong_and_opens_no_file_of_this_machine(studio, field, text, problem):
    with pytest.raises(InvalidRequest, match=problem):
        row(studio, field, text)


def test_ones_own_weights_are_found_by_their_name(studio, tmp_path):
    mine = str(tmp_path / "mine.safetensors")
    axis = row(studio, "loras", "none | mine.safetensors=0.5 + watercolour", weight_files=[mine])
    assert axis.values == ((), (Lora(source=mine, strength=0.5), Lora(source="watercolour")))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("identity_strength", (0.0, 0.35, 1.2)),
        ("seed", (1, 2**31 - 1)),
        ("prompt", ("a king, in oil", 'the "big" one | left')),
        ("prompt", ("one, alone",)),
        ("style", (None, "Film Noir")),
        ("face_region", (True, False)),
        ("loras", ((), (Lora(source="watercolour", strength=0.5), Lora(source="paper-cut")))),
        ("prompt S/R", ("person", "king")),
    ],
)
def test_written_values_are_read_the_same(studio, field, values):
    variable = offered(studio, {})[field]
    assert row(studio, field, write_values(variable, values)).values == values


# What is planned


def test_a_comparison_is_the_form_with_one_picture_and_its_seed_per_cell(studio, photo):
    grid = read_grid(form(photo, images=3, upscale=1.5), rows(STRENGTHS, STYLES_ROW), studio)
    assert grid.shape == (3, 2, 1) and grid.bundle == "fake"
    assert {cell.request.seed for cell in grid.cells} == {7}
    assert {cell.request.images for cell in grid.cells} == {1}
    assert {cell.request.upscale for cell in grid.cells} == {1.5}
    assert {cell.request.identity_strength for cell in grid.cells} == {0.0, 0.4, 0.8}


def test_faces_that_vary_need_none_in_the_form(studio, photo, tmp_path):
    draw_photo(2).save(tmp_path / "grace.png")
    faces = Entered("people.0.references", photos=[(str(photo), None), (str(tmp_path / "grace.png"), None)])
    grid = read_grid(form(None), rows(faces), studio)
    images = [cell.request.people[0].references[0].image.name for cell in grid.cells]
    assert images == ["ada.png", "grace.png"]


def test_recipes_that_vary_bring_their_own_steps_and_samplers(studio, photo):
    grid = read_grid(form(photo), rows(Entered("recipe", "none | LCM, 4 steps")), studio)
    asked = grid.cells[1].request
    assert asked.recipe == "LCM, 4 steps"
    assert (asked.steps, asked.guidance_scale, asked.scheduler) == (None, None, None)


def test_too_much_at_once_and_nothing_at_all_are_refused(studio, photo):
    with pytest.raises(InvalidRequest, match="Nothing varies yet"):
        read_grid(form(photo), rows(NOTHING, STRENGTHS), studio)
    with pytest.raises(InvalidRequest, match="up to 500"):
        read_grid(form(photo), rows(Entered("seed", "1..100"), Entered("steps", "1..6")), studio)


def test_count_and_time_are_told_before_the_start_and_errors_beside_their_row(studio, photo, tmp_path):
    values = form(photo)
    told = look_ahead(values, rows(STRENGTHS, STYLES_ROW), studio, 0.0, None)
    assert "6 cells: 3 columns × 2 rows." in told.text and "known after the first" in told.text
    slow = look_ahead(values, rows(STRENGTHS), studio, 1000.0, None)
    assert "3 cells: 3 columns." in slow.text and "About" in slow.text
    wrong = look_ahead(values, rows(STRENGTHS, Entered("steps", "0")), studio, 0.0, None)
    assert "from 1 to 150" in wrong.problems["y"] and not wrong.problems["x"]
    assert "no values yet" in look_ahead(values, rows(Entered("prompt")), studio, 0.0, None).text
    faceless = look_ahead(form(None), rows(STRENGTHS), studio, 0.0, None)
    assert "no face photo yet" in faceless.text
    doubled = look_ahead(values, rows(STRENGTHS, STRENGTHS), studio, 0.0, None)
    assert "Two axes vary the same" in doubled.text


def test_the_pace_of_one_picture_foretells_the_next(studio, photo):
    pace = Pace()
    request = read_grid(form(photo), rows(STRENGTHS), studio).cells[0].request
    list(pace.measured(studio.generate)(request))
    assert pace.seconds > 0


# What is made


def test_cells_are_shown_as_they_are_done_and_nothing_is_made_twice(studio, photo, tmp_path):
    made, told = made_of(studio, photo, tmp_path / "made", rows(STRENGTHS, STYLES_ROW))
    assert "6 made" in told[-1][0] and sum(new for _, new in told) >= 6
    table = table_of(made, True)
    assert {tuple(cell["at"]) for cell in table["cells"]} == {(x, y, 0) for x in range(3) for y in range(2)}
    assert table["x"] == {"title": "Identity strength", "labels": ["0", "0.4", "0.8"]} and table["z"] is None
    assert {cell["likeness"] for cell in table["cells"]} == {0.71}
    small = Image.open(table["cells"][0]["picture"]["path"])
    assert max(small.size) <= 320
    wider = rows(Entered("identity_strength", "0..1.2 step 0.4"), STYLES_ROW)
    before = look_ahead(form(photo), wider, studio, 0.0, made.folder)
    assert before.begun and "6 of them there already" in before.text
    list(make(studio, read_grid(form(photo), wider, studio), made, lambda: True))
    statuses = [outcome.status for outcome in made.outcomes.values()]
    assert (statuses.count("made"), statuses.count("kept")) == (2, 6)


def test_a_cancelled_comparison_closes_its_run_and_keeps_what_is_there(photo, tmp_path):
    engine = FakeEngine()
    studio = fake_studio(engine)
    made = Made(tmp_path / "made")
    grid = read_grid(form(photo), rows(STRENGTHS), studio)
    list(make(studio, grid, made, lambda: len(engine.requests) < 2))
    assert engine.closed.is_set() and len(made.outcomes) == 1 and not made.running
    files = take_along(made, True)
    assert [Path(file).name for file in files] == ["comparison.png", "grid.json", "comparison.zip"]


def test_a_cell_that_fails_says_why_and_the_others_go_on(studio, photo, tmp_path):
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "grey.png")
    faces = Entered("people.0.references", photos=box(tmp_path / "grey.png") + box(photo))
    made, told = made_of(studio, None, tmp_path / "made", rows(faces))
    assert "1 made" in told[-1][0] and "1 not made" in told[-1][0] and "No face found" in told[-1][0]
    assert [bool(cell["picture"]) for cell in table_of(made, True)["cells"]] == [False, True]


def test_what_is_taken_along_names_no_place_of_this_machine(studio, photo, tmp_path):
    made, _ = made_of(studio, photo, tmp_path / "made", rows(STRENGTHS, z=STYLES_ROW))
    *pages, described, archive = take_along(made, False)
    assert [Path(page).name for page in pages] == ["comparison-1.png", "comparison-2.png"]
    text = Path(described).read_text(encoding="utf-8")
    assert str(tmp_path) not in text and json.loads(text)["bundle"] == "fake"
    assert len([name for name in zipfile.ZipFile(archive).namelist() if name.startswith("cells/")]) == 6
    assert take_along(Made(tmp_path), True) == []


# From a file, and back into the form


@pytest.mark.parametrize("which", [0, 1])  # the labelled picture, grid.json
def test_a_comparison_is_loaded_from_what_was_taken_along(studio, photo, tmp_path, which):
    made, _ = made_of(
        studio, photo, tmp_path / "made", rows(STRENGTHS, STYLES_ROW), prompt="a king, in oil", upscale=1.5
    )
    file = Path(take_along(made, True)[which])
    grid, entered, notes = load(file, form(photo), rows(NOTHING), studio)
    assert notes == [] and entered["z"] == NOTHING
    filled = form(photo) | refill(grid.base, studio, form(photo))
    again = read_grid(filled, entered, studio)
    files = [[job.file for job in compare.plan(each)] for each in (again, made.grid)]
    assert files[0] == files[1]


def test_a_file_without_its_photos_says_where_to_put_them(studio, photo, tmp_path):
    faces = Entered("people.0.references", photos=box(photo))
    made, _ = made_of(studio, photo, tmp_path / "made", rows(faces))
    file = Path(take_along(made, True)[1])
    with pytest.raises(InvalidRequest, match="choose “Face photo” there"):
        load(file, form(photo), rows(NOTHING), studio)
    _, entered, _ = load(file, form(photo), rows(faces), studio)
    assert entered["x"].photos == box(photo)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"x": "base: /etc/passwd"}, "path|called"),
        ({"settings": {"base": "secret"}}, "no checkpoints called “secret”"),
        ({"settings": {"loras": [{"source": "/etc/passwd"}]}}, "path|called"),
        ({"x": "people.0.place.x: 0.2, 0.4"}, "this page does not"),
        (
            {"pictures": {"people.0.references.0": {"file": "/etc/passwd"}, "pose_image": {"file": "x.png"}}},
            "pose",
        ),
    ],
)
def test_a_strangers_file_reaches_nothing_of_this_machine(studio, photo, tmp_path, change, problem):
    told = {"schema": 1, "settings": {}, "x": "steps: 2, 4", "pictures": {"people.0.references.0": {}}}
    file = tmp_path / "grid.json"
    file.write_text(json.dumps(told | change))
    with pytest.raises(InvalidRequest, match=problem):
        load(file, form(photo), rows(NOTHING), studio)


def test_a_request_is_put_into_the_form_so_that_it_asks_for_the_same(studio, photo, tmp_path):
    draw_photo(2).save(tmp_path / "two.png")
    values = form(photo, randomise=True)
    entered = rows(
        Entered("people.0.references", photos=box(tmp_path / "two.png")),
        Entered("loras", "watercolour=0.5"),
        Entered("people.0.view", "profile left"),
    )
    cell = read_grid(values, entered, studio).cells[0]
    changed = refill(cell.request, studio, values)
    assert changed["lora_1"] == "watercolour" and changed["lora_1_strength"] == 0.5
    assert changed["people"] == [(tmp_path / "two.png", None)] and changed["randomise"] is False
    assert changed["places"][0]["view"] == "profile left"
    assert set(changed) == {"people", "lora_1", "lora_1_strength", "randomise", "places"}


def test_strengths_left_open_come_as_the_bundle_s_own(studio, photo):
    request = read_grid(form(photo), rows(STRENGTHS), studio).cells[0].request
    two = request.replace(people=request.people * 2, identity_strength=None, adapter_strength=None)
    studio = dataclasses.replace(studio, defaults={**studio.defaults, "identity_strength": 1.0})
    changed = refill(two, studio, form(photo))
    held = form(photo) | changed
    assert [held[f"identity_{number}"] for number in (1, 2)] == [1.0, 1.0]
    assert (held["identity_strength"], held["adapter_strength"]) == (1.0, 0.8)
    cell = compare.Cell(x=0, y=0, z=0, request=two, labels=())
    told = describe(compare.Outcome(cell=cell, path=photo, status="made"))
    assert "Scheduler" in told and "IdentityNet strength" not in told, "nobody has said one"


def test_the_face_that_was_meant_comes_back_with_its_photo(studio, photo):
    request = read_grid(form(photo), rows(STRENGTHS), studio).cells[0].request
    person = request.people[0].replace(references=(Photo(image=photo, face=2),))
    changed = refill(request.replace(people=(person,), style=None), studio, form(photo))
    assert changed["faces"] == {str(photo): 2} and changed["style"] == NO_STYLE
