"""A comparison as a table: labels that stay in view, cells to choose with mouse, finger or keyboard."""

from pathlib import Path

import gradio as gr


def compare_table() -> gr.HTML:
    """The table. Its value is what `compare_run.table_of` gives; a cell that is chosen triggers `choose`, with `at`.

    As with the editors (see `stage.build_stage`) the template names no property, and the script watches the value.
    """
    folder = Path(__file__).parent
    template, style, script = (
        (folder / f"compare_table.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    return gr.HTML(
        None,
        html_template=template,
        css_template=style,
        js_on_load=script,
        apply_default_css=False,
        elem_id="compare-table",
    )
