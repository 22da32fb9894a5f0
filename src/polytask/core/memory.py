"""Freed memory, given back to the system."""

from __future__ import annotations

import ctypes
import time


class Trimmer:
    """Gives freed memory back to the system from time to time.

    Batches of ever other shapes leave holes in the heap, which glibc keeps: without this, the resident
    memory of a process grows by half over some thousand batches. It does nothing where the C library is
    another one.

    :param seconds: Shortest time between two times; one takes a few milliseconds.
    """

    def __init__(self, seconds: float = 2.0) -> None:
        self._seconds = seconds
        self._last = time.monotonic()
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    def __call__(self) -> None:
        """Trim the heap if it is time."""
        now = time.monotonic()
        if self._trim is not None and now - self._last >= self._seconds:
            self._last = now
            self._trim(0)
