"""Drive the page as a person would: open, upload, press, wait for what shows. No fixed waits.

Works on any server of the page; `TIMEOUT` suits the fake engine, real ones pass their own.
"""

import re
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
TIMEOUT = 30_000
expect.set_options(timeout=TIMEOUT)


@contextmanager
def chromium():
    """Debian's Chromium."""
    if not CHROMIUM.exists():
        raise RuntimeError(
            f"The browser tests drive {CHROMIUM}, which is not there. Install it: apt-get install chromium"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def open_page(browser: Browser, url: str, *, size: dict = DESKTOP, dark: bool = False) -> Page:
    """A new visitor (own session) on the page, ready for input."""
    page = browser.new_context(viewport=size, accept_downloads=True).new_page()
    page.set_default_timeout(TIMEOUT)
    page.goto(f"{url}?__theme={'dark' if dark else 'light'}")
    expect(page.get_by_role("button", name="Generate", exact=True)).to_be_enabled()
    return page


def upload_face(page: Page, *photos: Path) -> None:
    """Give face photos."""
    _upload(page, "people", photos)


def upload_pose(page: Page, photo: Path) -> None:
    """Give the pose photo."""
    _upload(page, "pose_image", [photo])


def upload_start(page: Page, photo: Path) -> None:
    """Give the start picture."""
    open_group(page, "start-group")
    _upload(page, "start_image", [photo])


def choose(page: Page, field: str, option: str) -> None:
    """Pick an option of the list with this element id."""
    page.locator(f"#{field} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def _upload(page: Page, field: str, photos) -> None:
    box = page.locator(f"#{field}-box")
    box.locator("input[type=file]").first.set_input_files([str(photo) for photo in photos])
    expect(box.locator("img").first).to_be_attached()


def write_prompt(page: Page, text: str) -> None:
    """Fill the prompt."""
    page.locator("#prompt textarea").fill(text)


def press(page: Page, name: str) -> None:
    """Press the button called `name`."""
    page.get_by_role("button", name=name, exact=True).click()


def status(page: Page) -> Locator:
    """The status line."""
    return page.locator("#status")


def wait_for_picture(page: Page, timeout: float = TIMEOUT) -> str:
    """Wait until a run is done; return the first picture's address."""
    expect(status(page)).to_contain_text("Done in", timeout=timeout)
    picture = page.locator("#pictures img").first
    expect(picture).to_be_visible()
    return picture.get_attribute("src")


def wait_until(page: Page, true: Callable[[], bool]) -> None:
    """Wait for something that does not show on the page."""
    deadline = time.monotonic() + TIMEOUT / 1000
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        page.wait_for_timeout(50)


def seed(page: Page) -> int:
    """What the seed box holds. It sits in “Quality”, which this opens."""
    open_group(page, "quality")
    return int(page.locator("#seed input").input_value())


def open_group(page: Page, name: str) -> None:
    """Open the group with this element id, if it is not open."""
    group = page.locator(f"#{name}")
    head = group.locator("button.label-wrap").first
    if "open" not in head.get_attribute("class").split():
        head.click()
    expect(head).to_have_class(re.compile(r"\bopen\b"))


def set_steps(page: Page, steps: int) -> None:
    """Type the number of steps. It sits in “Quality”, which this opens."""
    open_group(page, "quality")
    box = number(page, "Steps")
    box.fill(str(steps))
    box.press("Tab")


def number(page: Page, label: str) -> Locator:
    """The number beside a slider."""
    return page.get_by_label(f"number input for {label}", exact=True)


def toast(page: Page) -> Locator:
    """The error message that pops up."""
    return page.locator(".toast-body, [data-testid=toast-body]").first


def choose_style(page: Page, name: str) -> None:
    """Pick a style by typing its name."""
    page.locator("#style input").click()
    page.keyboard.type(name)
    page.get_by_role("option", name=name).first.click()


def start_over(page: Page, photo: Path) -> None:
    """Replace the face photos by one, and expect a picture of it."""
    page.locator("#people-box").get_by_label("Clear").click()
    upload_face(page, photo)
    press(page, "Generate")
    wait_for_picture(page)


CONTRASTS = """() => {
  const parse = c => (c.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const solid = (colours) => {          // painted over each other, outermost first
    canvas.clearRect(0, 0, 1, 1);
    for (const c of colours) { canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const found = {};
  const walker = document.createTreeWalker(document.querySelector('.gradio-container'), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), e = walker.currentNode.parentElement;
    if (!text || !e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    if (['STYLE', 'SCRIPT'].includes(e.tagName) || e.closest('footer, :disabled')) continue;
    const layers = [];
    for (let p = e; p; p = p.parentElement) layers.unshift(getComputedStyle(p).backgroundColor);
    layers.unshift(document.body.classList.contains('dark') ? 'black' : 'white');
    const back = light(solid(layers)), front = light(solid([...layers, getComputedStyle(e).color]));
    found[text.slice(0, 60)] = (Math.max(back, front) + .05) / (Math.min(back, front) + .05);
  }
  return found;
}"""


def contrasts(page: Page) -> dict[str, float]:
    """Contrast (1…21, WCAG) of every visible text to what lies behind it."""
    return page.evaluate(CONTRASTS)
