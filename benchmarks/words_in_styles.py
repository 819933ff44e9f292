"""Which of the words that a bundle paints it paints faintly in which style preset: how far what it makes of two words
differs there, as a share of how far it does without a style.

python -m benchmarks.words_in_styles [--bundle BUNDLE] [--write FOLDER]      # 8 minutes on two cores
"""

import json
from argparse import ArgumentParser
from itertools import combinations
from pathlib import Path

import numpy as np

from instantid import Engine, Person, Request
from instantid.styles import NO_STYLE
from instantid.training.bundle_file import describe

WORDS = {
    "hair": ("with blonde hair", "with black hair", "with red hair"),
    "places": ("in a garden", "in the snow", "at night"),
}
FAINT = 0.5
SEED = 3


def main(bundle: str, photos: list[str], write: Path | None) -> None:
    engine = Engine.load(bundle)
    plain = apart(engine, photos, None)
    faint: dict[str, list[str]] = {}
    shares = []
    for style in engine.styles:
        if style == NO_STYLE:
            continue
        share = {group: far / plain[group] for group, far in apart(engine, photos, style).items()}
        shares.append(list(share.values()))
        if lost := [group for group, part in share.items() if part < FAINT]:
            faint[style] = lost
        print(f"{style}: " + ", ".join(f"{group} {part:.2f}" for group, part in share.items()), flush=True)
    middle = dict(zip(WORDS, np.median(shares, axis=0).round(2).tolist(), strict=True))
    print(f"Median of {len(shares)} presets: {middle}; faint, below {FAINT}: {json.dumps(faint)}")
    if write:
        trained = json.loads((write / "bundle.json").read_text(encoding="utf-8"))["trained"]
        describe(write, "trained", trained | {"words_faint": faint})


def apart(engine: Engine, photos: list[str], style: str | None) -> dict[str, float]:
    """By how much pictures of people differ in the mean that words of one group tell apart, of 255, by group."""
    differing = {}
    for group, words in WORDS.items():
        made = [[painted(engine, photo, each, style) for each in words] for photo in photos]
        far = [np.abs(one - other).mean() for same in made for one, other in combinations(same, 2)]
        differing[group] = float(np.mean(far))
    return differing


def painted(engine: Engine, photo: str, words: str, style: str | None) -> np.ndarray:
    request = Request(people=[Person(references=[photo])], prompt=f"a person {words}", style=style, seed=SEED)
    return np.asarray(engine.generate(request).images[0], np.float32)


if __name__ == "__main__":
    from tests.photos import ASTRONAUT, GRACE_HOPPER

    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="mini")
    parser.add_argument("--write", type=Path, help="folder of the bundle that is to say so")
    given = parser.parse_args()
    main(given.bundle, [str(ASTRONAUT), str(GRACE_HOPPER)], given.write)
