"""One Chromium for the run; a fresh server and engine for each test that asks for them."""

import pytest
from PIL import Image

from instantid.ui import build_ui, launch_options
from tests.browser.page import chromium
from tests.fake_engine import FakeEngine, draw_photo, fake_studio


@pytest.fixture(scope="session")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture
def serve():
    """Serve the page on an engine; returns its address."""
    pages = []

    def start(engine: FakeEngine, **changes) -> str:
        studio = fake_studio(engine, **changes)
        page = build_ui(studio)
        pages.append(page)
        return page.launch(prevent_thread_lock=True, quiet=True, **launch_options(studio))[1]

    yield start
    for page in pages:
        page.close(verbose=False)


@pytest.fixture
def photos(tmp_path):
    """Files by what is on them."""
    for faces in (1, 2):
        draw_photo(faces).save(tmp_path / f"{faces}.png")
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "grey.png")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    names = {"face": "1.png", "two": "2.png", "grey": "grey.png", "broken": "broken.png"}
    return {name: tmp_path / file for name, file in names.items()}
