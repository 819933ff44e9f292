"""What the page is given. It knows pictures and requests, never an engine."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ..request import Face, Request, Result, Step
from ..styles import Style


class Example(NamedTuple):
    """A row that fills the page; nothing is generated before Generate is pressed."""

    face: Path
    pose: Path | None
    prompt: str
    style: str


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Everything that the page can do and needs to say.

    Args:
        generate: yields `Step`s, at last one `Result`; raises InstantIDError. Closing it cancels the run:
            `close()` is called on the server's event loop, so it must return at once.
        find_faces: faces of a photo, largest first, [] where there are none; raises InvalidImage.
            None where the bundle has no face model.
        number_faces: a photo and its faces → RGB picture with boxes numbered from 1.
        save: writes the result's pictures, with their metadata, as PNG into a folder; returns one path each.
        styles: by name. "(No style)" may be among them: the page offers it in any case.
        defaults: width, height, steps and guidance_scale of the bundle.
        schedulers, controls: what the bundle can do, in the order shown.
        banner: yields one line naming bundle and device, and again when that changes.
        untrained: the weights are seeded noise; page and captions say so.
        examples: rows shown under the form.
    """

    generate: Callable[[Request], Iterator[Step | Result]]
    find_faces: Callable[[Path], list[Face]] | None
    number_faces: Callable[[Path, list[Face]], Image.Image]
    save: Callable[[Result, Path], list[Path]]
    styles: Mapping[str, Style]
    schedulers: tuple[str, ...]
    controls: tuple[str, ...]
    defaults: Mapping[str, float]
    banner: Callable[[], Iterator[str]]
    untrained: bool = False
    has_style_reference: bool = False
    default_negative: str = ""
    examples: list[Example] = field(default_factory=list)
    title: str = "InstantID Studio"
