"""The page's one public call, `/generate`: the form's fields by name, pictures and seed back."""

import inspect
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from ..errors import InvalidRequest
from ..people import MAX_PEOPLE
from ..request import FOLLOW_RECIPE, Person, Photo, Result
from .form import PICTURES, PLAIN, build_request
from .inputs import Inputs
from .problems import shown_on_page
from .run import GPU
from .studio import Studio
from .words import NO_RECIPE

DESCRIPTION = (
    "Make pictures of one to four people. `people` takes one or more photos of the first one's face, `person_2` to "
    "`person_4` those of the others, from left to right; `region_1` to `region_4` are pictures, white where that "
    'person may appear. `people_settings` is a list with an object per person: {"identity_strength", '
    '"adapter_strength", "view", "place": {"x", "y", "size"}, "keypoints": five [x, y], "faces": which face of '
    'each photo}. `loras` is an object of strengths by name: {"watercolour": 0.8}; weights are named as the page '
    "lists them, or by the name of a file given in `weight_files`. Returns the pictures (PNG files that carry their "
    "settings) and the seed of the first. Everything left out takes the page's own value; steps, guidance_scale "
    "and scheduler the recipe's, where there is one."
)
PERSON_SETTINGS = ("identity_strength", "adapter_strength", "view", "place", "keypoints")
# Besides the form's plain fields, what its components hold as it stands.
OWN = ("style", "recipe", "seed", "randomise", "size", "width", "height", "controls")
SIDES = ("strength", "start", "end", "low", "high")
PHOTOS = ("people", *(f"person_{i}" for i in range(2, MAX_PEOPLE + 1)))
REGIONS = tuple(f"region_{i}" for i in range(1, MAX_PEOPLE + 1))


def connect_api(studio: Studio, inputs: Inputs) -> None:
    """Offer the form as a function. It reads the page's components where it can: names and defaults are theirs."""
    offered = _offer(studio, inputs)
    pictures = gr.Gallery(label="pictures", visible=False, type="filepath")
    seed = gr.Number(label="seed", visible=False, precision=0)

    def generate(**values: Any):
        with shown_on_page(), tempfile.TemporaryDirectory() as folder:
            form = _form_values(values, {name: inputs.parts[name].value for name in FOLLOW_RECIPE})
            request = build_request(form, studio, _read_people(values))
            with closing(studio.generate(request)) as events:
                result = next(event for event in events if isinstance(event, Result))
            yield studio.save(result, Path(folder)), result.seed

    # A component without a value is optional for callers where the signature says None.
    generate.__signature__ = inspect.Signature(
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if name == "people" else None,
        )
        for name in offered
    )
    gr.Button("API", visible=False).click(
        generate,
        inputs_kwargs=offered,
        outputs=[pictures, seed],
        api_name="generate",
        api_description=DESCRIPTION,
        **GPU,
    )


def _offer(studio: Studio, inputs: Inputs) -> dict[str, Component]:
    """Parameters by name: the page's own components, and plain files and JSON where those are made for hands."""
    hidden = {"visible": False}
    offered: dict[str, Component] = {
        name: gr.File(file_count="multiple", label=name, **hidden) for name in PHOTOS
    }
    offered |= {name: gr.File(label=name, **hidden) for name in REGIONS}
    offered["people_settings"] = gr.JSON(label="people_settings", **hidden)
    plain = {*PLAIN, *OWN, *(f"{name}_{side}" for name in studio.controls for side in SIDES)}
    offered |= {name: part for name, part in inputs.parts.items() if name in plain}
    files = {*PICTURES, "repaint_mask", *(f"{name}_map" for name in studio.controls)}
    offered |= {name: gr.File(label=name, **hidden) for name in inputs.parts if name in files}
    # The page's hold the bundle's values, which would override a recipe's.
    offered |= {name: gr.Number(None, label=name, **hidden) for name in ("steps", "guidance_scale")}
    offered["scheduler"] = gr.Dropdown(list(studio.schedulers), value=None, label="scheduler", **hidden)
    if studio.weights is not None:
        offered |= {name: gr.JSON(label=name, **hidden) for name in ("loras", "textual_inversions")}
        offered |= {name: gr.Textbox(None, label=name, **hidden) for name in ("base", "vae")}
        offered["weight_files"] = gr.File(file_count="multiple", label="weight_files", **hidden)
    return offered


def _form_values(values: Mapping[str, Any], starts: Mapping[str, Any]) -> dict[str, Any]:
    """What the form would hold. `starts`: the page's steps, guidance and sampler, for callers without a recipe."""
    form = dict(values)
    for name, value in values.items():
        if name in PICTURES or name.endswith("_map"):
            form[name] = [(value, None)] if value else None
        elif name == "repaint_mask":
            form[name] = value and Path(value)
        elif name in FOLLOW_RECIPE and value is None:
            form[name] = starts[name] if values.get("recipe", NO_RECIPE) == NO_RECIPE else None
    loras = values.get("loras") or {}
    if not isinstance(loras, dict):
        raise InvalidRequest('loras must be an object of strengths by name, such as {"watercolour": 0.8}.')
    for number, (name, strength) in enumerate(loras.items(), start=1):
        form |= {f"lora_{number}": name, f"lora_{number}_strength": strength}
    names = values.get("textual_inversions") or []
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise InvalidRequest('textual_inversions must be a list of names, such as ["easynegative"].')
    return form


def _read_people(values: Mapping[str, Any]) -> tuple[Person, ...]:
    """The people of a call. From JSON nothing is taken that could name a file of this machine."""
    settings = values["people_settings"] or []
    if not (isinstance(settings, list) and all(isinstance(each, dict) for each in settings)):
        raise InvalidRequest("people_settings must be a list with an object per person.")
    people = []
    for i, (photos, region) in enumerate(zip(PHOTOS, REGIONS)):
        if not values[photos]:
            continue
        own = dict(settings[i]) if i < len(settings) else {}
        faces = own.pop("faces", None) or []
        if not isinstance(faces, list):
            raise InvalidRequest(f"people_settings[{i}].faces must be a list with a number per photo.")
        if unknown := set(own) - set(PERSON_SETTINGS):
            wanted = ", ".join((*PERSON_SETTINGS, "faces"))
            raise InvalidRequest(f"people_settings[{i}] has no {', '.join(sorted(unknown))}: only {wanted}.")
        references = tuple(
            Photo(image=path, face=faces[k] if k < len(faces) else 1) for k, path in enumerate(values[photos])
        )
        people.append(Person(references=references, region=values[region], **own))
    if not people:
        raise InvalidRequest("There is no face photo yet. Give at least one in `people`.")
    return tuple(people)
