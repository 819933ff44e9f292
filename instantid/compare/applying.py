"""An axis' value → what it changes in a request."""

import re
from collections.abc import Sequence
from typing import Any

from .. import dotted
from ..errors import InvalidRequest
from ..people import STRENGTHS, USUAL_STRENGTH, Photo
from ..request import Request
from .fields import METHODS, REPLACE, Variable

_FACE = (*STRENGTHS, "faceid_strength")
_LAST = (REPLACE, "adapters", "method")  # they look at what the others have set


def apply(request: Request, changes: Sequence[tuple[Variable, Any, Any]]) -> Request:
    """The request with the changes: each a variable, its value, and its axis' first value.

    A strength of the request replaces the people's own. Fields come first, then search and replace, then what takes
    part.

    Raises:
        InvalidRequest: the values cannot be asked for, alone or together.
    """
    settings, pictures = dotted.take_apart(request)
    for variable, value, _ in changes:
        if variable.name not in _LAST:
            settings = _set(settings, pictures, variable, value)
    changed = Request(**dotted.put_in(settings, pictures))
    for variable, value, first in sorted(changes, key=lambda change: _place(change[0])):
        match variable.name:
            case "prompt S/R":
                changed = _replaced(changed, first, value)
            case "adapters":
                changed = _with_adapters(changed, value)
            case "method":
                changed = _by_method(changed, value)
    return changed


def usable_methods(*, style_reference: bool, faceid: bool) -> tuple[str, ...]:
    """The methods that a bundle has the weights for.

    Args:
        style_reference: its style adapter and image encoder are here.
        faceid: its FaceID adapter and the face models of that are.
    """
    lacking = {"IP-Adapter": not style_reference, "IP-Adapter FaceID": not faceid}
    return tuple(method for method in METHODS if not lacking.get(method))


def _place(variable: Variable) -> int:
    return _LAST.index(variable.name) if variable.name in _LAST else -1


def _set(settings: Any, pictures: dict[str, Any], variable: Variable, value: Any) -> Any:
    name = variable.name
    match name.split("."):
        case ["people" | "loras" as kind, i, *_] if int(i) >= len(settings[kind]):
            what = "person" if kind == "people" else "LoRA"
            raise InvalidRequest(
                f"{variable.title}: there is no {what} {int(i) + 1} to vary. Add one to the settings first."
            )
        case ["people", _, "references"]:
            value = list(value) if isinstance(value, (list, tuple)) else [value]
        case [strength] if strength in STRENGTHS:
            owned = {f"people.{i}.{strength}": None for i in range(len(settings["people"]))}
            settings = dotted.put_in(settings, owned)
    for picture in [each for each in pictures if f"{each}.".startswith(f"{name}.")]:
        del pictures[picture]
    return dotted.put_in(settings, {name: value})


def _replaced(request: Request, wanted: str, by: str) -> Request:
    """Search and replace as A1111 does it: in both prompts, the whole text as it is written."""
    pattern = re.compile(re.escape(wanted))
    texts = {
        name: pattern.sub(lambda _: by, getattr(request, name)) for name in ("prompt", "negative_prompt")
    }
    return request.replace(**texts)


def _with_adapters(request: Request, what: str) -> Request:
    off = {
        "no IdentityNet": STRENGTHS[:1],
        "no image adapter": STRENGTHS[1:],
        "no face": _FACE,
        "no style picture": ("style_strength",),
        "none": (*_FACE, "style_strength"),
    }.get(what, ())
    return _off(request, *off)


def _by_method(request: Request, method: str) -> Request:
    """The same inputs by another method.

    Both IP-Adapters act as strongly as the image adapter would have acted; where that is left open, as the
    reference's would have. The plain one reads the whole face photo as an image prompt (IP-Adapter, section 3.2); the
    style adapter's weights are that IP-Adapter.
    """
    if method == "InstantID":
        return _off(request, "faceid_strength")
    without, [person, *others] = _off(request, *_FACE), request.people
    if method == "text only":
        return without
    told = person.adapter_strength, request.adapter_strength
    strength = next((each for each in told if each is not None), USUAL_STRENGTH)
    if method == "IP-Adapter FaceID":
        if others or not person.photographed:
            raise InvalidRequest(
                "The method “IP-Adapter FaceID” reads photos of one person with face models of its own: give one "
                "person, as photos, and no saved or ready face."
            )
        return without.replace(faceid_strength=strength)
    photo = person.references[0]
    if others or not isinstance(photo, Photo) or request.style_image is not None:
        raise InvalidRequest(
            "The method “IP-Adapter” takes the photo of one person in the style picture's place: give one person as "
            "a photo, and no style picture."
        )
    return without.replace(style_image=photo, style_mode="whole image", style_strength=strength)


def _off(request: Request, *strengths: str) -> Request:
    own = {name: None for name in strengths if name in STRENGTHS}
    people = tuple(person.replace(**own) for person in request.people)
    return request.replace(people=people, **dict.fromkeys(strengths, 0.0))
