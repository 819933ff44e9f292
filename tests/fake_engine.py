"""A studio for the page's tests: quick, but driven by the pictures that it is really given.

A face is a patch of SKIN colour: a grey photo has none, a photo with two patches has two faces.
"""

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from skimage.measure import label, regionprops

from instantid import metadata
from instantid.bundles import Defaults
from instantid.errors import NoFaceFound
from instantid.images import open_image
from instantid.people import STRENGTHS, USUAL_STRENGTH
from instantid.request import MAX_SEED, Face, Photo, Portrait, Request, Result, Step
from instantid.styles import NO_STYLE, Style
from instantid.ui import Studio

SKIN = (224, 172, 138)
RECIPES = {
    "LCM, 4 steps": {
        "steps": 4,
        "guidance_scale": 1.5,
        "scheduler": "LCM",
        "when": "For quick tries: soft, and close to the base model's style.",
    },
    "Lightning, 8 steps": {
        "steps": 8,
        "guidance_scale": 1.0,
        "scheduler": "Euler",
        "when": "For quick pictures that are sharp.",
    },
}
WEIGHTS = {
    "loras": ["watercolour", "paper-cut"],
    "embeddings": ["easynegative"],
    "checkpoints": ["realvis"],
    "vaes": ["fp16-fix"],
}

STYLES = [
    Style(name=NO_STYLE, family="", prompt="{prompt}"),
    Style(name="Watercolor", family="Painting", prompt="watercolor painting, {prompt}, soft washes of paint"),
    Style(
        name="Oil painting",
        family="Painting",
        prompt="oil painting of {prompt}",
        suggested={"adapter_strength": 0.6},
    ),
    Style(name="Film Noir", family="Cinema", prompt="film noir, {prompt}, hard light and long shadows"),
]


def draw_photo(faces: int = 1, size: tuple[int, int] = (320, 320)) -> Image.Image:
    """A photo with `faces` faces, the first the largest."""
    photo = Image.new("RGB", size, (120, 140, 160))
    width, height = size
    draw = ImageDraw.Draw(photo)
    for i in range(faces):
        radius = width / (3.2 * max(faces, 1)) - 4 * i
        x, y = width * (i + 0.5) / faces, height * 0.45
        draw.ellipse((x - radius, y - radius * 1.2, x + radius, y + radius * 1.2), fill=SKIN)
        for dx in (-0.4, 0.4):
            draw.ellipse((x + dx * radius - 3, y - 12, x + dx * radius + 3, y - 6), fill=(40, 30, 30))
    return photo


def find_faces(source: Path | Image.Image) -> list[Face]:
    """The patches of skin, largest first."""
    pixels = np.asarray(open_image(source), dtype=int)
    skin = np.abs(pixels - SKIN).max(axis=2) < 12
    patches = sorted((patch for patch in regionprops(label(skin)) if patch.area > 200), key=lambda p: -p.area)
    faces = []
    for patch in patches:
        top, left, bottom, right = patch.bbox
        points = [(left + (right - left) * x, top + (bottom - top) * y) for x, y in
                  ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.75), (0.65, 0.75))]  # fmt: skip
        faces.append(Face(np.full(8, patch.area), points, (left, top, right, bottom)))
    return faces


def number_faces(source: Path | Image.Image, faces: list[Face]) -> Image.Image:
    """The photo with a numbered box around each face."""
    numbered = open_image(source).copy()
    draw = ImageDraw.Draw(numbered)
    for i, face in enumerate(faces, start=1):
        draw.rectangle([float(value) for value in face.box], outline=(255, 255, 255), width=3)
        draw.text((float(face.box[0]) + 6, float(face.box[1]) + 4), str(i), fill="white", font_size=24)
    return numbered


