"""What an axis may vary: any field of the request by dotted name, and three more that change several at once."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MultipleOf
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ..dotted import PICTURES
from ..errors import InvalidRequest
from ..people import STRENGTHS
from ..request import Control, Lora, Photo, Request

Kind = Literal["number", "integer", "switch", "choice", "words", "photo", "loras"]
ADAPTERS = ("all", "no IdentityNet", "no image adapter", "no face", "no style picture", "none")
METHODS = ("InstantID", "IP-Adapter FaceID", "IP-Adapter", "text only")
REPLACE = "prompt S/R"

_KINDS: dict[type, Kind] = {bool: "switch", int: "integer", float: "number", str: "words", Photo: "photo"}
_ALIASES = {  # what the command line, A1111 and papers call them; see `_plain`
    "cfg": "guidance_scale",
    "cfgscale": "guidance_scale",
    "negative": "negative_prompt",
    "sampler": "scheduler",
    "checkpoint": "base",
    "checkpointname": "base",
    "face": "people.0.references",
    "references": "people.0.references",
    "pose": "pose_image",
    "start": "start_image",
    "lora": "loras",
    "denoising": "start_strength",
    "promptsr": REPLACE,
    "sr": REPLACE,
}


@dataclass(frozen=True, kw_only=True)
class Variable:
    """Something that an axis may vary.

    Args:
        name: dotted, as in the request: "people.0.view"; or one of "prompt S/R", "adapters", "method".
        title: for people.
        choices: of a choice, in the order shown.
        low, high, multiple: of a number; None: no limit.
        optional: "none" leaves it open.
        about: the field's own help.
    """

    name: str
    title: str
    kind: Kind
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    multiple: int | None = None
    optional: bool = False
    about: str = ""

    @property
    def allowed(self) -> str:
        """What its values may be, in words."""
        match self.kind:
            case "number" | "integer":
                what = "numbers" if self.kind == "number" else "whole numbers"
                what += "" if self.low is None else f" from {self.low:.10g}"
                what += "" if self.high is None else f" to {self.high:.10g}"
                told = what + ("" if self.multiple is None else f", multiples of {self.multiple}")
            case "switch":
                told = "on and off"
            case "choice":
                told = "; ".join(self.choices)
            case "photo":
                told = "files of pictures"
            case "loras":
                told = "LoRAs such as film=0.8, several joined by +"
            case "words":
                told = "words"
        return f"{told}; none" if self.optional else told


_SPECIAL = (
    Variable(
        name=REPLACE,
        title="Prompt S/R",
        kind="words",
        about="Search and replace: the first value is looked for in the prompts, and the others take its place.",
    ),
    Variable(
        name="adapters",
        title="Adapters",
        kind="choice",
        choices=ADAPTERS,
        about="What takes part: strength 0 is exactly off.",
    ),
    Variable(
        name="method",
        title="Method",
        kind="choice",
        choices=METHODS,
        about="How the face gets into the picture, with the same inputs.",
    ),
)


def find(name: str) -> Variable:
    """What is called that: a dotted name, or the short one of the command line or of A1111.

    Raises:
        InvalidRequest: nothing is, or it has parts and one of them is wanted.
    """
    plain = _plain(name)
    special = next((each for each in _SPECIAL if _plain(each.name) == plain), None)
    if special is not None:
        return special
    dotted = name.strip().lower().replace(" ", "_").replace("-", "_")
    return _of_request(_ALIASES.get(plain, dotted.replace(".weight", ".strength")))


def offered(request: Request | None = None) -> tuple[Variable, ...]:
    """What to offer in a list: the request's own fields, those of its people, controls and LoRAs, the three more."""
    names = [name for name in Request.model_fields if name not in _NOT_OFFERED]
    people = len(request.people) if request else 1
    names += [f"people.{i}.{part}" for i in range(people) for part in ("references", "view")]
    if people > 1:
        names += [f"people.{i}.{part}" for i in range(people) for part in STRENGTHS]
    names += [
        f"controls.{control}.{part}"
        for control in (request.controls if request else ())
        for part in ("strength", "start", "end")
    ]
    names += [f"loras.{i}.strength" for i in range(len(request.loras) if request else 0)]
    return (*(_of_request(name) for name in names), *_SPECIAL)


