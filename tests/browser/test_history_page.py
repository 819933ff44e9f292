"""The history in Chromium: made, found, compared, restored, deleted, dropped; never another visitor's."""

import base64
import zipfile

import pytest
from playwright.sync_api import Locator, Page, expect

from instantid import metadata
from tests.browser import page as driver

pytestmark = pytest.mark.browser

DROP = """([data, place]) => {
  const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0)), given = new DataTransfer();
  given.items.add(new File([bytes], 'mine.png', {type: 'image/png'}));
  const told = ['dragover', 'drop'].map(kind => {
    const event = new DragEvent(kind, {dataTransfer: given, bubbles: true, cancelable: true});
    (document.querySelector(`${place} button`) ?? document.querySelector(place)).dispatchEvent(event);
    return document.querySelector('#drop-hint').hidden;
  });
  return told;
}"""


def make(page: Page, engine, prompt: str) -> None:
    before = len(engine.requests)
    driver.write_prompt(page, prompt)
    driver.press(page, "Generate")
    driver.wait_until(page, lambda: len(engine.requests) > before)
    expect(page.get_by_role("button", name="Generate", exact=True)).to_be_enabled()


def pictures(page: Page) -> Locator:
    return page.locator("#history-pictures .thumbnail-lg")


def prompt_of(page: Page) -> Locator:
    return page.locator("#prompt textarea")


def test_pictures_are_found_compared_restored_and_deleted(visit, engine, photos, tmp_path):
    page = visit()
    driver.upload_face(page, photos["face"])
    for prompt in ("a king in a palace", "a woman in the rain", "an astronaut"):
        make(page, engine, prompt)
    driver.open_group(page, "history")
    expect(pictures(page)).to_have_count(3)
    about = page.locator("#history-about")
    pictures(page).nth(2).click()
    expect(about).to_contain_text("a king in a palace")
    page.locator("#history-compare").click()
    expect(about).to_contain_text("Now choose the picture to compare it with")
    pictures(page).nth(0).click()
    expect(page.locator("#history-slider")).to_be_visible()
    expect(about.locator("tr", has_text="Prompt")).to_have_text("Prompta king in a palacean astronaut")

    pictures(page).nth(2).click()
    expect(page.locator("#history-slider")).to_be_hidden()
    page.locator("#history-restore").click()
    expect(driver.status(page)).to_contain_text("are in the form")
    expect(prompt_of(page)).to_have_value("a king in a palace")

    page.locator("#history-words textarea").fill("king")
    expect(pictures(page)).to_have_count(1)
    page.locator("#history-export").click()
    with page.expect_download() as download:
        page.locator("#history-zip").click()
    download.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert sorted(name.split(".")[-1] for name in archive.namelist()) == ["json", "png"]

    page.locator("#history-delete").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.locator("#history-said")).to_contain_text("No picture has all of that")
    page.locator("#history-words textarea").fill("")
    expect(pictures(page)).to_have_count(2)

    page.reload()
    driver.open_group(page, "history")
    expect(pictures(page)).to_have_count(2)

    other = visit()
    driver.open_group(other, "history")
    expect(other.locator("#history-said")).to_contain_text("Nothing here yet")
    expect(pictures(other)).to_have_count(0)


def test_a_picture_dropped_on_the_page_or_uploaded_restores_its_settings(visit, engine, photos, tmp_path):
    page = visit()
    driver.upload_face(page, photos["face"])
    make(page, engine, "a king in a palace")
    with page.expect_download() as download:
        page.locator("#download").click()
    mine = tmp_path / "mine.png"
    download.value.save_as(mine)
    made = metadata.read(mine).settings["seed"]
    data = base64.b64encode(mine.read_bytes()).decode()

    other = visit()
    expect(other.locator("#drop-hint")).to_be_attached()
    assert other.evaluate(DROP, [data, "#people-box"]) == [True, True]  # there it is a photo
    expect(other.locator("#people-box img").first).to_be_attached()
    expect(prompt_of(other)).to_have_value("")
    other.locator("#people-box").get_by_label("Clear").click()
    assert other.evaluate(DROP, [data, "#people-group"]) == [False, True]
    expect(prompt_of(other)).to_have_value("a king in a palace")
    expect(driver.status(other)).to_contain_text("Add, as a file of ours holds no photos: face photo.")
    assert driver.seed(other) == made

    driver.write_prompt(other, "something else")
    with other.expect_file_chooser() as chooser:
        other.get_by_role("button", name="Restore the settings of a PNG made here").press("Enter")
    chooser.value.set_files(str(mine))
    expect(prompt_of(other)).to_have_value("a king in a palace")

    with other.expect_file_chooser() as chooser:
        other.locator("#restore-png").click()
    chooser.value.set_files(str(photos["face"]))
    expect(other.get_by_text("carries no request")).to_be_visible()
