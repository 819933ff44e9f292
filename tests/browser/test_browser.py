"""What a person does on the page, in Debian's Chromium, on the fake engine."""

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser import page as driver

pytestmark = pytest.mark.browser


def test_a_photo_becomes_a_picture_that_can_be_downloaded(visit, engine, photos, tmp_path):
    page = visit()
    driver.upload_face(page, photos["face"])
    driver.write_prompt(page, "a man, studio portrait")
    driver.press(page, "Generate")
    driver.wait_for_picture(page)
    expect(page.locator("#pictures")).to_contain_text("likeness 0.71")
    expect(page.locator("#maps img")).to_have_count(2)  # keypoints and pose
    with page.expect_download() as download:
        page.locator("#download").click()
    download.value.save_as(tmp_path / "got.png")
    assert Image.open(tmp_path / "got.png").text["seed"] == str(driver.seed(page))
    assert engine.requests[0].prompt == "a man, studio portrait"


def test_a_run_shows_its_step_and_a_preview_and_locks_generate(visit, held_engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    driver.press(page, "Generate")
    expect(driver.status(page)).to_contain_text("Step 1 of 4")
    expect(page.locator("#preview img")).to_be_visible()
    expect(page.get_by_role("button", name="Generate", exact=True)).to_be_disabled()
    held_engine.gate.set()
    driver.wait_for_picture(page)
    expect(page.locator("#preview")).to_be_hidden()


def test_after_cancel_the_next_generate_works(visit, held_engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    driver.press(page, "Generate")
    expect(driver.status(page)).to_contain_text("Step 1 of 4")
    driver.press(page, "Cancel")
    expect(driver.status(page)).to_contain_text("Cancelled")
    assert held_engine.closed.wait(driver.TIMEOUT / 1000)
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_hidden()
    held_engine.gate.set()
    driver.press(page, "Generate")
    driver.wait_for_picture(page)
    assert len(held_engine.requests) == 2


def test_cancel_stops_ones_own_run_only(visit, held_engine, photos):
    first, second = (visit() for _ in range(2))
    for page in (first, second):
        driver.upload_face(page, photos["face"])
    driver.press(first, "Generate")
    expect(driver.status(first)).to_contain_text("Step 1 of 4")
    driver.press(second, "Generate")  # waits for the first
    expect(second.get_by_role("button", name="Cancel", exact=True)).to_be_visible()
    driver.press(second, "Cancel")
    expect(driver.status(second)).to_contain_text("Cancelled")
    expect(driver.status(first)).to_contain_text("Step 1 of 4")
    assert not held_engine.closed.is_set()
    held_engine.gate.set()
    driver.wait_for_picture(first)
    assert len(held_engine.requests) == 1  # the waiting run was taken out of the queue
    driver.press(second, "Generate")
    driver.wait_for_picture(second)


def test_closing_the_page_stops_its_run(visit, held_engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    driver.press(page, "Generate")
    expect(driver.status(page)).to_contain_text("Step 1 of 4")
    page.context.close()
    assert held_engine.closed.wait(driver.TIMEOUT / 1000)


def test_a_photo_without_a_face_is_said_at_once_and_again_on_generate(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["grey"])
    expect(page.get_by_role("alert").filter(has_text="No face found in “grey.png”")).to_be_visible()
    assert engine.requests == []
    driver.press(page, "Generate")
    expect(driver.status(page)).to_contain_text("No face found")
    expect(driver.toast(page)).to_contain_text("No face found")
    expect(page.locator("#people-box img").first).to_be_visible()  # inputs are kept
    driver.start_over(page, photos["face"])


def test_a_file_that_is_not_a_picture_is_named(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["broken"])
    expect(page.get_by_role("alert").filter(has_text="broken.png")).to_be_visible()
    driver.press(page, "Generate")
    expect(driver.status(page)).to_contain_text("broken.png")
    driver.start_over(page, photos["face"])


def test_a_missing_photo_is_asked_for_and_the_page_goes_on(visit, engine, photos):
    page = visit()
    driver.write_prompt(page, "a man")
    driver.press(page, "Generate")
    expect(driver.status(page)).to_contain_text("no face photo yet")
    expect(page.locator("#prompt textarea")).to_have_value("a man")
    driver.upload_face(page, photos["face"])
    driver.press(page, "Generate")
    driver.wait_for_picture(page)


def test_a_malformed_side_is_named(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    driver.seed(page)
    page.get_by_label("Choose width and height").check()
    page.get_by_label("Width", exact=True).fill("513")
    driver.press(page, "Generate")
    expect(driver.status(page)).to_contain_text("513")
    page.get_by_label("Width", exact=True).fill("512")
    driver.press(page, "Generate")
    driver.wait_for_picture(page)


def test_use_this_seed_repeats_the_picture(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    driver.press(page, "Generate")
    driver.wait_for_picture(page)
    driver.press(page, "Use this seed")
    driver.seed(page)
    expect(page.locator("#randomise input")).not_to_be_checked()
    driver.press(page, "Generate")
    driver.wait_until(page, lambda: len(engine.requests) == 2)
    driver.wait_for_picture(page)
    assert engine.requests[0].seed is None
    assert engine.requests[1].seed == driver.seed(page)


def test_download_and_seed_are_those_of_the_picture_chosen(visit, engine, photos, tmp_path):
    page = visit()
    driver.upload_face(page, photos["face"])
    first = driver.seed(page)
    page.locator("#randomise input").uncheck()
    page.get_by_label("number input for Pictures").fill("2")
    driver.press(page, "Generate")
    driver.wait_for_picture(page)
    page.get_by_label("Thumbnail 2 of 2").first.click()
    expect(page.locator("#pictures caption")).to_contain_text(f"seed {first + 1}")
    driver.press(page, "Use this seed")
    expect(page.locator("#seed input")).to_have_value(str(first + 1))
    with page.expect_download() as download:
        page.locator("#download").click()
    download.value.save_as(tmp_path / "second.png")
    assert Image.open(tmp_path / "second.png").text["seed"] == str(first + 1)


def test_of_two_faces_the_chosen_one_is_taken(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["two"])
    choice = page.get_by_role("radiogroup", name="Which face?").or_(
        page.locator("fieldset", has_text="Which face?")
    )
    expect(choice.get_by_label("1")).to_be_checked()
    choice.get_by_label("2").check()
    driver.press(page, "Generate")
    driver.wait_for_picture(page)
    assert engine.requests[0].people[0].references[0].face == 2


def test_an_example_fills_the_form_and_generates_nothing(visit, engine, photos):
    page = visit()
    page.locator("#examples tbody tr").first.click()
    expect(page.locator("#prompt textarea")).to_have_value("an astronaut on the moon")
    expect(page.locator("#people-box img").first).to_be_visible()
    assert engine.requests == []
    driver.press(page, "Generate")
    driver.wait_for_picture(page)
    assert engine.requests[0].style == "Film Noir"


def test_suggested_settings_are_offered_and_put_in_on_request(visit, engine, photos):
    page = visit()
    driver.choose_style(page, "Oil painting")
    page.get_by_role("button", name="Use this style's settings: Image adapter strength 0.6").click()
    driver.open_group(page, "likeness")
    expect(page.get_by_label("number input for Image adapter strength")).to_have_value("0.6")


def test_a_style_is_chosen_by_its_picture(visit, engine, photos):
    page = visit()
    page.get_by_role("button", name="Browse styles").click()
    page.locator("#style-pictures").get_by_role("button").first.click()
    expect(page.locator("#style input")).to_have_value("Cinema · Film Noir")
    expect(page.locator("#style-note")).to_contain_text("film noir")


def test_a_photo_that_browsers_cannot_show_is_shown_all_the_same(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["tiff"])
    expect(page.locator("#people-box img[src$='scan.png']").first).to_be_visible()


def test_a_control_strength_shows_while_its_control_is_ticked(visit, engine):
    page = visit()
    expect(page.get_by_text("Pose strength")).to_be_visible()
    expect(page.get_by_text("Canny strength")).to_be_hidden()
    page.get_by_label("canny").check()
    expect(page.get_by_text("Canny strength")).to_be_visible()


@pytest.mark.parametrize("size", [driver.PHONE, driver.DESKTOP], ids=["phone", "desktop"])
def test_nothing_scrolls_sideways(visit, engine, photos, size):
    page = visit(size=size)
    driver.upload_face(page, photos["two"])
    driver.seed(page)
    driver.press(page, "Generate")
    driver.wait_for_picture(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_on_a_phone_generate_brings_the_results_into_view(visit, held_engine, photos):
    page = visit(size=driver.PHONE)
    driver.upload_face(page, photos["face"])
    driver.press(page, "Generate")
    expect(driver.status(page)).to_contain_text("Step 1 of 4")
    expect(driver.status(page)).to_be_in_viewport()


def test_removing_a_photo_takes_back_what_was_said_about_it(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["grey"])
    warning = page.get_by_role("alert").filter(has_text="grey.png")
    expect(warning).to_be_visible()
    page.locator("#people-box").get_by_label("Clear").click()
    expect(warning).to_be_hidden()


def test_on_a_desktop_results_stand_beside_the_form_on_a_phone_below(visit, engine):
    for size, beside in ((driver.DESKTOP, True), (driver.PHONE, False)):
        page = visit(size=size)
        form, pictures = (page.locator(name).bounding_box() for name in ("#prompt", "#pictures"))
        assert (pictures["x"] > form["x"] + form["width"]) is beside


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_its_background(visit, engine, photos, dark):
    page = visit(dark=dark)
    driver.upload_face(page, photos["grey"])
    expect(page.get_by_role("alert").filter(has_text="grey.png")).to_be_visible()
    faint = {text: ratio for text, ratio in driver.contrasts(page).items() if ratio < 4.5}
    assert faint == {}


def test_the_page_asks_nothing_of_the_internet(visit, server, engine, photos):
    page, asked = visit(), []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    driver.upload_face(page, photos["face"])
    driver.press(page, "Generate")
    driver.wait_for_picture(page)
    assert [address for address in asked if not address.startswith((server[0], "blob:", "data:"))] == []


def test_keys_go_through_the_form_in_reading_order(visit, engine):
    page = visit()
    expect(page.locator("#style input")).to_be_editable()  # on a busy machine it comes after the prompt's
    page.locator("#prompt textarea").focus()
    met = []
    for _ in range(4):
        page.keyboard.press("Tab")
        met.append(
            page.evaluate(
                "(document.activeElement.closest('.block, button')).innerText.trim().split('\\n')[0]"
            )
        )
    assert met == ["Style", "Browse styles", "Style picture", "Negative prompt"]
