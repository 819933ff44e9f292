"""Saved people: keep a face under a name, use it in place of photos, take it along, delete it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.context import Context

from ..errors import InvalidRequest
from ..people import MAX_PEOPLE, Photo, Portrait
from ..saved_people import MAX_FILE, MAX_NAME, PeopleInMemory, SavedPeople, SavedPerson
from .photos import notice, paths_of
from .problems import shown_on_page
from .studio import Studio

BIOMETRIC = (
    "What is saved is not the photo but the measurements of a face, which know the person again: biometric data. "
    "Save people only with their consent. "
)
IN_SESSION = "They are kept in memory for this visit, for nobody but you, and are gone when it ends."
ON_DISK = (
    "They are kept on this machine's disk until they are deleted, and whoever opens this page can use them."
)
QUIET = {"api_visibility": "private", "show_progress": "hidden"}
NUMBERS = range(1, MAX_PEOPLE + 1)
# The file is made in the browser: on the server it would lie about for hours.
DOWNLOAD = """(text) => {
  if (!text) return;
  const [name, content] = JSON.parse(text), link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([content], {type: 'application/json'}));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}"""


def build_saved(studio: Studio, parts: Mapping[str, Component], photos: Sequence[gr.Gallery]) -> None:
    """Lay out the panel, where people can be saved at all, and connect it to each person's choice.

    Args:
        parts: the people's components: "faces", "people_count", and "saved_i" and "portrait_i" for each.
        photos: the boxes of photos, one per person.
    """
    if studio.portrait is None or studio.face_model is None:
        return
    session = gr.State(PeopleInMemory())
    with gr.Accordion("Saved people", open=False, elem_id="saved-people"):
        gr.HTML(notice(BIOMETRIC + (IN_SESSION if studio.saved_people is None else ON_DISK)))
        with gr.Row(equal_height=False):
            whose = gr.Dropdown(
                _numbered(1),
                value=1,
                label="Whom to save",
                info="From the photos above.",
                visible=False,
                min_width=120,
            )
            name = gr.Textbox(
                label="Name",
                info="To choose them by.",
                max_length=MAX_NAME,
                min_width=160,
                elem_id="save-name",
            )
        save = gr.Button("Save this person", size="sm", elem_id="save-person")
        kept = gr.Dropdown([], label="Saved", info="To take along or delete.", visible=False, elem_id="kept")
        with gr.Row():
            export = gr.Button("Export", size="sm", visible=False, min_width=90, elem_id="export-person")
            delete = gr.Button("Delete", size="sm", visible=False, min_width=90, elem_id="delete-person")
            upload = gr.UploadButton(
                "Import a file",
                file_types=[".json"],
                file_count="single",
                size="sm",
                min_width=90,
                elem_id="import-person",
            )
        said = gr.HTML("", elem_id="saved-said")
        carrier = gr.Textbox(visible="hidden")
    choices = [parts[f"saved_{number}"] for number in NUMBERS]
    portraits = [parts[f"portrait_{number}"] for number in NUMBERS]
    lists = [kept, export, delete, *choices]

    def store(memory: PeopleInMemory) -> SavedPeople:
        return memory if studio.saved_people is None else studio.saved_people

    def listed(memory: PeopleInMemory) -> list[Any]:
        names = store(memory).names()
        button = gr.update(visible=bool(names))
        return [
            gr.update(choices=names, value=names[0] if names else None, visible=bool(names)),
            button,
            button,
            *(gr.update(choices=[("(photos)", ""), *names], visible=bool(names)) for _ in choices),
        ]

    def keep(memory, who, called, faces, *boxes):
        with shown_on_page():
            chosen = tuple(
                Photo(image=path, face=faces.get(str(path), 1)) for path in paths_of(boxes[who - 1])
            )
            if not chosen:
                raise InvalidRequest(f"Person {who} has no photo to save. Add one first.")
            person = SavedPerson(called, studio.portrait(chosen), studio.face_model())
            store(memory).save(person)
            return memory, "", notice(f"“{person.name}” is saved."), *listed(memory)

    def take_in(memory, file):
        with shown_on_page():
            try:
                with Path(file).open("rb") as content:
                    person = store(memory).import_(content.read(MAX_FILE + 1))
            finally:
                Path(file).unlink()  # an upload would lie about for hours
            return memory, notice(f"“{person.name}” is saved."), *listed(memory)

    def forget(memory, called, *used):
        with shown_on_page():
            store(memory).delete(called)
            kept_list, *buttons = listed(memory)[:3]
            freed = [
                update | {"value": ""} if each == called else update
                for update, each in zip(listed(memory)[3:], used)
            ]
            gone = [None if each == called else gr.skip() for each in used]
            return memory, notice(f"“{called}” is deleted."), kept_list, *buttons, *freed, *gone

    def use(memory, called) -> Portrait | None:
        if not called:
            return None
        with shown_on_page():
            return store(memory).get(called).portrait_for(studio.face_model())

    def pack(memory, called):
        with shown_on_page():
            return json.dumps([f"{called}.json", store(memory).export(called).decode()])

    finding = {"concurrency_id": "faces", "concurrency_limit": 1, **QUIET}
    gr.on(
        [save.click, name.submit],
        keep,
        [session, whose, name, parts["faces"], *photos],
        [session, name, said, *lists],
        **finding,
    )
    upload.upload(take_in, [session, upload], [session, said, *lists], **QUIET)
    delete.click(forget, [session, kept, *choices], [session, said, *lists, *portraits], **QUIET)
    for choice, portrait in zip(choices, portraits):
        choice.input(use, [session, choice], portrait, **QUIET)
    packed = export.click(pack, [session, kept], carrier, **QUIET)
    packed.then(None, carrier, None, js=DOWNLOAD).then(lambda: "", None, carrier, **QUIET)
    parts["people_count"].change(
        lambda count: gr.update(choices=_numbered(count), value=1, visible=count > 1),
        parts["people_count"],
        whose,
        **QUIET,
    )
    Context.root_block.load(listed, session, lists, **QUIET)


def _numbered(count: int) -> list[tuple[str, int]]:
    return [(f"Person {number}", number) for number in range(1, count + 1)]
