"""Request → the form's values: the way back of form.py. What the form holds already stays as it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..people import MAX_PEOPLE, STRENGTHS, Person, Photo, Place, Portrait
from ..request import FOLLOW_RECIPE, Control, Request
from ..styles import NO_STYLE
from .form import PICTURES, PLAIN, uploaded
from .people import photos_name
from .photos import paths_of
from .studio import Studio
from .words import CHOSEN_SIZE, FOLLOW_PHOTO, NO_RECIPE


def refill(request: Request, studio: Studio, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the form's components are to hold so that it asks for `request`: those that change, by name.

    What people paint, the regions and the repaint mask, stays: strokes cannot be had from a mask.

    Args:
        values: what they hold now.
    """
    followed = _followed(request, studio).items()
    request = request.replace(**{name: value for name, value in followed if getattr(request, name) is None})
    wanted = {name: getattr(request, name) for name in PLAIN}
    wanted |= {
        "style": request.style or NO_STYLE,
        "recipe": request.recipe or NO_RECIPE,
        "seed": request.seed,
        "randomise": request.seed is None,
        "size": CHOSEN_SIZE if request.width or request.height else FOLLOW_PHOTO,
        **{side: size for side in ("width", "height") if (size := getattr(request, side))},
        "images": values["images"],
        **{name: _box(getattr(request, name)) for name in PICTURES},
        **_controls(request),
        **_weights(request, values),
        **_people(request, values),
    }
    wanted["faces"] = dict(values["faces"]) | _faces(request)
    return {
        name: value for name, value in wanted.items() if name in values and not _same(values[name], value)
    }


def _followed(request: Request, studio: Studio) -> dict[str, Any]:
    """What the page shows where a request leaves it to the recipe, or to the bundle."""
    own = {**studio.defaults, **studio.recipes.get(request.recipe, {})}
    return {name: own[name] for name in (*FOLLOW_RECIPE, *STRENGTHS)}


def _controls(request: Request) -> dict[str, Any]:
    wanted: dict[str, Any] = {"controls": list(request.controls)}
    for name, control in request.controls.items():
        sides = (side for side in Control.model_fields if side != "map")
        wanted |= {f"{name}_{side}": getattr(control, side) for side in sides}
        wanted[f"{name}_map"] = _box(control.map)
    return wanted


def _weights(request: Request, values: Mapping[str, Any]) -> dict[str, Any]:
    own = {str(path): name for name, path in uploaded(values.get("weight_files")).items()}
    wanted: dict[str, Any] = {
        "base": own.get(request.base, request.base) or "",
        "vae": own.get(request.vae, request.vae) or "",
        "textual_inversions": [own.get(name, name) for name in request.textual_inversions],
    }
    number = 1
    while f"lora_{number}" in values:
        lora = request.loras[number - 1] if number <= len(request.loras) else None
        wanted[f"lora_{number}"] = own.get(lora.source, lora.source) if lora else ""
        if lora:
            wanted[f"lora_{number}_strength"] = lora.strength
        number += 1
    return wanted


def _people(request: Request, values: Mapping[str, Any]) -> dict[str, Any]:
    count = len(request.people)
    wanted: dict[str, Any] = {"people_count": count}
    places = list(values["places"] or [])[:count]
    places += [None] * (count - len(places))
    for number, person in enumerate(request.people, start=1):
        first = person.references[0]
        if isinstance(first, Portrait):
            wanted[f"portrait_{number}"] = first
        else:
            wanted |= {f"portrait_{number}": None, f"saved_{number}": ""}
            wanted[photos_name(number)] = [(each.image, None) for each in person.references]
        own = {"identity": person.identity_strength, "adapter": person.adapter_strength}
        if count > 1:
            wanted[f"own_{number}"] = any(value is not None for value in own.values())
            every = {"identity": request.identity_strength, "adapter": request.adapter_strength}
            wanted |= {
                f"{name}_{number}": every[name] if value is None else value for name, value in own.items()
            }
        else:  # one person's strengths are those for everyone
            wanted |= {f"{name}_strength": value for name, value in own.items() if value is not None}
        places[number - 1] = _place(person)
    if places != list(values["places"] or [])[:MAX_PEOPLE] and (any(places) or values["places"]):
        wanted["places"] = places
    return wanted


def _place(person: Person) -> dict[str, Any] | None:
    """As the editor of places holds it; a view alone goes to the middle."""
    if person.keypoints is not None:
        return {"points": [list(point) for point in person.keypoints]}
    if person.view is not None:
        return {"view": person.view, "place": (person.place or Place()).model_dump()}
    return None


def _faces(request: Request) -> dict[str, int]:
    """Which face is meant, by photo, where it is not the largest."""
    photos = [each for person in request.people for each in person.references]
    photos += [getattr(request, name) for name in PICTURES]
    return {str(photo.image): photo.face for photo in photos if isinstance(photo, Photo) and photo.face > 1}


def _box(photo: Photo | None) -> list[tuple[Any, None]] | None:
    return photo and [(photo.image, None)]


def _same(held: Any, wanted: Any) -> bool:
    """Photo boxes hold paths as text, and captions."""
    if isinstance(wanted, list) and wanted and isinstance(wanted[0], tuple) and held:
        files = [image for image, _ in wanted]
        return all(isinstance(file, Path) for file in files) and paths_of(held) == files
    empty = (None, "", [], {})
    return bool(held == wanted) or (held in empty and wanted in empty)
