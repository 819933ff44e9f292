"""One person to keep: a name, a portrait without its photo, and the small JSON file that carries them.

An embedding is biometric data: `saved_people` says what follows.
"""

import base64
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import numpy as np
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from .errors import InvalidPerson, InvalidRequest
from .people import Face, Portrait

KIND = "InstantID Studio: saved person"
FORMAT_VERSION = 1
MAX_NAME = 60  # characters
MAX_FILE = 65_536  # bytes; a person of 512 numbers takes 3,300
MAX_SIDE = 100_000  # pixels of the photo that a portrait was taken from
MAX_EMBEDDING = 4096

Number = Annotated[float, Field(allow_inf_nan=False, ge=-2 * MAX_SIDE, le=2 * MAX_SIDE)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


@dataclass(frozen=True, eq=False)
class SavedPerson:
    """A person kept under a name.

    Args:
        name: 1 to 60 printable characters; spaces around it are dropped. Case does not tell people apart.
        portrait: usable as a reference in place of a photo.
        model: the recognition model that made the embedding, as `FaceFinder.model` says it.
        created: when, in ISO 8601 with the time zone; empty: now.

    Raises:
        InvalidPerson: the name cannot be used.
    """

    name: str
    portrait: Portrait
    model: str
    created: str = ""

    def __post_init__(self):
        name = unicodedata.normalize("NFC", self.name).strip()
        if not (1 <= len(name) <= MAX_NAME and name.isprintable()):
            raise InvalidPerson(
                f"{self.name[: 2 * MAX_NAME]!r} cannot be a person's name here. Use 1 to {MAX_NAME} printable "
                "characters."
            )
        object.__setattr__(self, "name", name)
        if not self.created:
            object.__setattr__(self, "created", datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def key(self) -> str:
        """What tells people apart."""
        return name_key(self.name)

    def portrait_for(self, model: str) -> Portrait:
        """The portrait, for an engine whose face models are `model` (`FaceFinder.model`).

        Raises:
            InvalidPerson: it was made by another model, whose embeddings mean nothing to this one.
        """
        if model != self.model:
            raise InvalidPerson(
                f"“{self.name}” was saved with the face model {self.model}, and the one in use is {model}: neither "
                "understands the other's faces. Use the bundle it was saved with, or save this person again from "
                "photos."
            )
        return self.portrait


def name_key(name: str) -> str:
    """What two spellings of one name have in common: case and outer spaces do not count."""
    return unicodedata.normalize("NFC", name).strip().casefold()


def _decoded(embedding: object) -> object:
    """Strictly: pydantic's Base64Bytes drops what is no base64."""
    return base64.b64decode(embedding, validate=True) if isinstance(embedding, str) else embedding


def _encoded(embedding: bytes) -> str:
    return base64.b64encode(embedding).decode()


class _File(BaseModel):
    """The file, field by field. `embedding`: little-endian float32 in base64, so that not a bit is lost."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal[KIND]
    version: Literal[FORMAT_VERSION]
    name: str = Field(min_length=1, max_length=MAX_NAME)
    model: str = Field(min_length=1, max_length=120)
    created: AwareDatetime
    width: Side
    height: Side
    box: tuple[Number, Number, Number, Number]
    keypoints: tuple[
        tuple[Number, Number],
        tuple[Number, Number],
        tuple[Number, Number],
        tuple[Number, Number],
        tuple[Number, Number],
    ]
    embedding: Annotated[bytes, BeforeValidator(_decoded), PlainSerializer(_encoded)]

    @model_validator(mode="after")
    def _is_a_face(self) -> "_File":
        x1, y1, x2, y2 = self.box
        if x1 >= x2 or y1 >= y2:
            raise ValueError("the face's box is empty")
        if not self.model.isprintable():
            raise ValueError("the model's name holds characters that cannot be shown")
        if len(self.embedding) % 4 or not 4 <= len(self.embedding) <= 4 * MAX_EMBEDDING:
            raise ValueError(f"an embedding has 1 to {MAX_EMBEDDING} numbers of 4 bytes")
        embedding = np.frombuffer(self.embedding, "<f4")
        if not np.isfinite(embedding).all() or not embedding.any():
            raise ValueError("the embedding holds NaN or infinite values, or nothing but zeros")
        return self


def to_file(person: SavedPerson) -> bytes:
    """What an export holds: JSON in UTF-8, with no pixels.

    Raises:
        InvalidPerson: the portrait is none of a face, so that the file could not be read again.
    """
    face = person.portrait.face
    try:
        file = _File(
            kind=KIND,
            version=FORMAT_VERSION,
            name=person.name,
            model=person.model,
            created=datetime.fromisoformat(person.created),
            width=person.portrait.width,
            height=person.portrait.height,
            box=tuple(face.box.tolist()),
            keypoints=tuple(tuple(point) for point in face.keypoints.tolist()),
            embedding=face.embedding.astype("<f4").tobytes(),
        )
    except ValidationError as error:
        raise InvalidPerson(f"“{person.name}” cannot be saved: {_told(error)}") from None
    return file.model_dump_json(indent=1).encode()


def from_file(data: bytes, *, name: str = "This file") -> SavedPerson:
    """Read an export.

    Args:
        name: what messages call the file.

    Raises:
        InvalidPerson: it is too large, no export of ours, of another version, or holds what no face is.
    """
    if len(data) > MAX_FILE:
        raise InvalidPerson(
            f"{name} is too large: a saved person has at most {MAX_FILE:,} bytes. Choose a file that was "
            "exported here."
        )
    try:
        file = _File.model_validate_json(data)
        face = Face(np.frombuffer(file.embedding, "<f4"), file.keypoints, file.box)
    except ValidationError as error:
        raise InvalidPerson(f"{name} cannot be used as a saved person: {_told(error)}") from None
    except InvalidRequest as error:
        raise InvalidPerson(f"{name} cannot be used as a saved person: {error}") from None
    return SavedPerson(
        file.name, Portrait(face, file.width, file.height), file.model, file.created.isoformat()
    )


def _told(error: ValidationError) -> str:
    """What is wrong, without the values: they may be somebody's face."""
    problems = {".".join(str(part) for part in problem["loc"]): problem for problem in error.errors()}
    if "kind" in problems or ("" in problems and problems[""]["type"] != "value_error"):
        return "it is not a file that was exported here."
    if "version" in problems:
        return f"it is of another version, and this program reads version {FORMAT_VERSION}. Export it again there."
    lines = [
        f"{place}: {problem['msg']}" if place else problem["msg"].removeprefix("Value error, ")
        for place, problem in problems.items()
    ]
    return "; ".join(lines) + "."
