"""The history on the page without a browser: the form filled again, captions and tables, what a visitor sees."""

import shutil
from datetime import UTC, datetime
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image
from test_ui import ENTERED, box, read, values_of

import app
from instantid import metadata
from instantid.errors import InvalidRequest
from instantid.history import History
from instantid.request import Face, Lora, Person, Place, Portrait, Request, Result
from instantid.styles import NO_STYLE
from instantid.ui.form import read_request
from instantid.ui.history import build_history, remember, store_of
from instantid.ui.history_drop import restored
from instantid.ui.history_events import chosen_updates, comparison_updates, list_updates
from instantid.ui.history_restore import fill_form
from instantid.ui.history_words import caption, when
from instantid.ui.visits import MOST, Visit, Visits
from tests.fake_engine import FakeEngine, draw_photo, fake_studio


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "face.png"
    draw_photo().save(path)
    return path


@pytest.fixture
def studio():
    return fake_studio(FakeEngine())


def record_of(request: Request, tmp_path, **bundle):
    """What the file says of a picture made with this request."""
    steps = {"steps": 4, "guidance_scale": 5.0, "scheduler": "Euler", "width": 256, "height": 320, "seed": 7}
    filled = request.replace(
        **{name: value for name, value in steps.items() if getattr(request, name) is None}, images=1
    )
    picture = Image.new("RGB", (64, 80), "teal")
    result = Result(
        images=[picture], seed=filled.seed, request=filled, timings={}, bundle={"name": "fake"} | bundle
    )
    path = tmp_path / f"made-{filled.seed}.png"
    metadata.save(result, [path])
    return path, filled


def entered(photo, changes):
    values = {name: box(photo) if value == "@" else value for name, value in changes.items()}
    if "repaint_mask" in values:  # as large as a start picture can be
        layer = Image.new("RGBA", (64, 64), (13, 148, 136, 255))
        values["repaint_mask"] = {"background": None, "layers": [layer], "composite": None}
    return values


def settings_of(request: Request) -> dict:
    """Everything, with prints in the place of pictures."""
    described = metadata.prints.describe(request)
    return described.settings | {"prints": described.pictures}


@pytest.mark.parametrize("field", ENTERED)
def test_a_restored_form_asks_for_the_picture_again(studio, photo, tmp_path, field):
    values = values_of(studio, photo, **entered(photo, ENTERED[field]))
    path, made = record_of(read_request(values, studio), tmp_path)
    pictures = {
        name: value
        for name, value in values.items()
        if name in ("repaint_mask", "regions") or (isinstance(value, list) and value[:1] == box(photo))
    }
    now = values_of(studio, photo, prompt="something else", **pictures)
    filled = fill_form(metadata.read(path), now, studio)
    assert filled.notes == []
    assert settings_of(read_request(now | filled.values, studio)) == settings_of(made)


def test_people_get_their_strengths_and_places_back(studio, photo, tmp_path):
    points = ((0.4, 0.3), (0.6, 0.3), (0.5, 0.4), (0.42, 0.5), (0.58, 0.5))
    people = [
        Person(references=[photo], identity_strength=0.3, keypoints=points),
        Person(references=[photo], view="profile left", place=Place(x=0.7)),
    ]
    path, _ = record_of(Request(people=people, adapter_strength=0.6), tmp_path)
    now = values_of(studio, photo, person_2=box(photo))
    filled = fill_form(metadata.read(path), now, studio)
    again = read_request(now | filled.values, studio)
    assert [person.place for person in again.people] == [None, Place(x=0.7)]
    assert again.people[0].keypoints == points and again.people[1].view == "profile left"
    assert (again.people[0].identity_strength, again.people[0].adapter_strength) == (0.3, 0.6)


