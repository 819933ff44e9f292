"""The page's one public call, `/generate`: the form's fields by name, pictures and seed back."""

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

from ..request import Result
from .form import read_request
from .inputs import Inputs
from .problems import shown_on_page
from .run import GPU
from .studio import Studio
from .words import LABELS

DESCRIPTION = (
    "Make pictures of a person. `people` takes one or more photos of their face. Returns the pictures (PNG files "
    "that carry their settings) and the seed of the first. Everything left out takes the page's own value."
)


def connect_api(studio: Studio, inputs: Inputs) -> None:
    """Offer the form as a function. It reads the page's components, so names and defaults are theirs."""
    offered = inputs.fields | inputs.own
    faces = offered.pop("faces")
    hidden = {}
    if not studio.style_reference:
        hidden = {name: offered.pop(name).value for name in ("style_image", "style_strength")}
    # Plain files: a gallery's value would make callers wrap each photo in a dict.
    offered["people"] = gr.File(file_count="multiple", label=LABELS["people"], visible=False)
    offered["pose_image"] = gr.File(label=LABELS["pose_image"], visible=False)
    pictures = gr.Gallery(label="pictures", visible=False, type="filepath")
    seed = gr.Number(label="seed", visible=False, precision=0)

    def generate(people, pose_image=None, **values: Any):
        with shown_on_page(), tempfile.TemporaryDirectory() as folder:
            photos = {
                "people": [(path, None) for path in people or []],
                "pose_image": [(pose_image, None)] if pose_image else [],
            }
            request = read_request(values | hidden | photos | {"faces": faces.value})
            with closing(studio.generate(request)) as events:
                result = next(event for event in events if isinstance(event, Result))
            yield studio.save(result, Path(folder)), result.seed

    gr.Button("API", visible=False).click(
        generate,
        inputs_kwargs=offered,
        outputs=[pictures, seed],
        api_name="generate",
        api_description=DESCRIPTION,
        **GPU,
    )
