"""Where photos come from: a folder of files, or WebDataset tars, as LAION's are. Each with what is told of it."""

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".bmp", ".tif", ".tiff")
SAID = ("caption", "text", "TEXT", "prompt")  # where JSON files keep what a picture shows
LISTED = "metadata.jsonl"  # as Hugging Face's image folders have it: {"file_name": …, "text": …} in each line
NOBODY = -1


@dataclass(frozen=True, kw_only=True)
class Photo:
    """One picture, not opened yet.

    Args:
        name: its path below the source.
        picture: its file, or what was in it.
        words: its .txt, or None.
        facts: its JSON as text, or None.
        listed: what `metadata.jsonl` says of it.
        person: number of who it shows; NOBODY where that is not known.
        problem: why there is no more of it, where that came out on the way.
    """

    name: str
    picture: Path | bytes
    words: Path | str | None = None
    facts: Path | str | None = None
    listed: Mapping[str, Any] = field(default_factory=dict)
    person: int = NOBODY
    problem: str | None = None

    def told(self) -> dict[str, Any]:
        """ "caption" and "captions" {kind: text}, and "person" where that is known; read from the files now.

        Raises:
            InvalidRequest: its JSON is none, or it has a problem.
        """
        if self.problem:
            raise InvalidRequest(self.problem)
        facts = dict(self.listed)
        if self.facts is not None:
            try:
                facts |= json.loads(_text(self.facts))
            except (ValueError, TypeError) as error:
                raise InvalidRequest(f"what is told of {self.name} is no JSON object ({error})") from error
        said = next((str(facts[name]) for name in SAID if facts.get(name)), "")
        captions = facts.get("captions") if isinstance(facts.get("captions"), dict) else {}
        if self.words is not None:
            said = _text(self.words) or said
        person = person_number(str(facts["person"])) if "person" in facts else self.person
        return {"caption": said.strip(), "captions": captions, "person": person}


def person_number(name: str) -> int:
    """The number of somebody who is called so in the data: the same in every folder and shard."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6])


def photos_in_folder(folder: Path, *, persons: bool) -> list[Photo]:
    """All photos below a folder, in order.

    Args:
        persons: photos in the same sub-folder of `folder` show the same person.
    """
    listed = _listed(folder / LISTED)
    found = []
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in PICTURES and not file.name.startswith("."):
            inside = file.relative_to(folder)
            known = persons and len(inside.parts) > 1
            words, facts = file.with_suffix(".txt"), file.with_suffix(".json")
            photo = Photo(
                name=inside.as_posix(),
                picture=file,
                words=words if words.is_file() else None,
                facts=facts if facts.is_file() else None,
                listed=listed.get(inside.as_posix(), {}),
                person=person_number(inside.parts[0]) if known else NOBODY,
            )
            found.append(photo)
    return found


def photos_in_tar(tar: Path) -> Iterator[Photo]:
    """The photos of one WebDataset shard: files of the same name up to the first dot belong together.

    Where the shard is damaged or cut short, the last one has a problem; what came before is good.
    """
    key, parts = "", {}
    try:
        with tarfile.open(tar) as entries:
            for entry in entries:
                if not entry.isfile():
                    continue
                path = Path(entry.name)
                stem, _, kind = path.name.partition(".")
                if (own := str(path.with_name(stem))) != key:
                    yield from _joined(key, parts)
                    key, parts = own, {}
                kind = f".{kind.lower()}"
                if kind in (*PICTURES, ".txt", ".json"):
                    parts[kind] = entries.extractfile(entry).read()
            yield from _joined(key, parts)
    except (tarfile.TarError, EOFError, OSError) as error:
        problem = f"the shard is damaged or cut short after {key or 'its beginning'} ({error})"
        yield Photo(name=tar.name, picture=b"", problem=problem)


def _joined(key: str, parts: dict[str, bytes]) -> Iterator[Photo]:
    picture = next((parts[kind] for kind in PICTURES if kind in parts), None)
    if picture is not None:
        words, facts = (
            parts[kind].decode("utf-8", errors="replace") if kind in parts else None
            for kind in (".txt", ".json")
        )
        yield Photo(name=key, picture=picture, words=words, facts=facts)


def _text(source: Path | str) -> str:
    return source.read_text(encoding="utf-8", errors="replace") if isinstance(source, Path) else source


def _listed(file: Path) -> dict[str, dict[str, Any]]:
    if not file.is_file():
        return {}
    found = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            facts = json.loads(line)
            found[facts["file_name"]] = facts
        except (ValueError, LookupError, TypeError) as error:
            raise InvalidRequest(
                f'Line {number} of {file} is no JSON object with a "file_name" ({error!r}). Mend it, or take the '
                "file away: captions may also lie beside the pictures, as NAME.txt."
            ) from error
    return found
