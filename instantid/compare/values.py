"""Text → the values of an axis, and values → short labels: “0.2..1.2 step 0.2”, “Watercolor | Neon”, “a, "b, c"”."""

import csv
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest
from ..people import Face, Photo, Portrait
from ..request import Lora
from .fields import REPLACE, Variable

MAX_VALUES = 200  # of one axis; a range with a slip in its step would ask for millions
OPEN = {"none", "default", "-", ""}  # leaves an optional field to the bundle, or off
ON, OFF = {"on", "yes", "true", "1", "with"}, {"off", "no", "false", "0", "without"}

_NUMBER = r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)"
_RANGE = re.compile(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})(?:\s*step\s*({_NUMBER})|\s*\((\d+)\))?")
_A1111 = re.compile(rf"({_NUMBER})\s*-\s*({_NUMBER})(?:\s*\(\s*({_NUMBER})\s*\)|\s*\[\s*(\d+)\s*\])?")
_QUOTED = re.compile(r'"[^"]*"')


def read_values(variable: Variable, text: str) -> tuple[Any, ...]:
    """The values that a text lists, each once, in its order.

    Lists are written `a | b | c`, one a line, or with commas, where a value with a comma stands in quotes. Prompts
    are full of commas: there these separate only where the list begins with a quote, or searches and replaces.
    Numbers may be ranges: `0.2..1.2 step 0.2`, `0..1 (5)` for so many; A1111's `1-9 (+2)` and `0-1 [5]` work too.

    Raises:
        InvalidRequest: names the field, the value, and what is allowed.
    """
    told: list[Any] = []
    for item in _split(text, commas=variable.kind != "words" or _commas_separate(variable)):
        for value in _read(variable, item):
            if value not in told:
                told.append(value)
    if not told:
        raise InvalidRequest(f"{variable.title}: there are no values. Allowed: {variable.allowed}.")
    if len(told) > MAX_VALUES:
        raise InvalidRequest(
            f"{variable.title}: these are {len(told)} values; up to {MAX_VALUES} fit an axis. Take larger steps."
        )
    return tuple(told)


def check(variable: Variable, value: Any) -> Any:
    """The value as the request wants it.

    Raises:
        InvalidRequest: names the field, the value, and what is allowed.
    """
    if value is None and variable.optional:
        return None
    match variable.kind:
        case "number" | "integer" if isinstance(value, (int, float)) and not isinstance(value, bool):
            whole = variable.kind == "integer"
            inside = (variable.low is None or value >= variable.low) and (
                variable.high is None or value <= variable.high
            )
            fits = not whole or (value == int(value) and int(value) % (variable.multiple or 1) == 0)
            if inside and fits:
                return int(value) if whole else float(value)
        case "switch" if isinstance(value, bool):
            return value
        case "choice" if value in variable.choices:
            return value
        case "words" if isinstance(value, str):
            return value
        case "photo":
            if isinstance(value, (Photo, Portrait, Face)):
                return value
            if isinstance(value, (str, Path)):
                return Photo(image=Path(value))
            if isinstance(value, Sequence) and value:
                return tuple(check(variable, each) for each in value)
        case "loras" if isinstance(value, Sequence) and not isinstance(value, str):
            return tuple(each if isinstance(each, Lora) else Lora(**each) for each in value)
        case "loras" if isinstance(value, (str, Lora)):
            return value
    raise _refused(variable, value)


def label(variable: Variable, value: Any) -> str:
    """A few words that stand for the value beside a picture."""
    match value:
        case None:
            return "none" if variable.kind in ("words", "choice", "photo", "loras") else "default"
        case bool():
            return "on" if value else "off"
        case int() | float():
            return f"{value:g}" if isinstance(value, float) else str(value)
        case Photo():
            name = value.image.stem if isinstance(value.image, Path) else "photo"
            return name if value.face == 1 else f"{name}, face {value.face}"
        case Portrait() | Face():
            return "saved face"
        case Lora():
            return f"{Path(value.source).stem} {value.strength:g}"
        case str():
            named = variable.name in ("base", "vae") or variable.name.endswith(".source")
            return Path(value).stem if named else value or "(nothing)"
        case _:
            return " + ".join(label(variable, each) for each in value) or "none"


