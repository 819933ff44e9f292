"""One row of a comparison: what may vary here, help and examples for it, and what was entered → Axis."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from .. import compare
from ..compare import Axis, Variable
from ..compare.values import read_values
from ..errors import InvalidRequest
from ..people import Person, Photo
from ..request import Control, Lora, Request
from ..styles import NO_STYLE
from .form import KINDS, weights_source
from .photos import paths_of
from .studio import Studio

NONE = "none"  # an optional value that is left open
FEW = 8  # choices that are all put in at once
NAMED = ("style", "recipe", "scheduler", "method")  # of these only what is here can be taken
EXAMPLES = {
    "prompt": "a king | a queen | an astronaut",
    "negative_prompt": "blurry | text, watermark",
    "prompt S/R": "man | woman | child",
    "style_content": "a cat | a red car",
    "seed": "1..4",
    "upscale": "1 | 1.5 | 2",
    "loras": "none | name=0.5 | name=1",
}
PREFILLED = ("guidance_scale", "seed", "upscale")
PHOTOS_WANTED = "Each photo is one value: the face of another person, or another photo of the same."


class NothingYet(InvalidRequest):
    """A row is chosen, and its values are still to be given: no mistake so far."""


@dataclass(frozen=True)
class Entered:
    """What a row holds.

    Args:
        field: the variable's name; "": nothing varies.
        text: its values, as `compare` reads them.
        photos: of a `gr.Gallery`, in place of text.
    """

    field: str
    text: str = ""
    photos: Sequence[tuple[str, str | None]] | None = None


def offered(studio: Studio, values: Mapping[str, Any]) -> dict[str, Variable]:
    """What may vary, by name: what this bundle can do, with the people, controls and LoRAs of the form.

    Args:
        values: the form's; only "people_count", "controls" and "lora_1"… are read.
    """
    person = Person(references=(Photo(image=Path("any")),))
    chosen = [name for key, name in values.items() if key.removeprefix("lora_").isdigit() and name]
    outline = Request(
        people=(person,) * values.get("people_count", 1),
        controls={name: Control() for name in values.get("controls") or ()},
        loras=tuple(Lora(source=name) for name in chosen),
    )
    lacking = set() if studio.style_reference else {"layout_image"}
    lacking |= set() if studio.recipes else {"recipe"}
    lacking |= set() if studio.faceid else {"faceid_strength"}
    lacking |= {"base", "vae", "loras"} if studio.weights is None else set()
    return {
        variable.name: variable
        for variable in compare.offered(outline)
        if variable.name not in lacking and (studio.style_reference or not variable.name.startswith("style_"))
    }


def names_of(variable: Variable, studio: Studio) -> tuple[str, ...]:
    """All of its values that there are here; () where they cannot be listed."""
    weights = {} if studio.weights is None else studio.weights()
    match variable.name:
        case "style":
            return (NONE, *(name for name in studio.styles if name != NO_STYLE))
        case "scheduler":
            return tuple(studio.schedulers)
        case "recipe":
            return (NONE, *studio.recipes)
        case "method":
            return compare.usable_methods(style_reference=studio.style_reference, faceid=studio.faceid)
        case "base" | "vae" | "loras":
            return (NONE, *weights.get(KINDS[variable.name], ()))
    if variable.kind == "switch":
        return ("on", "off")
    return variable.choices


def example(variable: Variable, studio: Studio) -> str:
    """Values that show how it is written."""
    names = names_of(variable, studio)
    match variable.name:
        case name if name in EXAMPLES:
            return EXAMPLES[name]
        case "steps":
            usual = round(studio.defaults["steps"])
            return write_values(variable, sorted({max(1, usual // 2), usual, usual * 2}))
        case "guidance_scale":  # 2 | 5 | 8 for SDXL; what suits that burns weights which want none
            usual = studio.defaults["guidance_scale"]
            return write_values(variable, sorted({round(max(1, part * usual), 1) for part in (0.4, 1, 1.6)}))
        case "width" | "height" as side:
            usual = round(studio.defaults[side])
            return write_values(variable, sorted({max(64, usual // 16 * 8), usual}))
        case name if name.split(".")[-1].endswith("strength") and (variable.high or 0) > 1:
            return "0..1.2 step 0.4"
    if names:
        return " | ".join(names[:FEW] if len(names) <= FEW else names[:3])
    if variable.kind in ("number", "integer"):
        return f"{variable.low or 0:g}..{1 if variable.high is None else variable.high:g} (5)"
    return ""


def first_values(variable: Variable, studio: Studio) -> str:
    """What stands in the row as soon as the variable is chosen: the example where it fits any comparison."""
    fits = variable.kind in ("number", "integer", "switch") or variable.name in PREFILLED
    few = 0 < len(names_of(variable, studio)) <= FEW and variable.kind != "loras"
    return example(variable, studio) if fits or few else ""


def help_text(variable: Variable, studio: Studio) -> str:
    """What it does, and what its values may be."""
    if variable.kind == "photo":
        return f"{variable.about} {PHOTOS_WANTED if 'references' in variable.name else ''}".strip()
    names = names_of(variable, studio)
    allowed = (
        f"Allowed: {variable.allowed}." if len(names) <= FEW else f"There are {len(names)} to choose from."
    )
    return f"{variable.about} {allowed} Such as: {example(variable, studio)}".strip()


def read_row(
    entered: Entered, variables: Mapping[str, Variable], studio: Studio, files: Iterable[str] | None
) -> Axis | None:
    """The axis; None where nothing varies. No text is taken for the path of a photo.

    Args:
        variables: what is `offered`.
        files: weights that this visitor has uploaded.

    Raises:
        NothingYet: it has no values.
        InvalidRequest: names the field, the value, and what is allowed.
    """
    if not entered.field:
        return None
    variable = variables.get(entered.field)
    if variable is None:
        raise InvalidRequest(f"“{entered.field}” cannot vary with these settings. Choose something else.")
    if variable.kind == "photo":
        photos = paths_of(entered.photos)
        if not photos:
            raise NothingYet(f"{variable.title}: there are no photos yet. Add one for each value.")
        return Axis(field=variable.name, values=tuple(Photo(image=path) for path in photos))
    if not entered.text.strip():
        raise NothingYet(f"{variable.title}: there are no values yet.")
    values = read_values(variable, entered.text)
    if variable.name == "seed" and None in values:
        raise InvalidRequest(
            "Seed: give a number for each cell, or the pictures would have nothing in common."
        )
    return Axis(field=variable.name, values=tuple(_taken(variable, value, studio, files) for value in values))


def write_values(variable: Variable, values: Sequence[Any]) -> str:
    """Values as text that `read_row` reads the same."""
    return " | ".join(_written(variable, value, alone=len(values) == 1) for value in values)


def _taken(variable: Variable, value: Any, studio: Studio, files: Iterable[str] | None) -> Any:
    """The value, where it names what is here."""
    if value is None:
        return None
    if variable.kind == "loras":
        return tuple(
            lora.replace(source=weights_source("loras", lora.source, studio, files)) for lora in value
        )
    if variable.name in ("base", "vae"):
        return weights_source(variable.name, value, studio, files)
    if variable.name not in NAMED:
        return value
    known = {name.casefold(): name for name in names_of(variable, studio)}
    if value.casefold() not in known:
        near = [name for key, name in known.items() if value.casefold() in key][:3]
        hint = f"Is it one of these: {', '.join(near)}?" if near else "Press “All” to see what there is."
        raise InvalidRequest(f"{variable.title}: there is no “{value}” here. {hint}")
    return known[value.casefold()]


def _written(variable: Variable, value: Any, *, alone: bool) -> str:
    match value:
        case None:
            return NONE
        case bool():
            return "on" if value else "off"
        case int() | float():
            return format(Decimal(repr(value)).normalize(), "f")
        case str():
            text = " ".join(value.splitlines())
            plain = text and text == text.strip() and not set(text) & set('|"')
            return text if plain and not (alone and "," in text) else '"' + text.replace('"', '""') + '"'
        case _:
            return " + ".join(f"{lora.source}={lora.strength:g}" for lora in value) or NONE
