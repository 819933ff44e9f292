"""README's first picture: the page in Chromium, after a run on one of the example photos.

make run ARGS="--port 8000"                             # in one terminal
python -m benchmarks.page_picture OUT.png [ADDRESS]     # in another
"""

import sys
from pathlib import Path

from tests.browser import page as driver

PHOTO = Path(__file__).parents[1] / "assets" / "examples" / "rendered-curls.jpg"
PATIENCE = 180_000  # milliseconds


def main(out: Path, address: str) -> None:
    with driver.chromium() as chromium:
        page = driver.open_page(chromium, address)
        driver.upload_face(page, PHOTO)
        driver.write_prompt(page, "a photo of a woman")
        driver.press(page, "Generate")
        driver.wait_for_picture(page, timeout=PATIENCE)
        page.evaluate("scrollTo(0, 0)")
        page.mouse.move(0, 0)
        page.wait_for_timeout(1000)  # pictures fade in
        page.screenshot(path=out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8000/")
