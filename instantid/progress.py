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
Tell = Callable[[int, int, Image.Image | None, str], bool | None]
"""`OnStep`, and a note on what is going on."""
THREAD = "generate"  # that runs go on in
HEARTBEAT = 1.0  # seconds between signs of life


class Reporter:
    """Tells the caller how far a run is, and ends it where the caller wants no more."""

    def __init__(self, tell: Tell | None, total: int):
        self._tell, self._total = tell, total

    def __call__(
        self, step: int, preview: Callable[[], Image.Image] | None = None, *, note: str = ""
    ) -> None:
        if self._tell is None:
            return
        if self._tell(step, self._total, preview() if preview else None, note) is False:
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


def stream(run: Callable[[Tell], Iterator[Result]]) -> Iterator[Step | Result]:
    """Run in a thread, and yield a `Step` per step and each `Result` as it comes; raises what the run raises.

    The last `Step` comes again, without its preview, while nothing new happens: a page can only be cancelled
    when it hears something. Closing the stream cancels the run and returns at once; the run ends at its next
    step.
    """
    events: queue.SimpleQueue[Step | Result | BaseException | None] = queue.SimpleQueue()
    wanted = threading.Event()
    wanted.set()

    def tell(step: int, total: int, preview: Image.Image | None, note: str) -> bool:
        events.put(Step(step, total, preview, note))
        return wanted.is_set()

    def work() -> None:
        try:
            for result in run(tell):
                events.put(result)
            events.put(None)  # that was the last
        except BaseException as error:  # handed to the consumer, who raises it
            events.put(error)

    threading.Thread(target=work, name=THREAD, daemon=True).start()
    try:
        last = Step(0, 1, None, "Waiting for other pictures")
        while True:
            try:
                event = events.get(timeout=HEARTBEAT)
            except queue.Empty:
                event = replace(last, preview=None)
            if event is None:
                return
            if isinstance(event, BaseException):
                raise event
            yield event
            if isinstance(event, Step):
                last = event
    finally:
        wanted.clear()
