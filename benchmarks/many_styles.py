"""README's figure: people whose photos come with installed packages, in several styles, by a bundle's own defaults.

python -m benchmarks.many_styles OUT.webp [BUNDLE [PHOTO …]]      # a minute on two cores
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from instantid import Engine, Person, Request
from instantid.training.sheets import lay_out

STYLES = ("", "Classic Black and White", "Oil Portrait", "Watercolor", "Pencil Sketch", "Ukiyo-e", "Neon")
GAP, LABEL = 4, 18


def main(out: Path, bundle: str, photos: list[str]) -> None:
    engine = Engine.load(bundle)
    rows = [[photo(path, engine), *(painted(engine, path, style) for style in STYLES)] for path in photos]
    side = rows[0][0].width
    pictures = lay_out(
        [np.asarray(picture) for row in rows for picture in row], columns=len(rows[0]), gap=GAP
    )
    sheet = Image.new("RGB", (pictures.width, LABEL + pictures.height), "white")
    sheet.paste(pictures, (0, LABEL))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, words in enumerate(("photo", "no style", *STYLES[1:])):
        draw.text((column * (side + GAP) + 2, 2), words, "black", font)
    sheet.save(out, quality=90)


def photo(path: str, engine: Engine) -> Image.Image:
    defaults = engine.bundle.defaults
    with Image.open(path) as image:
        return ImageOps.fit(image.convert("RGB"), (defaults.width, defaults.height), centering=(0.5, 0.2))


def painted(engine: Engine, path: str, style: str) -> Image.Image:
    request = Request(
        people=[Person(references=[path])], prompt="a photo of a person", style=style or None, seed=3
    )
    result = engine.generate(request)
    print(f"{Path(path).stem}, {style}: likeness {result.likeness}, {result.timings}", flush=True)
    return result.images[0]


if __name__ == "__main__":
    from tests.photos import ASTRONAUT, GRACE_HOPPER

    given = sys.argv[3:] or [str(ASTRONAUT), str(GRACE_HOPPER)]
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "mini", given)
