"""The people of the page without a browser: what is read from the form, and what the editors stand on."""

import base64
import io
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from photos import ASTRONAUT, SIX_PEOPLE
from PIL import Image
from test_faces import finder as finder
from test_faces import opencv_folder as opencv_folder

from instantid import scene
from instantid.bundles import Defaults
from instantid.errors import InvalidRequest
from instantid.images import open_image
from instantid.people import MAX_PEOPLE, Face, Person, Photo, Portrait
from instantid.request import Request
from instantid.saved_people import PeopleInFolder
from instantid.ui import build_ui
from instantid.ui.people import build_people, read_people
from instantid.ui.photos import notice
from instantid.ui.places import build_places, stage_of
from instantid.ui.region_painter import MASK_SIDE, paint_mask, read_region
from instantid.ui.saved import IN_SESSION, ON_DISK
from instantid.ui.stage import PICTURE_SIDE, Stage, stage_props
from instantid.ui.words import CHOSEN_SIZE
from tests.fake_engine import FakeEngine, draw_photo, fake_studio

EXAMPLES = Path(__file__).parents[1] / "assets" / "examples"
POINTS = [[0.4, 0.3], [0.6, 0.3], [0.5, 0.4], [0.42, 0.5], [0.58, 0.5]]
DOT = {"points": [[0.25, 0.5]], "radius": 0.1, "erase": False}


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "face.png"
    draw_photo().save(path)
    return path


def form(**changes):
    """The untouched section's values."""
    with gr.Blocks():
        people = build_people(fake_studio(FakeEngine()))
        parts = people.components | build_places(fake_studio(FakeEngine()), people)
    return {name: part.value for name, part in parts.items()} | changes


def gallery(*paths):
    return [(str(path), None) for path in paths]


def portrait(width=320, height=320) -> Portrait:
    face = Face(np.ones(8), np.multiply(POINTS, (width, height)), (100, 60, 220, 200))
    return Portrait(face, width, height)


# Reading the form


def test_an_untouched_form_with_one_photo_is_one_plain_person(photo):
    assert read_people(form(people=gallery(photo))) == (Person(references=(photo,)),)


def test_people_that_are_not_shown_are_not_read(photo):
    values = form(people=gallery(photo), person_2=gallery(photo))
    assert len(read_people(values)) == 1
    assert len(read_people(values | {"people_count": 2})) == 2


def test_each_photo_goes_with_its_chosen_face(photo):
    other = photo.with_name("other.png")
    values = form(people=gallery(photo, other), faces={str(other): 2})
    assert read_people(values)[0].references == (Photo(image=photo), Photo(image=other, face=2))


def test_whoever_has_no_photo_is_named(photo):
    with pytest.raises(InvalidRequest, match=r"no face photo yet\. Add at least one, then press Generate"):
        read_people(form())
    with pytest.raises(InvalidRequest, match="Person 3 has no face photo yet"):
        read_people(form(people=gallery(photo), person_2=gallery(photo), people_count=3))


def test_strengths_of_their_own_count_where_ticked_and_among_several(photo):
    own = {"own_1": True, "identity_1": 0.2, "adapter_1": 1.1, "identity_2": 0.3}
    values = form(people=gallery(photo), person_2=gallery(photo), people_count=2, **own)
    first, second = read_people(values)
    assert (first.identity_strength, first.adapter_strength) == (0.2, 1.1)
    assert (second.identity_strength, second.adapter_strength) == (None, None)
    [alone] = read_people(values | {"people_count": 1})  # what is out of sight does nothing
    assert alone.identity_strength is None


def test_a_saved_person_stands_in_for_photos(photo):
    kept = portrait()
    assert read_people(form(portrait_1=kept))[0].references == (kept,)
    assert read_people(form(people=gallery(photo), portrait_1=kept))[0].references == (kept,)


def test_points_set_by_hand_and_views_reach_their_person(photo):
    place = {"x": 0.25, "y": 0.5, "size": 0.3}
    values = form(people=gallery(photo), person_2=gallery(photo), person_3=gallery(photo), people_count=3)
    first, second, third = read_people(
        values | {"places": [None, {"points": POINTS}, {"view": "up", "place": place}]}
    )
    assert (first.keypoints, first.view, first.place) == (None, None, None)
    np.testing.assert_allclose(second.keypoints, POINTS)
    assert (third.view, third.place.model_dump(), third.keypoints) == ("up", place, None)


def test_a_view_that_there_is_none_of_is_refused(photo):
    entry = {"view": "from behind", "place": {"x": 0.5, "y": 0.5, "size": 0.4}}
    with pytest.raises(InvalidRequest, match="view"):
        read_people(form(people=gallery(photo), places=[entry]))


def test_an_editor_that_knows_of_fewer_people_leaves_the_others_alone(photo):
    values = form(people=gallery(photo), person_2=gallery(photo), people_count=2)
    painted = {"canvas": [320, 320], "people": [[DOT]]}
    first, second = read_people(values | {"places": [{"points": POINTS}], "regions": painted})
    assert first.keypoints and first.region
    assert (second.keypoints, second.region) == (None, None)


# Regions


