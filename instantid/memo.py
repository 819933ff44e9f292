"""What was computed lately, so that the next run of the same photos and words need not compute it again."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Memo(Generic[V]):
    """Keeps the last few values that were asked for, in memory alone. May be called from several threads.

    A value is handed out again as it is: nobody may change it.

    Args:
        size: how many values; the one that was not asked for the longest goes first.
    """

    def __init__(self, size: int):
        self._size = size
        self._kept: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, key: Hashable, compute: Callable[[], V]) -> V:
        """The value of that key, computed where it is not known. What `compute` raises is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = compute()
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return value
