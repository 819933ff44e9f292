"""README's figures: people whose photos come with installed packages, in several styles, or by several words without
a style and in one; by a bundle's own defaults.

python -m benchmarks.many_styles OUT.webp [--words] [--bundle BUNDLE] [PHOTO …]      # a minute on two cores
"""

from argparse import ArgumentParser
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from instantid import Engine, Person, Request
from instantid.training.sheets import lay_out

STYLES = ("", "Classic Black and White", "Oil Portrait", "Watercolor", "Pencil Sketch", "Ukiyo-e", "Neon")
WORDS = ("with black hair", "in a garden", "in the snow", "at night")
WORDS_STYLE = "Watercolor"  # where the page begins
GAP, LABEL = 4, 18
Column = tuple[str, str, str]  # what stands above it, prompt, style
PROMPT = "a photo of a person"
IN_STYLES: list[Column] = [(style or "no style", PROMPT, style) for style in STYLES]
IN_WORDS: list[Column] = [
    *((words, f"{PROMPT}, {words}", "") for words in WORDS),
    (WORDS_STYLE, PROMPT, WORDS_STYLE),
    *((f"{WORDS_STYLE}, {words}", f"{PROMPT}, {words}", WORDS_STYLE) for words in WORDS),
]


def main(out: Path, columns: list[Column], bundle: str, photos: list[str]) -> None:
    engine = Engine.load(bundle)
    rows = [[photo(path, engine), *(painted(engine, path, *asked) for asked in columns)] for path in photos]
    side = rows[0][0].width
    pictures = lay_out(
        [np.asarray(picture) for row in rows for picture in row], columns=len(rows[0]), gap=GAP
    )
    sheet = Image.new("RGB", (pictures.width, LABEL + pictures.height), "white")
    sheet.paste(pictures, (0, LABEL))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, words in enumerate(("photo", *(label for label, *_ in columns))):
        draw.text((column * (side + GAP) + 2, 2), words, "black", font)
    sheet.save(out, quality=90)


def photo(path: str, engine: Engine) -> Image.Image:
    defaults = engine.bundle.defaults
    with Image.open(path) as image:
        return ImageOps.fit(image.convert("RGB"), (defaults.width, defaults.height), centering=(0.5, 0.2))


def painted(engine: Engine, path: str, label: str, prompt: str, style: str) -> Image.Image:
    request = Request(people=[Person(references=[path])], prompt=prompt, style=style or None, seed=3)
    result = engine.generate(request)
    print(f"{Path(path).stem}, {label}: likeness {result.likeness}, {result.timings}", flush=True)
    return result.images[0]


if __name__ == "__main__":
    from tests.photos import ASTRONAUT, GRACE_HOPPER

    parser = ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("photos", nargs="*", default=[str(ASTRONAUT), str(GRACE_HOPPER)])
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--bundle", default="mini")
    told = parser.parse_args()
    main(told.out, IN_WORDS if told.words else IN_STYLES, told.bundle, told.photos)
