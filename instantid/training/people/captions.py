"""Captions for a picture, from all that is seen to nothing at all, in the words of its look.

Varied on purpose: a model that has only met one template has learned that template.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from ...styles import PLACEHOLDER, Style
from . import words
from .description import Figure, Picture
from .truth import Truth

PHOTO = ("a photo of {}", "photo of {}", "a photograph of {}", "{}", "{}, photo", "a picture of {}")
COUNTS = {2: "two", 3: "three", 4: "four"}
# How often the drawn caption is each kind. Empty ones teach a model what classifier-free guidance starts from.
SHARES: Mapping[str, float] = {"full": 0.45, "short": 0.3, "terse": 0.15, "empty": 0.1}


@dataclass(frozen=True, kw_only=True)
class Captions:
    """What may be said about one picture, and which of it was drawn.

    Args:
        full: who, hair, clothes, face, view, place, and the whole preset of the look.
        short: who, one more thing, and the beginning of the preset.
        terse: hardly more than the kind of person and of picture.
        drawn: one of these, or empty: for who wants one caption per picture.
    """

    full: str
    short: str
    terse: str
    drawn: str

    def to_json(self) -> dict[str, str]:
        """Give the four by name."""
        return asdict(self)


def write_captions(picture: Picture, truth: Truth, style: Style | None, seed: int) -> Captions:
    """Say what is on the picture.

    Args:
        style: of the picture's look; None for a photo.
        seed: the same seed gives the same captions.
    """
    random = np.random.default_rng([seed, 0xCA9])
    told = {
        "full": _full(picture, truth, style, random),
        "short": _short(picture, truth, style, random),
        "terse": _terse(picture, style, random),
        "empty": "",
    }
    drawn = told[str(random.choice(list(SHARES), p=list(SHARES.values())))]
    return Captions(full=told["full"], short=told["short"], terse=told["terse"], drawn=drawn)


def _full(picture: Picture, truth: Truth, style: Style | None, random: np.random.Generator) -> str:
    shown = _shown(picture, truth)
    if len(shown) == 1:
        [(figure, number)] = shown
        subject = _who(figure, random)
        details = _details(figure, random)
        if details:
            subject += f" with {_list(details)}"
        dress = words.clothes(figure)
        if dress and picture.camera.frame != "head":
            subject += f" {random.choice(['wearing', 'in'])} {dress}"
        seen = [words.expression(figure), words.view(truth.figures[number])]
    else:
        subject = _people([figure for figure, _ in shown], random)
        seen = [None]
    parts = [part for part in seen if part]
    if style is None:
        place = str(random.choice(words.PLACES[picture.background.kind]))
        parts.append(place.format(words.colour_name(picture.background.colours[0])))
        parts.append(words.light(picture.lighting))
    parts.append(str(random.choice(words.framing(picture.camera))))
    if style is None:
        kept = [part for part in parts if part and random.random() < 0.75]
        return _in_words(str(random.choice(PHOTO)), subject, kept)
    kept = [part for part in parts if part and random.random() < 0.5]
    first, rest = _taken_apart(style)
    return ", ".join([first.replace(PLACEHOLDER, subject), *kept, *rest])


def _short(picture: Picture, truth: Truth, style: Style | None, random: np.random.Generator) -> str:
    shown = _shown(picture, truth)
    if len(shown) == 1:
        [(figure, number)] = shown
        subject = _who(figure, random)
        more = [f"with {detail}" for detail in _details(figure, random)]
        more += [said for said in (words.expression(figure), words.view(truth.figures[number])) if said]
        if more:
            subject += f" {random.choice(more)}"
    else:
        subject = _people([figure for figure, _ in shown], random)
    if style is None:
        return _in_words(str(random.choice(PHOTO)), subject, [])
    first, rest = _taken_apart(style)
    return ", ".join([first.replace(PLACEHOLDER, subject), *rest[: int(random.integers(0, 4))]])


def _terse(picture: Picture, style: Style | None, random: np.random.Generator) -> str:
    kinds = sorted({words.noun(figure.identity) for figure in picture.figures})
    if len(picture.figures) == 1:
        bare = str(random.choice([kinds[0], kinds[0], "person"]))
        subject = str(random.choice([bare, f"a {bare}"]))
    else:
        bare = subject = f"{COUNTS.get(len(picture.figures), 'several')} people"
    if style is None:
        return str(random.choice([subject, f"photo of {subject}", f"{subject}, photo"]))
    name = style.name.lower()
    first, _ = _taken_apart(style)
    templates = [f"{subject}, {name}", f"{name}, {subject}", f"{name} style {bare}"]
    if first != PLACEHOLDER:
        templates.append(first.replace(PLACEHOLDER, subject))
    return str(random.choice(templates))


def _shown(picture: Picture, truth: Truth) -> list[tuple[Figure, int]]:
    """Those whom one can see, with their number; all where hardly anybody is."""
    pairs = list(zip(picture.figures, range(len(picture.figures))))
    return [pair for pair in pairs if truth.figures[pair[1]].share > 0.01] or pairs


def _who(figure: Figure, random: np.random.Generator) -> str:
    noun, age = words.noun(figure.identity), words.age(figure.identity)
    said = f"{age} {noun}" if age and random.random() < 0.75 else noun
    return f"an {said}" if said[0] in "aeiou" else f"a {said}"


def _people(figures: list[Figure], random: np.random.Generator) -> str:
    counts = Counter(words.noun(figure.identity) for figure in figures)
    if len(counts) > 1 and random.random() < 0.3:
        return f"{COUNTS.get(len(figures), 'several')} people"
    return _list(
        [
            f"a {noun}" if count == 1 else f"{COUNTS[count]} {words.PLURALS[noun]}"
            for noun, count in counts.items()
        ]
    )


def _taken_apart(style: Style) -> tuple[str, list[str]]:
    """The preset's phrase about the subject, and what is said after it."""
    before, after = style.prompt.split(PLACEHOLDER)
    ending, *rest = after.split(", ")
    return before + PLACEHOLDER + ending, rest


def _details(figure: Figure, random: np.random.Generator) -> list[str]:
    told = [words.hair(figure), words.beard(figure), *words.worn_on_head(figure)]
    return [thing for thing in told if thing and (thing == "glasses" or random.random() < 0.85)]


def _in_words(template: str, subject: str, parts: list[str]) -> str:
    return ", ".join([template.format(subject), *parts])


def _list(things: list[str]) -> str:
    return things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"
