"""Real photos for tests, from wheels that are installed anyway."""

from importlib.util import find_spec
from pathlib import Path


def _inside(package: str, path: str) -> Path:
    return Path(find_spec(package).submodule_search_locations[0]) / path


ASTRONAUT = _inside("skimage", "data/astronaut.png")  # NASA, public domain: Eileen Collins, 512×512
GRACE_HOPPER = _inside(
    "matplotlib", "mpl-data/sample_data/grace_hopper.jpg"
)  # US Navy, public domain, 512×600
SIX_PEOPLE = _inside("insightface", "data/images/t1.jpg")  # six faces, 1280×886; for tests alone
NO_PEOPLE = tuple(
    _inside("skimage", f"data/{name}")
    for name in ("rocket.jpg", "coffee.png", "motorcycle_left.png", "brick.png")
)
