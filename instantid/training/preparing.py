"""Any source of pictures → prepared data: says what a source is, and works through it in several processes."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from .. import faces
from ..errors import InvalidRequest
from ..faces import FaceFinder
from . import photos, rendered
from .photo_sources import LISTED, PICTURES, Photo, photos_in_folder, photos_in_tar
from .photos import Report, Wishes
from .processes import OnNews, Worker, work_through

Kind = Literal["rendered people", "WebDataset shards", "a folder of photos"]
ORDERED = "prepared.json"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A recognised source. `tars`: of the first two kinds; `photos`: of the last."""

    folder: Path
    kind: Kind
    tars: tuple[Path, ...] = ()
    photos: tuple[Photo, ...] = ()

    def __str__(self) -> str:
        count = f"{len(self.photos)} pictures" if self.photos else f"{len(self.tars)} shards"
        return f"{self.folder} is {self.kind}: {count}"


def recognise(source: Path, *, persons: bool = True) -> Source:
    """What lies in a folder, or in one .tar file.

    Args:
        persons: in a folder of photos, sub-folders are persons.

    Raises:
        InvalidRequest: nothing that can be prepared, or two kinds of it.
    """
    if source.is_file() and source.suffix == ".tar":
        return Source(folder=source.parent, kind="WebDataset shards", tars=(source,))
    if not source.is_dir():
        raise InvalidRequest(
            f"{source} is neither a folder nor a .tar file. Check the path and its spelling."
        )
    if people := sorted(source.glob("people-*.tar")):
        return Source(folder=source, kind="rendered people", tars=tuple(people))
    tars = tuple(sorted(source.rglob("*.tar")))
    found = tuple(photos_in_folder(source, persons=persons))
    if tars and found:
        raise InvalidRequest(
            f"{source} holds both {len(tars)} .tar files and {len(found)} pictures. Name the folder of "
            "the one or the other."
        )
    if tars:
        return Source(folder=source, kind="WebDataset shards", tars=tars)
    if not found:
        raise InvalidRequest(
            f"{source} holds nothing to prepare. It takes pictures ({', '.join(PICTURES)}) with captions beside them "
            f"as NAME.txt or NAME.json, or in {LISTED}; WebDataset shards (.tar); or rendered people, which "
            f"`python -m instantid data make {source}` makes."
        )
    return Source(folder=source, kind="a folder of photos", photos=found)


def prepare(
    source: Source,
    out: Path,
    wishes: Wishes,
    face_models: tuple[str, Path],
    *,
    gpu: bool = False,
    workers: int = 1,
    on_report: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Make a source ready in the folder `out`; what is done is not done again.

    Args:
        face_models: kind and folder of a bundle's face models, which look at each picture.
        gpu: let them run on CUDA.
        on_report: told of each piece.

    Raises:
        InvalidRequest: `out` holds something else, or nothing of the source could be kept.
        ProcessDied: a worker ended early.
    """
    _check_order(source, out, wishes, face_models)
    total = Report()

    def on_news(report: Report) -> None:
        nonlocal total
        total = total + report
        on_report(report)

    open_worker = partial(_open_worker, source.folder, out, wishes, face_models, gpu)
    work_through(_jobs(source, wishes), open_worker, workers=workers, on_news=on_news)
    if not total.kept:
        raise InvalidRequest(
            f"Nothing of {source.folder} was kept. {summary(total)} --min-side, --min-face and --faceless choose "
            "what is."
        )
    return total


def summary(report: Report) -> str:
    """What became of the pictures, in a sentence or two."""
    reasons = [
        f"{count} {'with' if 'face' in reason else 'that are'} {reason}"
        for reason, count in report.left_out.items()
    ]
    told = f"Kept {report.kept} of {report.read} pictures" + (
        f"; left out: {', '.join(reasons)}." if reasons else "."
    )
    if report.silent:
        told += f" {report.silent} of those kept have no caption."
    if report.damaged:
        some = "; ".join(report.damaged[:3])
        told += (
            f" {len(report.damaged)} could not be read, such as {some} (all are named in {photos.REPORTS})."
        )
    return told


def _jobs(source: Source, wishes: Wishes) -> Sequence[object]:
    if source.tars:
        return [(source.kind, tar) for tar in source.tars]
    return list(enumerate(_in_groups(source.photos, wishes.at_once)))


def _open_worker(folder: Path, out: Path, wishes: Wishes, face_models: tuple[str, Path], gpu: bool) -> Worker:
    """What does one job. Its face models are loaded here, once in each process."""
    kind, path = face_models
    finder = faces.load_finder(kind, path, gpu=gpu)
    return partial(_work, folder, out, wishes, finder)


def _work(folder: Path, out: Path, wishes: Wishes, finder: FaceFinder, job: tuple, tell: OnNews) -> None:
    first, second = job
    if first == "rendered people":
        rendered.prepare_shard(second, out, finder, size=wishes.size, fill=wishes.fill)
        count = len(np.load(out / second.stem / "persons.npy", mmap_mode="r"))
        tell(Report(read=count, kept=count, known=count))
    elif first == "WebDataset shards":
        _prepare_tar(second, folder, out, wishes, finder, tell)
    else:
        tell(photos.prepare_piece(f"photos-{first:05d}", second, out, finder, wishes))


def _prepare_tar(
    tar: Path, folder: Path, out: Path, wishes: Wishes, finder: FaceFinder, tell: OnNews
) -> None:
    stem = "--".join(tar.relative_to(folder).with_suffix("").parts)
    for number, some in enumerate(_in_groups(photos_in_tar(tar), wishes.at_once)):
        tell(photos.prepare_piece(f"{stem}-{number:04d}", some, out, finder, wishes))


def _in_groups(found: Iterable[Photo], count: int) -> Iterator[list[Photo]]:
    found = iter(found)
    while some := list(islice(found, count)):
        yield some


def _check_order(source: Source, out: Path, wishes: Wishes, face_models: tuple[str, Path]) -> None:
    """Refuse to mix two ways of preparing in one folder. Shards may be added to, a folder of photos may not: which
    photo comes into which piece would change."""
    names = "\n".join(photo.name for photo in source.photos)
    ordered = {
        "source": str(source.folder.resolve()),
        "kind": source.kind,
        "photos": hashlib.sha256(names.encode()).hexdigest()[:16] if names else "",
        "face models": face_models[0],
        **asdict(wishes),
    }
    file = out / ORDERED
    if file.exists():
        before = {"fill": Wishes.fill} | json.loads(
            file.read_text(encoding="utf-8")
        )  # older folders say nothing of it
        changed = [name for name in ordered if before.get(name) != ordered[name]]
        if changed:
            raise InvalidRequest(
                f"{out} was prepared from something else or in another way: {', '.join(changed)} changed. Choose a "
                "new folder, or say the same as before."
            )
    else:
        photos.write_json(file, ordered)
