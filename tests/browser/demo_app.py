"""The page on the fake engine, to look at: python -m tests.browser.demo_app [port]."""

import sys
import tempfile
from pathlib import Path

from instantid.styles import DEFAULT_NEGATIVE_PROMPT, load_styles
from instantid.ui import Example, build_ui, launch_options
from tests.fake_engine import FakeEngine, draw_photo, fake_studio


def main(port: int) -> None:
    """Serve until interrupted."""
    folder = Path(tempfile.mkdtemp())
    examples = []
    for i, prompt in enumerate(("a man", "a woman reading in a garden", "two old friends"), start=1):
        face = folder / f"face{i}.png"
        draw_photo(i).save(face)
        examples.append(Example(face, face if i > 1 else None, prompt, "Watercolor"))
    studio = fake_studio(
        FakeEngine(pace=0.15, steps=30),
        styles=load_styles(),
        default_negative=DEFAULT_NEGATIVE_PROMPT,
        banner=lambda: iter(["mini · CPU"]),
        untrained=True,
        examples=examples,
    )
    build_ui(studio).launch(server_port=port, **launch_options(studio))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7860)
