"""What became of a batch's jobs, beside its pictures: `batch.json` for programs, `batch.csv` for people."""

import csv
import io
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..errors import InvalidRequest
from ..making import Status

logger = logging.getLogger(__name__)

NAME = "batch"


@dataclass(frozen=True)
class Outcome:
    """What became of one job, a row of the results.

    Args:
        status: as in `making.Ending`.
        likeness: as in `Result`, of the one picture.
        seconds: that it took to make.
    """

    file: str
    person: str
    prompt: str
    style: str | None
    seed: int
    status: Status
    likeness: float | None = None
    seconds: float | None = None
    error: str = ""


def read_results(folder: Path) -> dict[str, Outcome]:
    """The outcomes of an earlier run; none where the file is missing or was edited beyond reading."""
    try:
        rows = json.loads((folder / f"{NAME}.json").read_text(encoding="utf-8"))
        return {row["file"]: Outcome(**row) for row in rows}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError):
        logger.warning(
            "%s.json in %s cannot be read: likeness of earlier pictures is not known", NAME, folder
        )
        return {}


def write_results(outcomes: Iterable[Outcome], folder: Path, earlier: Mapping[str, Outcome]) -> None:
    """Write both files, whole or not at all.

    Args:
        earlier: of other batches in the same folder; those whose pictures are still there stay listed.

    Raises:
        InvalidRequest: they cannot be written.
    """
    now = {outcome.file: outcome for outcome in outcomes}
    others = [outcome for file, outcome in earlier.items() if file not in now and (folder / file).is_file()]
    rows = [asdict(outcome) for outcome in (*others, *now.values())]
    table = io.StringIO()
    writer = csv.DictWriter(table, [field.name for field in fields(Outcome)])
    writer.writeheader()
    writer.writerows(rows)
    for ending, text in (("json", json.dumps(rows, ensure_ascii=False, indent=1)), ("csv", table.getvalue())):
        path = folder / f"{NAME}.{ending}"
        beside = path.with_name(f".{path.name}.part")
        try:
            beside.write_text(text, encoding="utf-8", newline="")
            os.replace(beside, path)
        except OSError as error:
            raise InvalidRequest(
                f"The results cannot be written to {path}: {error.strerror or error}."
            ) from error