_NOT_OFFERED = {"people", "controls", "textual_inversions", "images", "repaint_mask"}


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _of_request(name: str) -> Variable:
    kind, rules, optional, about = Request, [], False, ""
    if name == "images":
        raise InvalidRequest("Every cell is one picture: vary the seed instead of images.")
    walked: list[str] = []
    for part in name.split("."):
        kind, rules, optional, about = _inside(kind, part, walked, name)
        walked.append(part)
    if kind is Control:
        return _of_request(f"{name}.strength")
    told = _kind(kind)
    if told is None:
        parts = tuple(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else ("0",)
        named = ", ".join(f"{name}.{part}" for part in parts)
        raise InvalidRequest(f"{name} cannot be an axis as a whole. Vary a part of it: {named}.")
    limits = {type(rule): rule for rule in rules}
    multiple = limits.get(MultipleOf)
    return Variable(
        name=name,
        title=_title(name),
        kind=told,
        choices=get_args(kind) if told == "choice" else (),
        low=limits[Ge].ge if Ge in limits else None,
        high=limits[Le].le if Le in limits else None,
        multiple=multiple and multiple.multiple_of,
        optional=optional,
        about=about,
    )


def _kind(kind: Any) -> Kind | None:
    """What an axis over such a type is; None where it has parts instead."""
    if get_origin(kind) is tuple:
        element, _, _ = _opened(get_args(kind)[0])
        return "loras" if element is Lora else "photo" if Photo in get_args(element) else None
    if get_origin(kind) is Literal:
        return "choice"
    return "photo" if Photo in get_args(kind) else _KINDS.get(kind)


def _inside(kind: Any, part: str, walked: Sequence[str], name: str) -> tuple[Any, list[Any], bool, str]:
    """Type, limits, whether it may be None, and help of a part of something of type `kind`."""
    if isinstance(kind, type) and issubclass(kind, BaseModel) and part in kind.model_fields:
        field = kind.model_fields[part]
        inner, rules, optional = _opened(field.annotation)
        return inner, [*field.metadata, *rules], optional, field.description or ""
    if get_origin(kind) is tuple and part.isdigit():
        return *_opened(get_args(kind)[0]), ""
    if get_origin(kind) is dict:
        keys, values = get_args(kind)
        if part in get_args(keys):
            return *_opened(values), ""
    raise InvalidRequest(_unknown(kind, walked, name))


def _unknown(kind: Any, walked: Sequence[str], name: str) -> str:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        known = [*kind.model_fields, *(() if walked else ("adapters", "method", REPLACE))]
    else:
        known = list(get_args(get_args(kind)[0])) if get_origin(kind) is dict else ["0"]
    near = difflib.get_close_matches(name.split(".")[len(walked)], known, n=1)
    hint = f"Did you mean “{'.'.join([*walked, near[0]])}”?" if near else f"There are: {', '.join(known)}."
    return f"There is nothing called “{name}” to vary. {hint}"


def _opened(annotation: Any) -> tuple[Any, list[Any], bool]:
    """A type without `Annotated` and `None` around it, its rules, and whether it may be None."""
    rules: list[Any] = []
    optional = False
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            for rule in more:
                rules += rule.metadata if isinstance(rule, FieldInfo) else [rule]
            continue
        if get_origin(annotation) in (Union, UnionType):
            kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
            optional = optional or len(kinds) < len(get_args(annotation))
            if len(kinds) == 1:
                annotation = kinds[0]
                continue
        return annotation, rules, optional


def _title(name: str) -> str:
    match name.split("."):
        case ["people", i, *rest] if i != "0" or rest[0].endswith("_strength"):
            title = f"person {int(i) + 1} {' '.join(rest)}"
        case ["people", _, "references", *_]:
            title = "face photo"
        case ["people", _, *rest]:
            title = " ".join(rest)
        case ["controls", control, *rest]:
            title = f"{control} control {' '.join(rest)}"
        case ["loras", i, *rest]:
            return f"LoRA {int(i) + 1} {' '.join(rest)}".strip()
        case ["loras"]:
            return "LoRAs"
        case ["vae"]:
            return "VAE"
        case ["base"]:
            return "Base model"
        case [picture] if picture in PICTURES:
            title = PICTURES[picture]
        case _:
            title = name
    words = title.replace("_", " ").replace(".", " ")
    return words[:1].upper() + words[1:]
