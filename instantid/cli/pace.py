"""How fast pictures were made here before, for estimates before the first one: a small file beside the weights."""

import json
import os
from contextlib import suppress
from pathlib import Path

from .. import bundles


def known(machine: str) -> float:
    """Seconds for a unit of work (`effort.of`) on that bundle and device; 0 where none was made yet."""
    with suppress(OSError, ValueError, TypeError):
        return float(json.loads(_file().read_text(encoding="utf-8")).get(machine, 0.0))
    return 0.0


def remember(machine: str, pace: float) -> None:
    """Keep it for the next time. Where the cache cannot be written, there is no estimate then."""
    paces = {}
    with suppress(OSError, ValueError):
        paces = dict(json.loads(_file().read_text(encoding="utf-8")))
    beside = _file().with_suffix(".part")
    with suppress(OSError):
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(paces | {machine: pace}, indent=1), encoding="utf-8")
        os.replace(beside, _file())


def _file() -> Path:
    return bundles.default_cache() / "pace.json"