class FakeEngine:
    """Draws the request instead of imagining it.

    Args:
        held: stay at step 1 until `gate` is set.
        pace: seconds a step takes.
    """

    def __init__(self, *, held: bool = False, pace: float = 0.0, steps: int | None = None):
        self.gate = threading.Event()
        if not held:
            self.gate.set()
        self.pace = pace
        self.steps = steps
        self.requests: list[Request] = []
        self.closed = threading.Event()

    def generate(self, request: Request) -> Iterator[Step | Result]:
        """Yield steps, then the result; raise NoFaceFound as the real engine does."""
        self.requests.append(request)
        photos = [ref for person in request.people for ref in person.references if isinstance(ref, Photo)]
        for photo in photos:
            if len(find_faces(photo.image)) < photo.face:
                raise NoFaceFound(f"No face found in “{Path(photo.image).name}”.")
        filled = self._fill(request)
        total = self.steps or filled.steps
        try:
            for number in range(1, total + 1):
                yield Step(number, total, self._draw(filled, filled.seed).resize((96, 96)))
                while not self.gate.wait(0.05):  # a long step: alive, and open to being closed
                    yield Step(number, total, None)
                threading.Event().wait(self.pace)
        except GeneratorExit:
            self.closed.set()
            raise
        images = [self._draw(filled, filled.seed + i) for i in range(filled.images)]
        yield Result(
            images=images,
            seed=filled.seed,
            request=filled,
            timings={"total": 1.5, "pictures": 1.2},
            control_maps={
                name: Image.new("RGB", (64, 64), "black" if name == "keypoints" else "white")
                for name in ("keypoints", *filled.controls)
            },
            notes=[f"The seed was {filled.seed}."] if filled.off_size else [],
            likeness=[0.71] + [None] * (len(images) - 1),
            bundle={"name": "fake"},
        )

    def _fill(self, request: Request) -> Request:
        seed = random.randint(0, MAX_SEED - 16) if request.seed is None else request.seed
        size = (request.width or 256, request.height or 320)
        own = {"steps": 4, "guidance_scale": 5.0, "scheduler": "Euler"} | RECIPES.get(request.recipe, {})
        own |= dict.fromkeys(STRENGTHS, USUAL_STRENGTH)
        own.pop("when", None)
        sampling = {name: value for name, value in own.items() if getattr(request, name) is None}
        return request.replace(seed=seed, width=size[0], height=size[1], **sampling)

    def _draw(self, request: Request, seed: int) -> Image.Image:
        colour = tuple(random.Random(seed).randint(40, 200) for _ in range(3))
        picture = Image.new("RGB", (request.width, request.height), colour)
        draw = ImageDraw.Draw(picture)
        share = request.width / len(request.people)
        for i in range(len(request.people)):
            draw.ellipse((share * i + share / 4, 60, share * (i + 0.75), request.height - 60), fill=SKIN)
        draw.multiline_text((10, 10), f"{request.prompt}\n{request.style}\nseed {seed}", fill="white")
        return picture


def save(result: Result, folder: Path) -> list[Path]:
    """Write PNGs that carry their seed, and the record that ours carry."""
    paths = []
    for i, (seed, image) in enumerate(zip(result.seeds, result.images)):
        note = PngInfo()
        note.add_itxt(metadata.CHUNK, json.dumps(metadata.describe(result, i)))
        note.add_text("seed", str(seed))
        paths.append(folder / f"instantid-{seed}.png")
        image.save(paths[-1], pnginfo=note)
    return paths


def portrait(photos: list[Photo]) -> Portrait:
    """Of the first photo's largest face."""
    found = find_faces(photos[0].image)
    if not found:
        raise NoFaceFound(f"No face found in “{Path(photos[0].image).name}”.")
    return Portrait(found[0], 320, 320)


def advise(source: Path | Image.Image) -> list[str]:
    """Only small photos are complained about."""
    small = min(open_image(source).size) < 128
    return ["This photo is small: one of at least 512 pixels holds more likeness."] if small else []


def fake_studio(engine: FakeEngine, **changes) -> Studio:
    """A studio on `engine` that can do everything; `changes` replace its parts."""
    parts = {
        "generate": engine.generate,
        "find_faces": find_faces,
        "number_faces": number_faces,
        "save": save,
        "styles": {style.name: style for style in STYLES},
        "schedulers": ("Euler", "DPM++ 2M Karras", "UniPC", "LCM"),
        "controls": ("pose", "canny", "depth"),
        "defaults": Defaults(width=256, height=320, steps=4).model_dump(),
        "style_reference": True,
        "faceid": True,
        "recipes": RECIPES,
        "weights": lambda: WEIGHTS,
        "advise": advise,
        "portrait": portrait,
        "face_model": lambda: "fake faces",
        "banner": lambda: iter(["fake · CPU"]),
        "default_negative": "low quality, watermark",
    }
    return Studio(**(parts | changes))
