"""How fast this machine makes pictures, as the last one showed."""

from collections.abc import Callable, Iterator
from contextlib import closing

from .. import effort
from ..request import Request, Result, Step

Generate = Callable[[Request], Iterator[Step | Result]]


class Pace:
    """One per page: what one visitor's picture took tells how long another's will."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """For a unit of work (see `effort`); 0 before the first picture."""

    def measured(self, generate: Generate) -> Generate:
        """The same generator of pictures, of which every result is measured."""

        def stream(request: Request) -> Iterator[Step | Result]:
            with closing(generate(request)) as events:
                for event in events:
                    if isinstance(event, Result):
                        self.seconds = effort.pace(event) or self.seconds
                    yield event

        return stream
