"""A row of examples. Choosing one fills the form; it generates nothing."""

import gradio as gr

from .inputs import Inputs
from .studio import Studio


def build_examples(studio: Studio, inputs: Inputs) -> None:
    """Show `studio.examples`, if there are any."""
    if not studio.examples:
        return
    examples = [row._replace(style=studio.begin_with(row.style)) for row in studio.examples]
    names = ("people", "pose_image", "prompt", "style")
    rows = gr.Dataset(
        components=[
            gr.Image(render=False),
            gr.Image(render=False),
            gr.Textbox(render=False),
            gr.Textbox(render=False),
            gr.Textbox(render=False),
        ],
        headers=["Face", "Pose", "Prompt", "Style", "Whose face"],
        samples=[
            [str(row.face), str(row.pose) if row.pose else None, row.prompt, row.style, row.about]
            for row in examples
        ],
        label="Examples: choose one, then press Generate",
        type="index",
        elem_id="examples",
    )

    def fill(index):
        row = examples[index]
        return [row.face], [row.pose] if row.pose else [], row.prompt, row.style

    rows.click(
        fill, rows, [inputs.parts[name] for name in names], api_visibility="private", show_progress="hidden"
    )
