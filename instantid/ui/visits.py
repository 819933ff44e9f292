"""A folder for each visitor while they are here: their history, comparison and batch, found again after a reload.

The key to it is a secret in the visitor's browser tab, which outlives a reload and a crash, but not the tab. Folders
are named by its hash: who can list them cannot come in.
"""

import atexit
import hashlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..history import History

MOST = 600  # pictures of a visitor's history: whoever opens a public page could fill its disk
KEPT = 24 * 3600  # seconds since the last picture, after which a folder that a crash left behind goes
KEY_OF_TAB = """() => {
  try {
    const name = 'instantid-visit', kept = sessionStorage.getItem(name);
    if (kept) return kept;
    const bytes = crypto.getRandomValues(new Uint8Array(16));   // randomUUID is only there behind https
    const key = [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join('');
    sessionStorage.setItem(name, key);
    return key;
  } catch { return ''; }                                        // a browser that lets pages keep nothing
}"""


@dataclass(frozen=True)
class Visit:
    """What one visitor has here, in however many sessions: a reload begins another.

    Args:
        folder: theirs alone; it is made with the first picture.
    """

    folder: Path

    @cached_property
    def history(self) -> History:
        return History(self.folder / "history", most=MOST)

    @property
    def comparison(self) -> Path:
        return self.folder / "comparison"

    @property
    def batch(self) -> Path:
        return self.folder / "batch"


class Visits:
    """One registry per page. Folders go when nobody is left in them, with the program, or a day after a crash."""

    def __init__(self, root: Path | None = None):
        user = getattr(os, "getuid", str)()
        self._root = root or Path(tempfile.gettempdir()) / f"instantid-visits-{user}"
        self._sessions: dict[Path, int] = {}
        self._lock = threading.Lock()
        atexit.register(self.close)

    def enter(self, key: str = "") -> Visit:
        """Begin a session in the visit that this key opens; without one nobody finds it again."""
        name = hashlib.sha256((key or secrets.token_hex()).encode()).hexdigest()[:40]
        visit = Visit(self._root / name)
        with self._lock:
            self._sessions[visit.folder] = self._sessions.get(visit.folder, 0) + 1
            self._root.mkdir(mode=0o700, exist_ok=True)
            self._root.chmod(0o700)  # refused where somebody else made it, to look in
            self._sweep()
        return visit

    def leave(self, visit: Visit | None) -> None:
        """End a session; with its last one, what the visitor made is deleted."""
        if visit is None:
            return
        with self._lock:
            left = self._sessions.get(visit.folder, 0) - 1
            if left > 0:
                self._sessions[visit.folder] = left
                return
            self._sessions.pop(visit.folder, None)
        shutil.rmtree(visit.folder, ignore_errors=True)

    def close(self) -> None:
        """Delete what all visitors of this program made."""
        with self._lock:
            for folder in self._sessions:
                shutil.rmtree(folder, ignore_errors=True)
            self._sessions.clear()
        with suppress(OSError):  # other programs' visitors are in there
            self._root.rmdir()

    def _sweep(self) -> None:
        for folder in set(self._root.iterdir()) - set(self._sessions):
            with suppress(OSError):  # another program was quicker
                used = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
                if used < time.time() - KEPT:
                    shutil.rmtree(folder, ignore_errors=True)
