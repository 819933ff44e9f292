"""Photo boxes, and what is said about the faces in them as soon as they are in."""

import html
import tempfile
from pathlib import Path

import gradio as gr
from PIL import Image

from ..errors import InstantIDError
from ..images import open_image
from ..request import Face
from .problems import shown_on_page
from .studio import Studio
from .words import LABELS

FILE_TYPES = ["image", ".heic", ".heif", ".avif"]
BROWSERS_SHOW = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".bmp"}


def paths_of(gallery: list[tuple[str, str | None]] | None) -> list[Path]:
    """The files of a `gr.Gallery` of type "filepath"."""
    return [Path(path) for path, _ in gallery or []]


def photo_box(field: str, hint: str, *, several: bool, label: str | None = None) -> gr.Gallery:
    """A box to drop, paste or take photos in.

    A gallery also where one photo is meant: `gr.Image` opens the upload itself, so that a HEIC photo or a
    damaged file ends in Pillow's words, before `images.open_image` is asked.
    """
    with gr.Column(min_width=240, elem_classes="tight"):
        box = gr.Gallery(
            label=label or LABELS[field],
            file_types=FILE_TYPES,
            sources=["upload", "clipboard"],  # "webcam" shows as a bare “common.webcam” (Gradio 6.31)
            interactive=True,
            type="filepath",
            height=150,
            object_fit="contain",
            buttons=["fullscreen"],
            elem_id=f"{field}-box",
            elem_classes="photos",
        )
        gr.Markdown(hint, elem_classes="hint")

    def arrange(items):
        paths = paths_of(items)
        kept = paths if several else paths[-1:]
        with shown_on_page(), tempfile.TemporaryDirectory() as folder:
            shown = [_showable(path, Path(folder) / str(i)) for i, path in enumerate(kept)]
            yield gr.skip() if shown == paths else shown

    box.upload(arrange, box, box, api_visibility="private", show_progress="hidden")
    return box


def _showable(path: Path, folder: Path) -> Path:
    """The photo itself, or its pixels as PNG where browsers cannot show the format."""
    if path.suffix.lower() in BROWSERS_SHOW:
        return path
    try:
        photo = open_image(path)
    except InstantIDError:  # stays as it is: the face check says what is wrong with it
        return path
    folder.mkdir()
    photo.save(folder / f"{path.stem}.png")
    return folder / f"{path.stem}.png"


def face_check(
    studio: Studio,
    box: gr.Gallery,
    faces: gr.State,
    *,
    advise: bool = False,
    for_people: gr.State | None = None,
) -> None:
    """Under `box`: a warning for each photo without a face, a choice for each with several.

    Choices go to `faces`: {path: which face, counted from 1, largest first}.

    Args:
        advise: say also what could be better about each photo.
        for_people: how many people take the places of the photo's faces; several leave no choice among them.
    """
    if studio.find_faces is None:
        return

    # Not in the GPU's queue: a warning that waits for somebody's picture comes too late.
    @gr.render(
        [box, faces, *([for_people] if for_people else [])],
        triggers=[box.change, *([for_people.change] if for_people else [])],
        concurrency_id="faces",
        concurrency_limit=1,
        show_progress="hidden",
    )
    def _(items, chosen, people=1):
        for path in paths_of(items):
            try:
                found = studio.find_faces(path)
                advice = studio.advise(path) if advise and studio.advise is not None and found else []
            except InstantIDError as error:
                gr.HTML(notice(str(error), warning=True))
                continue
            _say_how_many(path, found, people)
            if len(found) > 1 and people == 1:
                _ask_which(path, studio.number_faces(path, found), found, faces, chosen.get(str(path), 1))
            if advice:
                gr.HTML(
                    notice(
                        "\n".join([f"“{path.name}”:", *advice])
                        if advice[1:]
                        else f"“{path.name}”: {advice[0]}"
                    )
                )


def _say_how_many(path: Path, found: list[Face], people: int) -> None:
    if not found:
        gr.HTML(
            notice(
                f"No face found in “{path.name}”. A sharp, well lit photo works best, with one face turned "
                "to the camera and some room around the head.",
                warning=True,
            )
        )
    elif len(found) < people:
        gr.HTML(
            notice(
                f"“{path.name}” has places for {len(found)} of {people} people. Choose a photo with a face for "
                "each, or place the faces by hand.",
                warning=True,
            )
        )


def _ask_which(path: Path, numbered: Image.Image, found: list[Face], faces: gr.State, chosen: int) -> None:
    gr.Image(numbered, label=f"{len(found)} faces in “{path.name}”", buttons=["fullscreen"], height=220)
    choice = gr.Radio(
        list(range(1, len(found) + 1)),
        value=min(chosen, len(found)),
        label="Which face?",
        info="Numbered by size: 1 is the largest.",
        interactive=True,  # inside gr.render Gradio does not infer it
    )
    choice.input(
        lambda number, known: known | {str(path): number},
        [choice, faces],
        faces,
        api_visibility="private",
        show_progress="hidden",
    )


def notice(text: str, *, warning: bool = False) -> str:
    """HTML of an inline message."""
    look, role = ("notice warning", "alert") if warning else ("notice", "note")
    lines = html.escape(text).replace("\n", "<br>")
    return f'<div class="{look}" role="{role}">{lines}</div>'
