"""The page as it ships: `python app.py` on the embedded bundle (untrained where the repository holds none yet), a
real photo, a real picture."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from PIL import Image
from playwright.sync_api import expect

from instantid import bundles, metadata
from tests import photos as real_photos
from tests.browser import page as driver

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
PATIENCE = 180_000  # milliseconds: two busy cores, and the first picture waits for torch


@pytest.fixture(scope="module")
def app():
    """The address of the app, started as the README starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "app.py", "--bundle", "mini", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    try:
        start = time.monotonic()
        while not _answers(url):
            assert process.poll() is None, "the app ended before it answered"
            assert time.monotonic() - start < 60, "the app did not answer within a minute"
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return urlopen(url, timeout=5).status == 200
    except (URLError, OSError):
        return False


def test_a_photo_becomes_a_picture_that_repeats_itself(chromium, app, tmp_path):
    page = driver.open_page(chromium, app)
    expect(page.locator("#masthead")).to_contain_text("mini · CPU, float32", timeout=PATIENCE)
    shipped = bundles.open_bundle("mini")
    expect(page.locator("#masthead")).to_contain_text("untrained" if shipped.untrained else shipped.about)
    driver.upload_face(page, real_photos.GRACE_HOPPER)
    driver.write_prompt(page, "a woman")
    driver.press(page, "Generate")
    driver.wait_for_picture(page, timeout=PATIENCE)
    expect(page.locator("#pictures")).to_contain_text(re.compile(r"seed \d+"))
    with page.expect_download() as download:
        page.locator("#download").click()
    file = tmp_path / "picture.png"
    download.value.save_as(file)
    record = metadata.read(file)
    assert record.settings["prompt"] == "a woman"
    assert record.settings["style"] == "Watercolor", "the reference's default"
    assert record.bundle["untrained"] is shipped.untrained
    with Image.open(file) as picture:
        assert picture.size == (record.settings["width"], record.settings["height"])
        assert picture.convert("RGB").getextrema() != ((0, 0),) * 3


def test_the_first_screen_holds_what_a_picture_needs(chromium, app):
    page = driver.open_page(chromium, app)
    lowest = page.locator("#generate").bounding_box()
    assert lowest["y"] + lowest["height"] <= driver.DESKTOP["height"]
    for box in ("#people-box", "#pose_image-box", "#prompt", "#style"):
        place = page.locator(box).bounding_box()
        assert place["y"] + place["height"] <= lowest["y"], box


def test_a_run_can_be_cancelled_and_the_next_one_works(chromium, app):
    page = driver.open_page(chromium, app)
    driver.upload_face(page, real_photos.ASTRONAUT)
    driver.set_steps(page, 50)  # the most that LCM takes
    driver.press(page, "Generate")
    expect(driver.status(page)).to_contain_text(re.compile(r"Painting · step [1-9]"), timeout=PATIENCE)
    driver.press(page, "Cancel")
    expect(driver.status(page)).to_contain_text("Cancelled", timeout=PATIENCE)
    driver.set_steps(page, 2)
    driver.press(page, "Generate")
    driver.wait_for_picture(page, timeout=PATIENCE)


def test_a_photo_without_a_face_is_explained(chromium, app):
    page = driver.open_page(chromium, app)
    driver.upload_face(page, real_photos.NO_PEOPLE[0])
    driver.press(page, "Generate")
    expect(driver.status(page)).to_contain_text("no face", ignore_case=True, timeout=PATIENCE)
    page.locator("#people-box").get_by_label("Clear").click()
    driver.upload_face(page, real_photos.ASTRONAUT)
    driver.set_steps(page, 2)
    driver.press(page, "Generate")
    driver.wait_for_picture(page, timeout=PATIENCE)