def test_photos_that_are_missing_other_or_too_many_are_told(studio, photo, tmp_path):
    other = tmp_path / "other.png"
    draw_photo(2).save(other)
    record = metadata.read(
        record_of(Request(people=[Person(references=[photo])], pose_image=photo), tmp_path)[0]
    )
    right = values_of(studio, photo, pose_image=box(photo))
    assert fill_form(record, right, studio).notes == []
    [note] = fill_form(record, values_of(studio, photo), studio).notes
    assert note.startswith("Add") and "pose photo" in note
    [note] = fill_form(record, right | {"people": box(other)}, studio).notes
    assert "face photo in the form is not the one" in note
    [note] = fill_form(record, right | {"people": [*box(photo), *box(other)]}, studio).notes
    assert "more photos of person 1" in note
    face = Portrait(Face([1, 2], [[1, 1]] * 5, [0, 0, 2, 2]), 8, 8)
    [note] = fill_form(record, right | {"portrait_1": face}, studio).notes
    assert "is not the one" in note


def test_a_photo_the_picture_was_made_without_goes_but_faces_stay(studio, photo, tmp_path):
    record = metadata.read(record_of(Request(people=[Person(references=[photo])]), tmp_path)[0])
    filled = fill_form(record, values_of(studio, photo, pose_image=box(photo)), studio)
    assert filled.values["pose_image"] is None and "people" not in filled.values
    assert filled.notes == ["The pose photo was taken out of the form: the picture was made without one."]


def test_the_face_that_was_meant_is_chosen_again(studio, tmp_path):
    two = tmp_path / "two.png"
    draw_photo(2).save(two)
    values = values_of(studio, two)
    record = metadata.read(record_of(read(studio, two, faces={str(two): 2}), tmp_path)[0])
    assert fill_form(record, values, studio).values["faces"] == {str(two): 2}


def test_what_is_not_to_be_had_here_is_told_and_left_out(studio, photo, tmp_path):
    request = Request(
        people=[Person(references=[photo])],
        style="Neon",
        recipe="DMD2, 4 steps",
        scheduler="Heun",
        controls={"depth": 0.4},
        loras=[Lora(source="film"), Lora(source="watercolour", strength=0.3)],
        base="who/knows",
    )
    bare = fake_studio(FakeEngine(), controls=("pose",))
    now = values_of(bare, photo)
    filled = fill_form(metadata.read(record_of(request, tmp_path)[0]), now, bare)
    again = read_request(now | filled.values, bare)
    assert (again.style, again.recipe, again.controls, again.base) == (None, None, {}, None)
    assert again.loras == (Lora(source="watercolour", strength=0.3),)
    told = " ".join(filled.notes)
    for name in ("“Neon”", "“DMD2, 4 steps”", "Heun", "depth", "LoRA 1 “film”", "base model “who/knows”"):
        assert name in told
    assert filled.values["style"] == NO_STYLE and "watercolour" not in told


def test_the_status_says_whose_settings_they_are_and_hides_no_markup(studio, photo, tmp_path):
    record = metadata.read(record_of(Request(people=[Person(references=[photo])], seed=5), tmp_path)[0])
    told = restored(record, ["<b>"])
    assert "seed 5" in told and "fake" in told and "&lt;b&gt;" in told


@pytest.fixture
def panel(studio, tmp_path):
    with gr.Blocks():
        return build_history(studio, Visits(tmp_path / "visits"))


@pytest.fixture
def kept(photo, tmp_path):
    store = History(tmp_path / "history")
    for seed, prompt, likeness in ((1, "a king <b>", 0.5), (2, "a queen", None)):
        request = Request(people=[Person(references=[photo])], prompt=prompt, seed=seed, style="Watercolor")
        store.keep(record_of(request, tmp_path)[0], likeness)
    return store


def test_the_list_says_how_many_there_are_and_which_are_shown(panel, kept):
    def told(*asked):
        updates = list_updates(panel, kept, *asked, 0)
        return updates[panel.said], len(updates[panel.names]), updates[panel.more].visible

    assert told("", 0, 60) == ('<div class="notice" role="note">2 pictures</div>', 2, False)
    said, shown, more = told("", 0, 1)
    assert "2 pictures; the newest 1 are shown" in said and shown == 1 and more
    assert "1 of 2 pictures" in told("king", 0, 60)[0]
    assert "No picture has all of that" in told("knight", 0, 60)[0]
    shutil.rmtree(kept.folder)
    assert "Nothing here yet" in told("", 0, 60)[0]


