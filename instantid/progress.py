"""How far a run is, how long its stages took, and a run as a stream of events."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from PIL import Image

from .errors import Cancelled
from .request import Result, Step

OnStep = Callable[[int, int, Image.Image | None], bool | None]
HEARTBEAT = 1.0  # seconds between signs of life


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


def stream(run: Callable[[OnStep], Result]) -> Iterator[Step | Result]:
    """Run in a thread, and yield a `Step` per step, then the `Result`; raises what the run raises.

    The last `Step` comes again, without its preview, while nothing new happens: a page can only be cancelled
    when it hears something. Closing the stream cancels the run and returns at once; the run ends at its next
    step.
    """
    events: queue.SimpleQueue[Step | Result | BaseException] = queue.SimpleQueue()
    wanted = threading.Event()
    wanted.set()

    def on_step(step: int, total: int, preview: Image.Image | None) -> bool:
        events.put(Step(step, total, preview, "" if step else "Reading the photos"))
        return wanted.is_set()

    def work() -> None:
        try:
            events.put(run(on_step))
        except BaseException as error:  # handed to the consumer, who raises it
            events.put(error)

    threading.Thread(target=work, name="generate", daemon=True).start()
    try:
        last = Step(0, 1, None, "Waiting for other pictures")
        while True:
            try:
                event = events.get(timeout=HEARTBEAT)
            except queue.Empty:
                event = replace(last, preview=None)
            if isinstance(event, BaseException):
                raise event
            yield event
            if isinstance(event, Result):
                return
            last = event
    finally:
        wanted.clear()
