"""The people on the page, in Chromium: several of them, placed by hand, painted, saved."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from instantid.request import Photo, Portrait
from instantid.views import on_canvas
from tests.browser import page as driver
from tests.fake_engine import find_faces

pytestmark = pytest.mark.browser


def add_person(page: Page, number: int, photo) -> None:
    page.locator("#add-person").click()
    box = page.locator(f"#person_{number}-box")
    box.locator("input[type=file]").first.set_input_files(str(photo))
    expect(box.locator("img").first).to_be_attached()


def open_places(page: Page, *, photo: bool = True):
    """The keypoint editor, once it shows the photo that leads: until then the canvas has another shape.

    Args:
        photo: whether one leads; none does for several people without a pose photo.
    """
    page.get_by_role("button", name="Place the faces").click()
    editor = page.locator("#keypoint-editor")
    expect(editor.locator(".face").first).to_be_visible()
    if photo:
        expect(editor.locator("image")).to_have_attribute("href", re.compile("^data:"))
    return editor


def open_painter(page: Page):
    open_places(page)
    page.get_by_role("tab", name="Paint regions").click()
    painter = page.locator("#region-painter")
    expect(painter.locator("canvas")).to_be_visible()
    return painter


def open_saved(page: Page) -> None:
    page.get_by_role("button", name="Saved people").click()
    expect(page.locator("#save-name input, #save-name textarea")).to_be_visible()


def save_as(page: Page, name: str) -> None:
    page.locator("#save-name input, #save-name textarea").fill(name)
    page.locator("#save-person").click()


def choose_saved(page: Page, number: int, name: str) -> None:
    page.locator(f"#saved-{number} input").click()
    page.get_by_role("option", name=name, exact=True).click()


def middle(locator) -> tuple[float, float]:
    locator.scroll_into_view_if_needed()
    expect(locator).to_be_in_viewport()
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Page, locator, dx: float, dy: float) -> None:
    x, y = middle(locator)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx / 2, y + dy / 2)
    page.mouse.move(x + dx, y + dy)
    page.mouse.up()


def run(page: Page, engine):
    """Press Generate and return the request that came of it."""
    before = len(engine.requests)
    driver.press(page, "Generate")
    driver.wait_until(page, lambda: len(engine.requests) > before)
    driver.wait_for_picture(page)
    return engine.requests[-1]


def test_one_person_is_as_simple_as_ever(visit, engine, photos):
    page = visit()
    for hidden in ("#person-2", "#own-1", "#remove-1", "#saved-1"):
        expect(page.locator(hidden)).to_be_hidden()
    driver.upload_face(page, photos["face"])
    [person] = run(page, engine).people
    assert [reference.face for reference in person.references] == [1]
    assert (person.keypoints, person.view, person.place, person.region) == (None,) * 4
    assert (person.identity_strength, person.adapter_strength) == (None, None)


def test_a_second_person_has_their_own_photos_and_strengths(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    add_person(page, 2, photos["two"])
    page.locator("#own-2 input").check()
    page.get_by_label("number input for Image adapter, person 2").fill("0.3")
    page.get_by_label("number input for Image adapter, person 2").press("Tab")
    first, second = run(page, engine).people
    assert [reference.image.name for reference in first.references] == ["1.png"]
    assert [reference.image.name for reference in second.references] == ["2.png"]
    assert first.adapter_strength is None
    assert (second.identity_strength, second.adapter_strength) == (0.8, 0.3)


def test_whoever_has_no_photo_is_named(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    page.locator("#add-person").click()
    expect(page.locator("#person-2")).to_be_visible()
    driver.press(page, "Generate")
    expect(driver.status(page)).to_contain_text("Person 2 has no face photo yet")
    page.locator("#remove-2").click()
    expect(page.locator("#person-2")).to_be_hidden()
    assert len(run(page, engine).people) == 1


def test_a_free_pose_is_offered_for_one_person_alone(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    page.locator("#free-pose input").check()
    assert run(page, engine).free_pose
    add_person(page, 2, photos["face"])
    expect(page.locator("#free-pose")).to_be_hidden()
    assert not run(page, engine).free_pose
    page.locator("#remove-2").click()
    expect(page.locator("#free-pose input")).not_to_be_checked()


def test_four_are_enough(visit, engine):
    page = visit()
    for number in (2, 3, 4):
        page.locator("#add-person").click()
        expect(page.locator(f"#person-{number}")).to_be_visible()
    expect(page.locator("#add-person")).to_be_hidden()


def test_taking_the_first_out_moves_the_others_up_with_what_was_drawn(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    add_person(page, 2, photos["two"])
    editor = open_places(page, photo=False)
    editor.get_by_role("button", name="Person 2", exact=True).click()
    editor.locator("select").select_option("profile left")
    page.locator("#remove-1").click()
    expect(page.locator("#person-2")).to_be_hidden()
    expect(editor.locator("select")).to_have_value("profile left")
    [person] = run(page, engine).people
    assert [reference.image.name for reference in person.references] == ["2.png"]
    assert person.view == "profile left"


def test_a_dragged_point_goes_where_it_was_dropped_and_the_others_stay(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    editor = open_places(page)
    face = find_faces(photos["face"])[0]
    was = face.keypoints / 320  # the canvas has the photo's shape
    stage = editor.locator("svg").bounding_box()
    drag(page, editor.locator(".chosen [data-point='2']"), 0.1 * stage["width"], -0.05 * stage["height"])
    points = np.array(run(page, engine).people[0].keypoints)
    np.testing.assert_allclose(points[2] - was[2], (0.1, -0.05), atol=0.01)
    np.testing.assert_allclose(np.delete(points, 2, 0), np.delete(was, 2, 0), atol=1e-4)
    editor.get_by_role("button", name="Reset").click()
    assert run(page, engine).people[0].keypoints is None


def test_a_dragged_face_moves_as_a_whole(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    editor = open_places(page)
    was = find_faces(photos["face"])[0].keypoints / 320
    stage, outline = editor.locator("svg").bounding_box(), editor.locator(".chosen .outline")
    outline.scroll_into_view_if_needed()
    box = outline.bounding_box()
    start = box["x"] + box["width"] / 2, box["y"] + 0.06 * box["height"]  # the forehead, away from the points
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] - 0.1 * stage["width"], start[1] + 0.1 * stage["height"])
    page.mouse.up()
    moved = np.array(run(page, engine).people[0].keypoints) - was
    np.testing.assert_allclose(moved, np.tile((-0.1, 0.1), (5, 1)), atol=0.01)


def test_a_face_placed_by_hand_is_not_squeezed_by_another_shape(visit, engine, photos, tmp_path):
    wide_photo = tmp_path / "wide.png"
    Image.new("RGB", (640, 320), "white").save(wide_photo)
    page = visit()
    driver.upload_face(page, photos["face"])
    editor = open_places(page)
    editor.locator(".chosen [data-point='0']").focus()
    page.keyboard.press("ArrowRight")
    square = np.array(run(page, engine).people[0].keypoints)
    driver.upload_pose(page, wide_photo)
    expect(editor.locator("svg")).to_have_attribute("viewBox", "0 0 1000 500")
    wide = np.array(run(page, engine).people[0].keypoints)
    np.testing.assert_allclose(wide.mean(axis=0), square.mean(axis=0), atol=1e-3)
    apart = square - square.mean(axis=0)
    np.testing.assert_allclose(wide - wide.mean(axis=0), apart * (0.5, 1), atol=1e-3)


def test_the_pose_photos_faces_are_taken_from_left_to_right(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    add_person(page, 2, photos["face"])
    driver.upload_pose(page, photos["two"])
    editor = open_places(page)
    expect(editor.locator("select option").first).to_have_text("as in the pose photo")
    right = min(find_faces(photos["two"]), key=lambda face: -face.centre[0]).keypoints / 320
    editor.get_by_role("button", name="Person 2", exact=True).click()
    editor.locator(".chosen [data-point='0']").focus()
    page.keyboard.press("ArrowRight")
    first, second = run(page, engine).people
    assert first.keypoints is None
    np.testing.assert_allclose(np.array(second.keypoints)[1:], right[1:], atol=1e-4)
    assert second.keypoints[0][0] - right[0, 0] == pytest.approx(0.004, abs=1e-4)


def test_a_view_keeps_its_place_and_can_be_moved_by_the_keyboard(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    editor = open_places(page)
    editor.locator("select").select_option("three-quarter left")
    at_first = run(page, engine).people[0]
    assert at_first.view == "three-quarter left" and at_first.keypoints is None
    editor.locator(".chosen .outline").focus()
    for key in ("ArrowDown", "ArrowDown", "+"):
        page.keyboard.press(key)
    person = run(page, engine).people[0]
    assert person.place.y == pytest.approx(at_first.place.y + 0.008, abs=1e-6)
    assert person.place.x == pytest.approx(at_first.place.x)
    assert person.place.size == pytest.approx(at_first.place.size * 1.08)
    # what is drawn is what `views` makes of it
    drawn = [float(editor.locator(".chosen [data-point='0']").get_attribute(side)) for side in ("cx", "cy")]
    points, _ = on_canvas(person.view, person.place, 1000, 1000)
    np.testing.assert_allclose(drawn, points[0], atol=0.01)


def test_looking_through_the_views_leaves_the_face_where_it_is(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    editor = open_places(page)
    places = []
    for view in ("profile left", "up", "three-quarter right"):
        editor.locator("select").select_option(view)
        person = run(page, engine).people[0]
        assert person.view == view
        places.append(person.place)
    assert places[0] == places[1] == places[2]
    assert (places[0].x, places[0].y) == pytest.approx((0.5, 0.45), abs=0.06)


def test_two_people_are_turned_each_their_own_way(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    add_person(page, 2, photos["face"])
    editor = open_places(page, photo=False)
    editor.locator("select").select_option("three-quarter right")
    editor.get_by_role("button", name="Person 2", exact=True).click()
    editor.locator("select").select_option("three-quarter left")
    first, second = run(page, engine).people
    assert (first.view, second.view) == ("three-quarter right", "three-quarter left")
    assert first.place.x < 0.4 and second.place.x > 0.6


def test_tilting_keeps_the_middle_of_the_face(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    editor = open_places(page)
    was = find_faces(photos["face"])[0].keypoints / 320
    for _ in range(3):
        editor.get_by_role("button", name="Tilt right").click()
    points = np.array(run(page, engine).people[0].keypoints)
    turned = np.degrees(np.arctan2(*(points[1] - points[0])[::-1]))
    assert turned == pytest.approx(15, abs=0.1)
    assert np.linalg.norm(points.mean(axis=0) - was.mean(axis=0)) < 0.02


def test_a_painted_region_reaches_its_person_alone(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    add_person(page, 2, photos["face"])
    driver.upload_pose(page, photos["two"])
    painter = open_painter(page)
    painter.get_by_role("button", name="Person 2", exact=True).click()
    canvas = painter.locator("canvas")
    x, y = middle(canvas)
    quarter = canvas.bounding_box()["width"] / 4
    page.mouse.move(x + quarter, y - quarter)
    page.mouse.down()
    page.mouse.move(x + quarter, y)
    page.mouse.move(x + quarter, y + quarter)
    page.mouse.up()
    first, second = run(page, engine).people
    assert first.region is None
    mask = np.asarray(second.region.image)
    height, width = mask.shape
    assert mask[height // 2, width * 3 // 4] == 255 and mask[height // 2, width // 4] == 0
    assert 0.03 < (mask > 0).mean() < 0.2
    painter.get_by_role("button", name="Undo").click()
    assert run(page, engine).people[1].region is None


def test_a_saved_person_takes_the_place_of_photos(visit, engine, photos):
    page = visit()
    open_saved(page)
    expect(page.locator("#saved-people")).to_contain_text("biometric data")
    save_as(page, "Anna")
    expect(driver.toast(page)).to_contain_text("Person 1 has no photo to save")
    driver.upload_face(page, photos["face"])
    expect(page.locator("#saved-1")).to_be_hidden()
    save_as(page, "Anna")
    expect(page.locator("#saved-said")).to_contain_text("“Anna” is saved")
    assert [type(reference) for reference in run(page, engine).people[0].references] == [Photo]
    choose_saved(page, 1, "Anna")
    expect(page.locator("#people-box")).to_be_hidden()
    [reference] = run(page, engine).people[0].references
    assert isinstance(reference, Portrait)
    np.testing.assert_array_equal(reference.face.embedding, find_faces(photos["face"])[0].embedding)
    page.locator("#delete-person").click()
    expect(page.locator("#saved-said")).to_contain_text("“Anna” is deleted")
    expect(page.locator("#people-box")).to_be_visible()
    expect(page.locator("#saved-1")).to_be_hidden()
    assert [type(reference) for reference in run(page, engine).people[0].references] == [Photo]


def test_a_saved_person_can_be_taken_along_and_is_nobody_elses(visit, engine, photos, tmp_path):
    page = visit()
    driver.upload_face(page, photos["face"])
    open_saved(page)
    save_as(page, "Anna")
    expect(page.locator("#saved-said")).to_contain_text("“Anna” is saved")
    with page.expect_download() as download:
        page.locator("#export-person").click()
    assert download.value.suggested_filename == "Anna.json"
    file = tmp_path / "Anna.json"
    download.value.save_as(file)
    assert json.loads(file.read_text())
    other = visit()
    open_saved(other)
    expect(other.locator("#kept")).to_be_hidden()
    with other.expect_file_chooser() as chooser:
        other.locator("#import-person").click()
    chooser.value.set_files(str(file))
    expect(other.locator("#saved-said")).to_contain_text("“Anna” is saved")
    choose_saved(other, 1, "Anna")
    expect(other.locator("#people-box")).to_be_hidden()
    [reference] = run(other, engine).people[0].references
    assert isinstance(reference, Portrait)


def test_advice_stands_under_the_photo_and_stops_nobody(visit, engine, tmp_path, photos):
    small = tmp_path / "small.png"
    Image.open(photos["face"]).resize((96, 96), Image.Resampling.NEAREST).save(small)
    page = visit()
    driver.upload_face(page, small)
    advice = page.get_by_role("note").filter(has_text="small.png")
    expect(advice).to_contain_text("holds more likeness")
    run(page, engine)
    page.locator("#people-box").get_by_label("Clear").click()
    expect(advice).to_be_hidden()


def test_on_a_phone_a_point_is_dragged_by_a_finger(visit, engine, photos):
    page = visit(size=driver.PHONE)
    driver.upload_face(page, photos["face"])
    editor = open_places(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= driver.PHONE["width"]
    grip = editor.locator(".chosen [data-point='2']")
    x, y = middle(grip)
    touch = page.context.new_cdp_session(page)
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x + 10, "y": y + 15}]),
        ("touchMove", [{"x": x + 20, "y": y + 30}]),
        ("touchEnd", []),
    ):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    was = find_faces(photos["face"])[0].keypoints / 320
    moved = np.array(run(page, engine).people[0].keypoints)[2] - was[2]
    side = editor.locator("svg").bounding_box()["width"]
    np.testing.assert_allclose(moved, np.array((20, 30)) / side, atol=0.01)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_editors_words_stand_out_from_their_background(visit, engine, photos, dark):
    page = visit(dark=dark)
    driver.upload_face(page, photos["face"])
    add_person(page, 2, photos["face"])
    open_saved(page)
    open_places(page, photo=False)
    faint = {text: ratio for text, ratio in driver.contrasts(page).items() if ratio < 4.5}
    assert faint == {}