def test_one_picture_is_shown_with_its_settings_in_words(panel, kept):
    entry = kept.entries()[1]
    updates = chosen_updates(panel, kept, entry.name, 0)
    about = updates[panel.about]
    assert "<dt>Prompt</dt><dd>a king &lt;b&gt;</dd>" in about and "<dt>Likeness</dt><dd>0.50</dd>" in about
    assert metadata.read(updates[panel.download].value["path"]) == entry.record


def test_two_pictures_are_compared_setting_by_setting(panel, kept):
    right, left = kept.entries()
    updates = comparison_updates(panel, kept, left.name, right.name, 0)
    assert "<th scope='row'>Seed</th><td>1</td><td>2</td>" in updates[panel.about]
    assert "Style" not in updates[panel.about]
    assert updates[panel.slider].visible and not updates[panel.picture].visible


def test_two_shapes_are_compared_within_the_first(panel, kept, photo, tmp_path):
    path, _ = record_of(Request(people=[Person(references=[photo])], seed=3), tmp_path)
    with Image.open(path) as picture:
        info = metadata.PngImagePlugin.PngInfo()
        info.add_itxt(metadata.CHUNK, picture.text[metadata.CHUNK])
        picture.resize((200, 50)).save(path, pnginfo=info)
    wide = kept.keep(path)
    updates = comparison_updates(panel, kept, kept.entries()[1].name, wide.name, 0)
    assert "differ in shape" in updates[panel.about]


def test_captions_are_short_and_by_the_visitors_clock(kept):
    entry = kept.entries()[1]
    assert caption(entry, 0).startswith("a king <b> · Watercolor · seed 1 · likeness 0.50 · ")
    made, now = datetime(2026, 5, 1, 23, 30, tzinfo=UTC), datetime(2026, 5, 2, 1, tzinfo=UTC)
    assert when(made, 0, now) == "2026-05-01 23:30"
    assert when(made, 60, now) == "00:30"


def test_every_visitor_has_a_history_of_their_own(studio, panel):
    one, other, again = (panel.visits.enter(key) for key in ("one", "other", "one"))
    mine = store_of(studio, panel, one)
    assert mine.most == MOST and store_of(studio, panel, one) is mine
    assert mine.folder == store_of(studio, panel, again).folder
    assert mine.folder not in (store_of(studio, panel, visit).folder for visit in (other, None))


def test_a_history_on_disk_goes_before_the_visits(panel, tmp_path):
    owners = History(tmp_path)
    assert store_of(fake_studio(FakeEngine(), history=owners), panel, Visit(tmp_path / "visit")) is owners


def test_what_cannot_be_kept_is_told_and_stops_nothing(studio, panel, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(gr, "Warning", told.append)
    Image.new("RGB", (64, 64)).save(tmp_path / "other.png")
    updates = remember(studio, panel, None, [(tmp_path / "other.png", None)])
    assert panel.latest not in updates
    assert len(told) == 1 and "missing in the history" in told[0]


@pytest.mark.parametrize(
    ("host", "share", "allowed"),
    [(None, False, True), ("127.0.0.1", False, True), ("0.0.0.0", False, False), (None, True, False)],
)
def test_a_history_on_disk_is_refused_where_others_can_open_the_page(
    tmp_path, monkeypatch, host, share, allowed
):
    monkeypatch.delenv("SPACE_ID", raising=False)
    options = SimpleNamespace(history=tmp_path, host=host, share=share)
    if allowed:
        app.check_history(options)
        monkeypatch.setenv("SPACE_ID", "who/what")
    with pytest.raises(InvalidRequest, match="whoever opens the page"):
        app.check_history(options)
    app.check_history(SimpleNamespace(history=None, host=host, share=share))
