"""The runs under way, by session: how Cancel reaches its visitor's own, and knows when it is over."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PATIENCE = 10.0  # seconds that Cancel waits for a run to end; a step takes less almost everywhere


@dataclass(frozen=True)
class _Run:
    unwanted: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


class Runs:
    """One registry per page.

    Gradio's own cancelling is not enough for a run that has begun: it closes the run's generator only once that
    happens to stand still, and a Generate pressed before that is lost without a word.
    """

    def __init__(self):
        self._by_session: dict[str | None, _Run] = {}

    @contextmanager
    def begin(self, session: str | None) -> Iterator[Callable[[], bool]]:
        """Enter a session's run; what it gives tells whether the visitor still wants it."""
        run = self._by_session[session] = _Run()
        try:
            yield lambda: not run.unwanted.is_set()
        finally:
            run.over.set()
            if self._by_session.get(session) is run:
                del self._by_session[session]

    def cancel(self, session: str | None) -> None:
        """Ask a session's run to end, and wait until it has; nothing happens where none has begun."""
        if (run := self._by_session.get(session)) is not None:
            run.unwanted.set()
            run.over.wait(PATIENCE)
