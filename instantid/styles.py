"""Style presets: named templates around a prompt, read from folders of JSON files, one file per family.

A file reads `{"family": "Painting", "styles": [{"name": "Gouache", "prompt": "gouache painting of {prompt}, …",
"negative": "…", "suggested": {"adapter_strength": 0.6}, "preview": "gouache.jpg"}]}`; the last two are optional.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from .errors import InvalidStyle
from .request import Request, limits

BUILT_IN = Path(__file__).parent.parent / "style_presets"
NO_STYLE = "(No style)"
PLACEHOLDER = "{prompt}"
EMPTY_PROMPT = "a person"  # the reference's stand-in (gradio_demo/app.py), where a template needs a subject
# what the page starts with; the reference's own also bans cats, drones, "blue" and "green"
DEFAULT_NEGATIVE_PROMPT = (
    "(lowres, low quality, worst quality:1.2), (text:1.2), watermark, (frame:1.2), deformed, ugly, "
    "deformed eyes, cross-eyed, bad anatomy, extra limbs, out of focus, blurry"
)


@dataclass(frozen=True, kw_only=True)
class Style:
    """A way to make pictures look.

    Args:
        name: unique among all loaded styles.
        family: the group it is shown in; "" for `(No style)`.
        prompt: template that holds `{prompt}` exactly once.
        negative: what would spoil the style.
        suggested: values for `Request` fields of these names that suit it; may be empty.
        preview: an existing thumbnail, or None.
    """

    name: str
    family: str
    prompt: str
    negative: str = ""
    suggested: Mapping[str, float] = field(default_factory=dict, hash=False)
    preview: Path | None = None

    def apply(self, prompt: str, negative_prompt: str) -> tuple[str, str]:
        """The prompt inside the template, and the style's negative prompt followed by the given one.

        An empty prompt becomes "a person". `(No style)` gives both back untouched.
        """
        if self.name == NO_STYLE:
            return prompt, negative_prompt
        subject = prompt if prompt.strip() else EMPTY_PROMPT
        negatives = (text for text in (self.negative, negative_prompt) if text.strip())
        return self.prompt.replace(PLACEHOLDER, subject), " ".join(negatives)


def load_styles(*folders: Path | str) -> dict[str, Style]:
    """Read the built-in presets and those of further `folders`: `(No style)` first, then by file name.

    Raises:
        InvalidStyle: a folder without presets, a malformed file, or a name that is used twice; the message names
            the file and the entry.
    """
    styles = {NO_STYLE: Style(name=NO_STYLE, family="", prompt=PLACEHOLDER)}
    origin: dict[str, Path] = {}
    for folder in (BUILT_IN, *map(Path, folders)):
        files = sorted(folder.glob("*.json"))
        if not files:
            raise InvalidStyle(
                f"There are no style presets in {folder}: a folder with *.json files was wanted."
            )
        for file in files:
            for style in _read_family(file):
                if style.name in styles:
                    other = origin.get(style.name, "the styles that are always there")
                    raise InvalidStyle(
                        f"The style “{style.name}” of {file} is also in {other}. Rename one of them."
                    )
                styles[style.name] = style
                origin[style.name] = file
    return styles


def find_style(styles: Mapping[str, Style], name: str) -> Style:
    """The style of that name.

    Raises:
        InvalidStyle: there is none; the message suggests names that look alike.
    """
    if name in styles:
        return styles[name]
    by_lower_case = {known.casefold(): known for known in styles}
    alike = get_close_matches(name.casefold(), by_lower_case, n=3, cutoff=0.5)
    hint = " or ".join(f"“{by_lower_case[match]}”" for match in alike)
    advice = f"Did you mean {hint}?" if hint else f"There are {len(styles)}, such as “{next(iter(styles))}”."
    raise InvalidStyle(f"There is no style “{name}”. {advice}")


def styled(styles: Mapping[str, Style], request: Request) -> tuple[str, str]:
    """The request's prompts, positive and negative, in its style.

    Raises:
        InvalidStyle: there is none of that name.
    """
    if request.style is None:
        return request.prompt, request.negative_prompt
    return find_style(styles, request.style).apply(request.prompt, request.negative_prompt)


def _within_limits(name: str) -> object:
    lowest, highest = limits(name)
    return Annotated[float | None, Field(None, ge=lowest, le=highest)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Suggested(_Strict):
    identity_strength: _within_limits("identity_strength")
    adapter_strength: _within_limits("adapter_strength")
    guidance_scale: _within_limits("guidance_scale")


_Title = Annotated[str, StringConstraints(min_length=1, pattern=r"^\S(.*\S)?$")]


class _Entry(_Strict):
    name: _Title
    prompt: str
    negative: str
    suggested: _Suggested = _Suggested()
    preview: str | None = None


class _Family(_Strict):
    family: _Title
    styles: list[_Entry] = Field(min_length=1)


def _read_family(file: Path) -> list[Style]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        family = _Family.model_validate(content)
    except OSError as error:
        raise InvalidStyle(f"The style file {file} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise InvalidStyle(f"The style file {file} is malformed. {_explain(content, error)}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidStyle(f"The style file {file} is not JSON in UTF-8: {error}.") from error
    return [_as_style(entry, family.family, file) for entry in family.styles]


def _as_style(entry: _Entry, family: str, file: Path) -> Style:
    count = entry.prompt.count(PLACEHOLDER)
    if count != 1:
        raise InvalidStyle(
            f"The style “{entry.name}” of {file} holds {PLACEHOLDER} {count} times in its prompt; "
            "exactly one is wanted."
        )
    preview = None
    if entry.preview is not None:
        folder = file.parent.resolve()
        preview = (folder / entry.preview).resolve()
        if not preview.is_relative_to(folder) or not preview.is_file():
            raise InvalidStyle(
                f"The preview “{entry.preview}” of the style “{entry.name}” in {file} is not a file in that folder. "
                "Put the thumbnail beside the JSON file, or leave the preview out."
            )
    return Style(
        name=entry.name,
        family=family,
        prompt=entry.prompt,
        negative=entry.negative,
        suggested=entry.suggested.model_dump(exclude_none=True),
        preview=preview,
    )


def _explain(content: object, error: ValidationError) -> str:
    """One sentence per problem: the entry by its name, or by its number from 1, the key and what is wrong."""
    sentences = []
    for problem in error.errors():
        place = list(problem["loc"])
        if len(place) > 1 and place[0] == "styles":
            entry = content["styles"][place[1]]
            name = entry.get("name") if isinstance(entry, dict) else None
            place[:2] = [f"style “{name}”" if isinstance(name, str) else f"style number {place[1] + 1}"]
        sentences.append(f"{', '.join(map(str, place)) or 'The file'}: {problem['msg']}.")
    return " ".join(sentences)
