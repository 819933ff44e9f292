"""People × prompts × styles × seeds → one job per picture."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest
from ..request import Person, Request
from .subjects import Subject, find_subjects

LONGEST = 60  # letters of one part of a file's name


@dataclass(frozen=True)
class Job:
    """One picture to make: its file's name, what it is made of, and the request, of one image."""

    file: str
    person: str
    prompt: str
    style: str | None
    seed: int
    request: Request


def plan(
    faces: Path | Sequence[Subject],
    prompts: Sequence[str],
    styles: Sequence[str | None] = (None,),
    *,
    seeds: Sequence[int] = (42,),
    settings: Mapping[str, Any] | None = None,
    person: Mapping[str, Any] | None = None,
) -> list[Job]:
    """One job for each person, prompt, style and seed, in this order.

    The same arguments give the same jobs with the same file names: that is how a batch goes on.

    Args:
        faces: a folder, as `find_subjects` reads it, or the people themselves.
        prompts: `{name}` in them stands for the person's name.
        styles: presets' names; None: the prompts as they are.
        settings: what all have in common, by the names of `Request`'s fields.
        person: what everybody has in common, by the names of `Person`'s fields, without references.

    Raises:
        InvalidRequest: something cannot be asked for, or two jobs would have the same file.
    """
    subjects = find_subjects(faces) if isinstance(faces, Path) else list(faces)
    jobs = []
    for subject in subjects:
        people = [Person(**(person or {}), references=subject.references)]
        for number, prompt in enumerate(prompts, start=1):
            words = prompt.replace("{name}", subject.name)
            for style in styles:
                for seed in seeds:
                    own = {"people": people, "prompt": words, "style": style, "seed": seed, "images": 1}
                    file = f"{_slug(subject.name)}_{number:02}_{_slug(style or 'no style')}_{seed}.png"
                    request = Request(**(dict(settings or {}) | own))
                    jobs.append(Job(file, subject.name, words, style, seed, request))
    files: dict[str, Job] = {}
    for job in jobs:
        other = files.setdefault(job.file.casefold(), job)  # some disks do not tell A from a
        if other is not job:
            whose = (
                f"“{other.person}” and “{job.person}”" if other.person != job.person else f"“{job.person}”"
            )
            raise InvalidRequest(
                f"Two pictures would both be called {job.file}, of {whose}. Give people and styles names that differ "
                "in their letters, and each style and seed once."
            )
    return jobs


def _slug(text: str) -> str:
    """Letters and digits of any script, with single hyphens between."""
    return re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", text)).strip("-")[:LONGEST] or "unnamed"
