"""What the page is given. It knows pictures and requests, never an engine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from ..history import History
from ..request import Face, Photo, Portrait, Request, Result, Step
from ..saved_people import SavedPeople
from ..styles import NO_STYLE, Style


class Example(NamedTuple):
    """A row that fills the page; nothing is generated before Generate is pressed."""

    face: Path
    pose: Path | None
    prompt: str
    style: str
    about: str = ""
    """Whom the face is of, such as “rendered: nobody real”."""


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Everything that the page can do and needs to say. What is left out is not offered.

    Args:
        generate: yields `Step`s, at last one `Result`; raises InstantIDError. Closing it cancels the run:
            `close()` is called on the server's event loop, so it must return at once.
        generate_several: likewise of requests that differ in their seeds alone, with a `Result` for each; None: they
            are made one by one.
        find_faces: faces of a photo, largest first, [] where there are none; raises InvalidImage.
            None where the bundle has no face model.
        number_faces: a photo and its faces → RGB picture with boxes numbered from 1.
        save: writes the result's pictures, with their metadata, as PNG into a folder; returns one path each.
        styles: by name. "(No style)" may be among them: the page offers it in any case.
        defaults: the bundle's `Defaults`, by field.
        schedulers: what the bundle can do, in the order shown.
        controls: extra ControlNets that can run here, in the order shown.
        first_controls: those that are on at first; the reference's pose.
        control_strength: at first, of each; the reference's.
        readable_controls: those of them whose maps can be read off a photo here; the others want a ready map.
            None: all of them.
        banner: yields one line naming bundle and device, and again when that changes.
        bundle: its name, for files that say how a comparison was made.
        untrained: the weights are seeded noise; page and captions say so.
        about: what the weights are and give, where that is less than a visitor expects; "" where not.
        style_reference: a style picture can be followed.
        faceid: IP-Adapter FaceID can be used.
        recipes: few-step recipes whose weights are here, by name: steps, guidance_scale, scheduler, and
            "when", a sentence on when to use it.
        weights: names of the weights that can be chosen, by kind: "checkpoints", "loras", "vaes", "embeddings".
            Asked whenever the page is opened. None: the bundle's own only.
        open_weights: any path and any place on the hub may be typed: for the owner of the machine. Else
            only what `weights` names and uploaded .safetensors files.
        advise: one friendly line per thing that could be better about a face photo; [] where all is well.
        saved_people: the store of people kept by name on this machine's disk; None where the owner allows none.
        history: the pictures made here, kept on this machine's disk; None: each visitor's own, until they leave.
        portrait: one person's photos, averaged into a portrait to keep; raises NoFaceFound. None: nobody can be
            saved.
        face_model: the recognition model's name; saved people of another one cannot be used.
        likeness_scale: what a likeness is to be held against, in words; "" where nobody says.
        examples: rows shown under the form.
    """

    generate: Callable[[Request], Iterator[Step | Result]]
    find_faces: Callable[[Path], list[Face]] | None
    number_faces: Callable[[Path, list[Face]], Image.Image]
    save: Callable[[Result, Path], list[Path]]
    styles: Mapping[str, Style]
    schedulers: tuple[str, ...]
    controls: tuple[str, ...]
    defaults: Mapping[str, float | str]
    banner: Callable[[], Iterator[str]]
    generate_several: Callable[[Sequence[Request]], Iterator[Step | Result]] | None = None
    readable_controls: tuple[str, ...] | None = None
    bundle: str = ""
    untrained: bool = False
    about: str = ""
    style_reference: bool = False
    faceid: bool = False
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    weights: Callable[[], Mapping[str, list[str]]] | None = None
    open_weights: bool = False
    advise: Callable[[Path], list[str]] | None = None
    saved_people: SavedPeople | None = None
    history: History | None = None
    portrait: Callable[[Sequence[Photo]], Portrait] | None = None
    face_model: Callable[[], str] | None = None
    likeness_scale: str = ""
    default_negative: str = ""
    first_controls: tuple[str, ...] = ("pose",)
    control_strength: float = 0.4
    examples: list[Example] = field(default_factory=list)
    title: str = "InstantID Studio"

    def begin_with(self, style: str) -> str:
        """A preset that the page proposes, or none where there is none of that name."""
        return style if style in self.styles else NO_STYLE

    def reads(self, control: str) -> bool:
        """Whether this control's map can be read off a photo."""
        return self.readable_controls is None or control in self.readable_controls
