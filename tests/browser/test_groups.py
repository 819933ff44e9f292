"""The page's groups in Chromium: recipe, weights, mask, start picture, batch. On the fake engine."""

import re
import zipfile

import pytest
from playwright.sync_api import expect

from instantid.ui import build_ui, launch_options
from tests.browser import page as driver
from tests.fake_engine import FakeEngine, fake_studio

pytestmark = pytest.mark.browser


def test_a_control_that_is_the_only_one_shows_its_settings(chromium):
    studio = fake_studio(FakeEngine(), controls=("canny",))
    server = build_ui(studio)
    _, url, _ = server.launch(prevent_thread_lock=True, quiet=True, **launch_options(studio))
    try:
        page = driver.open_page(chromium, url)
        expect(page.get_by_text("Canny strength")).to_be_hidden()
        page.get_by_label("canny").check()
        expect(page.get_by_text("Canny strength")).to_be_visible()
    finally:
        server.close(verbose=False)


def test_steps_guidance_and_sampler_follow_the_recipe_and_come_back(visit, engine, photos):
    page = visit()
    driver.open_group(page, "quality")
    driver.choose(page, "recipe", "LCM, 4 steps")
    expect(driver.number(page, "Guidance scale (CFG)")).to_have_value("1.5")
    expect(page.locator("#scheduler input")).to_have_value("LCM")
    expect(page.get_by_text("For quick tries")).to_be_visible()
    driver.upload_face(page, photos["face"])
    driver.press(page, "Generate")
    driver.wait_for_picture(page)
    asked = engine.requests[0]
    assert (asked.recipe, asked.steps, asked.guidance_scale, asked.scheduler) == (
        "LCM, 4 steps",
        4,
        1.5,
        "LCM",
    )
    driver.choose(page, "recipe", "(None)")
    expect(driver.number(page, "Guidance scale (CFG)")).to_have_value("5")
    expect(page.locator("#scheduler input")).to_have_value("Euler")
    expect(page.get_by_text("For quick tries")).to_be_hidden()


def test_loras_are_chosen_from_the_list_and_from_ones_own_files(visit, engine, photos, tmp_path):
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(b"weights")
    page = visit()
    driver.open_group(page, "weights")
    expect(page.locator("#lora-2")).to_be_hidden()
    driver.choose(page, "lora-1", "watercolour")
    page.locator("#weight-files input[type=file]").set_input_files(str(mine))
    expect(page.locator("#weight-files")).to_contain_text("mine")
    driver.choose(page, "lora-2", "mine.safetensors")
    strength = driver.number(page, "LoRA 2 strength")
    strength.fill("0.4")
    strength.press("Tab")
    driver.upload_face(page, photos["face"])
    driver.press(page, "Generate")
    driver.wait_for_picture(page)
    first, second = engine.requests[0].loras
    assert (first.source, first.strength) == ("watercolour", 1.0)
    assert second.source.endswith("/mine.safetensors") and second.strength == 0.4


def test_a_painted_mask_lies_where_it_was_painted(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    driver.upload_start(page, photos["two"])
    page.locator("#repaint").get_by_label("mask").check()
    canvas = page.locator("#repaint-mask canvas").first
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)  # the editor fits the picture in, and tells nobody when it has
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 12, y + 4, steps=4)
    page.mouse.up()
    page.wait_for_timeout(500)
    driver.press(page, "Generate")
    driver.wait_for_picture(page)
    mask = engine.requests[0].repaint_mask.image
    assert mask.size == (320, 320)
    left, top, right, bottom = mask.getbbox()
    assert left < 160 < right and top < 160 < bottom
    assert right - left < 160 and bottom - top < 160


def test_a_result_becomes_the_start_picture(visit, engine, photos):
    page = visit()
    driver.upload_face(page, photos["face"])
    driver.press(page, "Generate")
    driver.wait_for_picture(page)
    driver.press(page, "Use as start picture")
    expect(page.locator("#start_image-box img").first).to_be_visible()
    driver.press(page, "Generate")
    driver.wait_until(page, lambda: len(engine.requests) == 2)
    driver.wait_for_picture(page)
    assert engine.requests[1].start_image.image.suffix in {".png", ".webp"}


def start_batch(page, photos, prompts):
    driver.open_group(page, "batch")
    box = page.locator("#batch-faces-box")
    box.locator("input[type=file]").first.set_input_files([str(photos["face"]), str(photos["two"])])
    expect(box.locator("img").nth(1)).to_be_attached()
    page.locator("#batch-prompts textarea").fill(prompts)
    driver.press(page, "Start batch")


def test_a_batch_makes_every_picture_and_packs_them(visit, engine, photos, tmp_path):
    page = visit()
    start_batch(page, photos, "{name} in the rain\n\n{name} in a garden")
    expect(page.locator("#batch-status")).to_contain_text("4 made")
    assert sorted(request.prompt for request in engine.requests) == [
        "1 in a garden",
        "1 in the rain",
        "2 in a garden",
        "2 in the rain",
    ]
    assert {request.style for request in engine.requests} == {"Watercolor"}
    with page.expect_download() as download:
        page.locator("#batch-download").click()
    download.value.save_as(tmp_path / "all.zip")
    names = zipfile.ZipFile(tmp_path / "all.zip").namelist()
    assert len([name for name in names if name.endswith(".png")]) == 4 and "batch.csv" in names


def test_a_stopped_batch_goes_on_where_it_was(visit, held_engine, photos):
    held_engine.gate.set()
    page = visit()
    start_batch(page, photos, "one")
    expect(page.locator("#batch-status")).to_contain_text("2 made")
    held_engine.gate.clear()
    page.locator("#batch-prompts textarea").fill("one\ntwo")
    driver.press(page, "Start batch")
    expect(page.locator("#batch-status")).to_contain_text("Picture 3 of 4")
    driver.press(page, "Stop")
    expect(page.locator("#batch-status")).to_contain_text("Stopped")
    assert held_engine.closed.wait(driver.TIMEOUT / 1000)
    held_engine.gate.set()
    made = len(held_engine.requests)
    driver.press(page, "Start batch")
    expect(page.locator("#batch-status")).to_contain_text(re.compile("2 made · 2 were there already"))
    assert len(held_engine.requests) == made + 2


def test_a_batch_tells_whose_picture_could_not_be_made(visit, engine, photos):
    page = visit()
    driver.open_group(page, "batch")
    driver.press(page, "Start batch")
    expect(page.locator("#batch-status")).to_contain_text("no face photos in the batch")
    box = page.locator("#batch-faces-box")
    box.locator("input[type=file]").first.set_input_files([str(photos["grey"]), str(photos["face"])])
    expect(box.locator("img").nth(1)).to_be_attached()
    driver.press(page, "Start batch")
    expect(page.locator("#batch-status")).to_contain_text("grey · Watercolor: No face found")
    expect(page.locator("#batch-status")).to_contain_text("1 made · 1 not made")
