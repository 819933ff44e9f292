"""What the history says of its pictures: captions, settings in words, and in what two of them differ."""

import html
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from .. import dotted, history
from ..history import Entry
from ..metadata import Record
from ..request import Control, Lora, Request
from ..styles import NO_STYLE
from .words import CONTROL_LABELS, LABELS

START = 24  # letters of a prompt in a caption
# Told of every picture; of all else only what is not as at first.
ALWAYS = (
    "prompt",
    "style",
    "seed",
    "steps",
    "guidance_scale",
    "scheduler",
    "identity_strength",
    "adapter_strength",
)
SIDES = ("width", "height")


def caption(entry: Entry, minutes: int) -> str:
    """One line: the prompt's start, style, seed, likeness and time.

    Args:
        minutes: of the visitor's clock ahead of UTC.
    """
    settings = entry.record.settings
    prompt = " ".join(settings.get("prompt", "").split())
    start = prompt if len(prompt) <= START else f"{prompt[:START].rstrip()}…"
    said = [start or "(no prompt)", settings.get("style") or NO_STYLE, f"seed {entry.seed}"]
    if entry.likeness is not None:
        said.append(f"likeness {entry.likeness:.2f}")
    return " · ".join([*said, when(entry.made, minutes)])


def when(made: datetime, minutes: int, now: datetime | None = None) -> str:
    """The time of day, with the date where that is not today, by the visitor's clock."""
    zone = timezone(timedelta(minutes=minutes))
    there, today = made.astimezone(zone), (now or datetime.now(zone)).astimezone(zone)
    return f"{there:%H:%M}" if there.date() == today.date() else f"{there:%Y-%m-%d %H:%M}"


def settings_table(entry: Entry, minutes: int) -> str:
    """HTML: what the picture was made with, in words."""
    record = entry.record
    told = [
        ("Likeness", "not known" if entry.likeness is None else f"{entry.likeness:.2f}"),
        ("Size", " × ".join(_value(record.settings.get(side)) for side in SIDES)),
        *((name_in_words(name, record), _value(value)) for name, value in _worth_telling(record)),
        ("Photos", ", ".join(dotted.in_words(name, record.settings) for name in record.pictures)),
        ("Made", f"{when(entry.made, minutes)} · " + " ".join(str(each) for each in _maker(record))),
    ]
    rows = "".join(f"<dt>{_safe(name)}</dt><dd>{_safe(value)}</dd>" for name, value in told)
    return f'<dl class="settings">{rows}</dl>'


def differences_table(first: Entry, second: Entry) -> str:
    """HTML: the settings in which two pictures differ, and how alike their faces are."""
    rows = [
        (
            name_in_words(name, first.record, second.record),
            *_pair(name, one, other, first.record, second.record),
        )
        for name, one, other in history.differences(first.record, second.record)
    ]
    if not rows:
        rows = [("Settings", "the same", "the same")]
    rows.insert(
        0, ("Likeness", *(_value(each.likeness and round(each.likeness, 2)) for each in (first, second)))
    )
    body = "".join(
        f"<tr><th scope='row'>{_safe(name)}</th><td>{_safe(one)}</td><td>{_safe(other)}</td></tr>"
        for name, one, other in rows
    )
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("What differs", "Left", "Right"))
    return f'<table class="differ"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def name_in_words(name: str, *records: Record) -> str:
    """What people call a setting that has this dotted name.

    Args:
        records: those that may have a picture or weights in that place.
    """
    for record in records:
        if name in record.pictures:
            return dotted.in_words(name, record.settings).capitalize()
    match name.split("."):
        case ["people", i, *rest]:
            return f"Person {int(i) + 1}: {' '.join(rest).replace('_', ' ')}"
        case ["controls", control, side]:
            label = CONTROL_LABELS.get(side, side)
            return label if side in ("low", "high") else f"{control.capitalize()} {label}"
        case ["loras", i, what]:
            return f"LoRA {int(i) + 1}" + ("" if what == "source" else f" {what}")
        case ["bundle", "name"]:
            return "Bundle"
        case ["bundle" | "versions", what]:
            return what
        case [field] if field in LABELS:
            return LABELS[field].partition(" (")[0]
        case _:
            return name.replace(".", " ").replace("_", " ")


def _worth_telling(record: Record) -> Iterable[tuple[str, Any]]:
    told = history.flat(record)
    for name in ALWAYS:
        yield name, told.get(name)
    for name, value in told.items():
        apart = name in (*ALWAYS, *SIDES, "images") or name in record.pictures
        if not apart and not name.startswith(("bundle.", "versions.")) and value != _usual(name):
            yield name, value


def _usual(name: str) -> Any:
    """A setting's value where nobody has set it; places of pictures and what is of no field have none."""
    match name.split("."):
        case [field] if field in Request.model_fields:
            default = Request.model_fields[field].get_default(call_default_factory=True)
            return list(default) if isinstance(default, tuple) else default
        case ["controls", _, side] if side in Control.model_fields and side != "strength":
            return Control.model_fields[side].default
        case ["loras", _, "strength"]:
            return Lora.model_fields["strength"].default
        case _:
            return None


def _pair(name: str, one: Any, other: Any, first: Record, second: Record) -> tuple[str, str]:
    """Two values in words. Prints tell nobody anything but whether it is the same picture."""
    if name.endswith(".file"):
        return "a file", "another file"
    prints = first.pictures.get(name), second.pictures.get(name)
    if prints == (None, None):
        return _value(one), _value(other)
    if None in prints:
        return tuple("none" if each is None else "a picture" for each in prints)
    was, now = prints
    if was.get("photo", 0) == now.get("photo"):
        return tuple(f"face {each['number']} of the same photo" for each in prints)
    return "a picture", "another picture"


def _value(value: Any) -> str:
    match value:
        case None | "" | []:
            return "—"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list():
            return ", ".join(_value(each) for each in value)
        case _:
            return str(value)


def _maker(record: Record) -> list[Any]:
    told = [record.bundle[name] for name in ("name", "device", "dtype") if name in record.bundle]
    return [*told, "· untrained weights"] if record.bundle.get("untrained") else told


def _safe(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")
