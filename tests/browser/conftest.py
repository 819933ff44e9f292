"""One Chromium and one server for all browser tests; each test brings its own engine and visitors."""

from dataclasses import replace

import pytest
from PIL import Image

from instantid.ui import Example, build_ui, launch_options
from tests.browser import page as driver
from tests.fake_engine import STYLES, FakeEngine, draw_photo, fake_studio


@pytest.fixture(scope="session")
def chromium():
    with driver.chromium() as running:
        yield running


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Files by what is on them."""
    folder = tmp_path_factory.mktemp("photos")
    for faces in (1, 2):
        draw_photo(faces).save(folder / f"{faces}.png")
    Image.new("RGB", (200, 200), "grey").save(folder / "grey.png")
    Image.new("RGB", (200, 200), "grey").save(folder / "scan.tiff")
    (folder / "broken.png").write_bytes(b"not a picture")
    names = {"face": "1.png", "two": "2.png", "grey": "grey.png", "broken": "broken.png", "tiff": "scan.tiff"}
    return {name: folder / file for name, file in names.items()}


@pytest.fixture(scope="session")
def server(photos):
    """(address, the list whose last engine runs)."""
    engines = [FakeEngine()]
    studio = fake_studio(
        engines[0],
        generate=lambda request: engines[-1].generate(request),
        untrained=True,
        styles={style.name: style for style in [*STYLES[:-1], replace(STYLES[-1], preview=photos["face"])]},
        examples=[Example(photos["face"], photos["two"], "an astronaut on the moon", "Film Noir")],
    )
    page = build_ui(studio)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options(studio))
    yield url, engines
    page.close(verbose=False)


@pytest.fixture
def use_engine(server):
    """Put an engine behind the page, for this test."""
    engines = server[1]

    def use(engine: FakeEngine) -> FakeEngine:
        engines.append(engine)
        return engine

    return use


@pytest.fixture
def engine(use_engine):
    """An engine that draws at once."""
    return use_engine(FakeEngine())


@pytest.fixture
def held_engine(use_engine):
    """An engine that stays at step 1 until its gate is set."""
    engine = use_engine(FakeEngine(held=True))
    yield engine
    engine.gate.set()


@pytest.fixture
def visit(chromium, server):
    """Open the page as a new visitor, who leaves when the test ends."""
    visitors = []

    def open_page(**options):
        visitors.append(driver.open_page(chromium, server[0], **options))
        return visitors[-1]

    yield open_page
    for page in visitors:
        page.context.close()
