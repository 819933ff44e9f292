"""Comparing settings in Chromium, from the choice of what varies to two cells side by side. On the fake engine."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser import page as driver

pytestmark = pytest.mark.browser


def open_compare(page: Page, face) -> None:
    driver.upload_face(page, face)
    driver.open_group(page, "compare")
    expect(page.locator("#compare-outlook")).to_contain_text("4 cells: 4 columns.")


def vary(page: Page, place: str, title: str, about: str, values: str) -> None:
    """Choose what varies, wait for the row to follow (its help begins with `about`), and give values."""
    driver.choose(page, f"compare-{place}", title)
    expect(page.locator(f"#compare-{place}-help")).to_contain_text(about)
    page.locator(f"#compare-{place}-values textarea").fill(values)


def cell(page: Page, name: str):
    return page.locator("#compare-table").get_by_role("button", name=name)


def test_settings_are_compared_looked_at_and_used(visit, engine, photos, tmp_path):
    page = visit()
    open_compare(page, photos["face"])
    vary(page, "y", "Style", "A style preset", "Waterkolor")
    expect(page.locator("#compare-y-help")).to_contain_text("no “Waterkolor” here")
    page.locator("#compare-y-values textarea").fill("Watercolor | Film Noir")
    expect(page.locator("#compare-outlook")).to_contain_text("8 cells: 4 columns × 2 rows.")
    driver.press(page, "Start comparison")
    expect(page.locator("#compare-status")).to_contain_text("8 made")
    expect(page.locator("#compare-outlook")).to_contain_text("8 of them there already")
    assert len(engine.requests) == 8 and len({request.seed for request in engine.requests}) == 1

    cell(page, "Identity strength 0.4, Style Film Noir").click()
    expect(page.locator("#compare-about")).to_contain_text("Likeness")
    expect(page.locator("#compare-picture img")).to_be_visible()
    driver.press(page, "Keep, to lay another beside it")
    expect(page.locator("#compare-said")).to_contain_text("choose another cell")
    kept = cell(page, "Identity strength 0.4, Style Film Noir")
    expect(kept).to_have_accessible_name(re.compile("likeness 0.71 .*kept to compare"))
    kept.press("ArrowRight")
    expect(cell(page, "Identity strength 0.8, Style Film Noir")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#compare-slider")).to_be_visible()
    expect(page.locator("#compare-about")).to_contain_text("0.4 → 0.8")
    driver.press(page, "Use these settings")
    expect(page.locator("#compare-said")).to_contain_text("holds the settings")
    expect(page.locator("#style input")).to_have_value("Cinema · Film Noir")

    with page.expect_download() as download:
        page.locator("#compare-files a").filter(has_text="KB").nth(1).click()
    download.value.save_as(tmp_path / "grid.json")
    assert json.loads((tmp_path / "grid.json").read_text())["y"]["values"] == ["Watercolor", "Film Noir"]
    other = visit(size=driver.PHONE)
    expect(cell(other, "Identity strength")).to_have_count(0)
    open_compare(other, photos["face"])
    with other.expect_file_chooser() as chooser:
        other.locator("#compare-load").click()
    chooser.value.set_files(str(tmp_path / "grid.json"))
    expect(other.locator("#compare-loaded")).to_contain_text("It is loaded")
    expect(other.locator("#compare-outlook")).to_contain_text("8 cells: 4 columns × 2 rows.")
    assert other.evaluate("document.documentElement.scrollWidth") <= driver.PHONE["width"]


def test_a_cancelled_comparison_keeps_its_cells_and_goes_on(visit, held_engine, photos):
    page = visit()
    open_compare(page, photos["face"])
    held_engine.gate.set()
    vary(page, "x", "Steps", "More steps: slower", "3 | 4")
    driver.press(page, "Start comparison")
    expect(page.locator("#compare-status")).to_contain_text("2 made")
    held_engine.gate.clear()
    page.locator("#compare-x-values textarea").fill("3 | 4 | 5 | 6")
    expect(page.locator("#compare-outlook")).to_contain_text("2 of them there already")
    driver.press(page, "Go on")
    expect(page.locator("#compare-status")).to_contain_text("Picture 3 of 4")
    driver.press(page, "Cancel comparison")
    expect(page.locator("#compare-status")).to_contain_text("Cancelled")
    assert held_engine.closed.wait(driver.TIMEOUT / 1000)
    expect(cell(page, "likeness 0.71")).to_have_count(2)
    expect(page.locator("#compare-files")).to_contain_text("zip")

    page.reload()
    driver.open_group(page, "compare")
    driver.press(page, "Go back to my last one")
    expect(page.locator("#compare-loaded")).to_contain_text("your last comparison")
    expect(cell(page, "likeness 0.71")).to_have_count(2)
    expect(page.locator("#compare-outlook")).to_contain_text("4 cells: 4 columns, 2 of them there already")
    held_engine.gate.set()
    driver.press(page, "Go on")
    expect(page.locator("#compare-status")).to_contain_text("2 made · 2 were there already")
    expect(cell(page, "likeness 0.71")).to_have_count(4)
    driver.open_group(page, "history")
    expect(page.locator("#history-said")).to_contain_text("4 pictures")