def _commas_separate(variable: Variable) -> bool:
    return variable.name == REPLACE or ("prompt" not in variable.name and variable.name != "style_content")


def _split(text: str, *, commas: bool) -> list[str]:
    text = text.strip()
    if "\n" in text:
        return [line.strip() for line in text.splitlines() if line.strip()]
    if "|" in _QUOTED.sub("", text):
        delimiter = "|"
    elif commas or text.startswith('"'):
        delimiter = ","
    else:
        return [text]
    return [item.strip() for item in next(csv.reader([text], delimiter=delimiter, skipinitialspace=True), ())]


def _read(variable: Variable, item: str) -> list[Any]:
    if variable.optional and item.lower() in OPEN:
        return [None]
    match variable.kind:
        case "number" | "integer":
            return [check(variable, number) for number in _numbers(variable, item)]
        case "switch" if item.lower() in ON | OFF:
            return [item.lower() in ON]
        case "choice":
            return [_choice(variable, item)]
        case "photo" if item:
            photos = [_photo(part.strip()) for part in item.split(" + ")]
            return photos if len(photos) == 1 else [tuple(photos)]
        case "loras":
            parts = () if item.lower() in OPEN else item.split(" + ")
            return [tuple(Lora.read(part.strip()) for part in parts)]
        case "words":
            return [item]
    raise _refused(variable, item)


def _numbers(variable: Variable, item: str) -> list[int | float]:
    whole = variable.kind == "integer"
    ranged = _RANGE.fullmatch(item) or _A1111.fullmatch(item)
    if ranged is None:
        if not re.fullmatch(_NUMBER, item):
            raise _refused(variable, item)
        return [_number(Decimal(item))]
    first, last = Decimal(ranged[1]), Decimal(ranged[2])
    if ranged[4]:
        count = int(ranged[4])
        if not 2 <= count <= MAX_VALUES:
            raise InvalidRequest(
                f"{variable.title}: “{item}” asks for {count} values; 2 to {MAX_VALUES} can be."
            )
        spread = [first + (last - first) * i / (count - 1) for i in range(count)]
        return [round(value) if whole else round(float(value), 4) for value in spread]
    if not ranged[3] and not whole:
        raise InvalidRequest(
            f"{variable.title}: “{item}” does not say how many values. Write “{item} step 0.2” or “{item} (5)”."
        )
    step = abs(Decimal(ranged[3] or 1))
    if step == 0:
        raise InvalidRequest(f"{variable.title}: the step of “{item}” is 0. Take a larger one.")
    count = int(abs(last - first) / step) + 1
    if count > MAX_VALUES:
        raise InvalidRequest(
            f"{variable.title}: “{item}” asks for {count} values; up to {MAX_VALUES} fit an axis. Take larger steps."
        )
    return [_number(first + (step if last >= first else -step) * i) for i in range(count)]


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _choice(variable: Variable, item: str) -> str:
    """The choice meant: capitals and signs do not count, and the beginning is enough where only one begins so."""
    wanted = _letters(item)
    named = {choice: _letters(choice) for choice in variable.choices}
    for fits in (str.__eq__, str.startswith):
        meant = [choice for choice, letters in named.items() if wanted and fits(letters, wanted)]
        if len(meant) == 1:
            return meant[0]
    raise _refused(variable, item)


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum() or letter == "+")


def _photo(text: str) -> Photo:
    """`photo.jpg`, or `photo.jpg#2` for its second face."""
    path, mark, number = text.rpartition("#")
    return (
        Photo(image=Path(path), face=int(number))
        if mark and number.isdigit() and int(number)
        else Photo(image=Path(text))
    )


def _refused(variable: Variable, value: Any) -> InvalidRequest:
    return InvalidRequest(f"{variable.title}: “{value}” cannot be taken. Allowed: {variable.allowed}.")
