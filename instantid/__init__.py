"""InstantID Studio: one photo of a face becomes any picture of that person.

`Engine`, which needs torch, is imported when it is first asked for.
"""

from typing import TYPE_CHECKING

from .errors import InstantIDError
from .request import Face, Person, Photo, Request, Result

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["Engine", "Face", "InstantIDError", "Person", "Photo", "Request", "Result"]


def __getattr__(name: str):
    if name == "Engine":
        from .engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
