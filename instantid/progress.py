"""How far a run is and how long its stages took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image

from .errors import Cancelled

OnStep = Callable[[int, int, Image.Image | None], bool | None]


class Reporter:
    """Tells the caller how far a run is, and ends it where the caller wants no more."""

    def __init__(self, on_step: OnStep | None, total: int):
        self._on_step, self._total = on_step, total

    def __call__(self, step: int, preview: Callable[[], Image.Image] | None = None) -> None:
        if self._on_step is None:
            return
        if self._on_step(step, self._total, preview() if preview else None) is False:
            raise Cancelled(f"Cancelled at step {step} of {self._total}.")


class Clock:
    """Seconds per stage."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start