def test_a_stroke_is_as_wide_as_its_brush_and_has_the_canvas_shape():
    stroke = {"points": [[0.25, 0.5], [0.75, 0.5]], "radius": 0.1, "erase": False}
    mask = np.asarray(paint_mask([stroke], 1024, 512))
    assert mask.shape == (MASK_SIDE // 2, MASK_SIDE)
    assert set(np.unique(mask)) == {0, 255}
    column = np.flatnonzero(mask[:, MASK_SIDE // 2])
    assert len(column) == pytest.approx(0.2 * MASK_SIDE / 2, abs=2)
    assert column.mean() == pytest.approx(MASK_SIDE / 4, abs=1)
    row = np.flatnonzero(mask[MASK_SIDE // 4])  # round ends reach one radius past the points
    assert (row[0], row[-1]) == pytest.approx((0.2 * MASK_SIDE, 0.8 * MASK_SIDE), abs=2)


def test_the_eraser_takes_away_what_came_before_it():
    rubber = DOT | {"radius": 0.12, "erase": True}
    assert paint_mask([DOT], 320, 320) is not None
    assert paint_mask([DOT, rubber], 320, 320) is None
    assert paint_mask([rubber, DOT], 320, 320) is not None


def test_who_has_nothing_painted_has_no_region():
    assert read_region(None, 1) is None
    assert read_region({"canvas": [320, 320], "people": [[], [DOT]]}, 1) is None
    assert read_region({"canvas": [320, 320], "people": [[], [DOT]]}, 2) is not None


# What stands behind the editors, held against what the engine makes of the same photos


def real_studio(finder):
    return fake_studio(
        FakeEngine(),
        find_faces=lambda path: finder.find(open_image(path)),
        defaults=Defaults(width=512, height=512, steps=4).model_dump(),
    )


@pytest.mark.parametrize(
    ("count", "photos"),
    [
        (1, {}),
        (1, {"pose_image": EXAMPLES / "pose-photographer.jpg"}),
        (1, {"start_image": EXAMPLES / "pose-tilted.jpg"}),
        (2, {"pose_image": SIX_PEOPLE}),
        (4, {"pose_image": SIX_PEOPLE}),
    ],
)
def test_faces_are_shown_where_the_engine_puts_them(finder, count, photos):
    values = {name: gallery(path) for name, path in photos.items()} | {"people": gallery(ASTRONAUT)}
    stage = stage_of(real_studio(finder), values | {"people_count": count, "faces": {}})
    request = Request(people=(Person(references=(ASTRONAUT,)),) * count, **photos)
    made = scene.read(request, finder, (512, 512))
    assert (stage.width, stage.height) == made.size == stage.picture.size
    assert stage.count == len(stage.faces) == count
    for shown, face in zip(stage.faces, made.faces, strict=True):
        np.testing.assert_allclose(shown * made.size, face.keypoints, atol=0.5)


def test_several_people_without_a_pose_stand_side_by_side(photo):
    stage = stage_of(fake_studio(FakeEngine()), {"people_count": 3, "faces": {}, "people": gallery(photo)})
    assert stage.picture is None
    assert [face.mean(axis=0)[0] for face in stage.faces] == pytest.approx([1 / 6, 1 / 2, 5 / 6], abs=0.02)


def test_the_chosen_face_of_the_pose_photo_is_shown(tmp_path):
    two = tmp_path / "two.png"
    draw_photo(2).save(two)
    studio = fake_studio(FakeEngine())
    left, right = (
        stage_of(studio, {"people_count": 1, "faces": {str(two): number}, "pose_image": gallery(two)})
        for number in (1, 2)
    )
    assert left.faces[0][:, 0].max() < 0.5 < right.faces[0][:, 0].min()
    assert left.automatic == "as in the pose photo"


def test_a_saved_persons_face_and_shape_are_shown_though_their_photo_is_not():
    values = {"people_count": 1, "faces": {}, "portrait_1": portrait(640, 320)}
    stage = stage_of(fake_studio(FakeEngine()), values)
    assert stage.width / stage.height == pytest.approx(2, abs=0.1) and stage.picture is None
    np.testing.assert_allclose(stage.faces[0], POINTS, atol=0.02)


def test_a_chosen_size_shapes_the_canvas_and_an_impossible_one_is_left_to_generate(photo):
    def shape(**size):
        values = {"people_count": 1, "faces": {}, "people": gallery(photo), "size": CHOSEN_SIZE} | size
        stage = stage_of(fake_studio(FakeEngine()), values)
        return stage.width, stage.height

    assert shape(width=512, height=256) == (512, 256)
    assert shape(width=None, height=-8) == shape(width=0, height=10**6)


def test_a_photo_that_cannot_be_read_leaves_an_empty_canvas(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    stage = stage_of(
        fake_studio(FakeEngine()), {"people_count": 1, "faces": {}, "pose_image": gallery(broken)}
    )
    assert stage.picture is None and len(stage.faces) == 1


def test_the_browser_is_sent_a_small_picture():
    sent = stage_props(Stage(2000, 1000, Image.new("RGB", (2000, 1000))))["picture"]
    picture = Image.open(io.BytesIO(base64.b64decode(sent.partition(",")[2])))
    assert picture.size == (PICTURE_SIDE, PICTURE_SIDE // 2)


# What is said


def test_where_saved_people_are_kept_is_said(tmp_path):
    def words(**changes):
        page = build_ui(fake_studio(FakeEngine(), **changes))
        return " ".join(str(block.value) for block in page.blocks.values() if isinstance(block, gr.HTML))

    assert IN_SESSION in words() and ON_DISK not in words()
    on_disk = words(saved_people=PeopleInFolder(tmp_path / "people")).replace("&#x27;", "'")
    assert ON_DISK in on_disk and IN_SESSION not in on_disk
    assert IN_SESSION not in words(portrait=None)  # nobody can be saved


def test_lines_of_advice_stay_lines_and_are_not_read_as_html():
    assert notice("“<b>.png”:\nblurred") == (
        '<div class="notice" role="note">“&lt;b&gt;.png”:<br>blurred</div>'
    )


def test_there_is_a_box_for_everyone_who_can_be_asked_for():
    names = set(form())
    for number in range(2, MAX_PEOPLE + 1):
        assert {f"person_{number}", f"saved_{number}", f"own_{number}"} <= names
