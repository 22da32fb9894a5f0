"""In which steps of a training to look at something that takes time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from polytask.core.distributed import gather_objects

BUDGET = 0.05
"""What looks may cost, over what the steps between them do."""


class Pace(Protocol):
    """Says when to look, and is told when that is done."""

    def due(self, step: int) -> bool:
        """Whether to look in this step; called before every step."""

    def looked(self, step: int) -> None:
        """A look that was due is over."""


class Regular:
    """Every so many steps."""

    def __init__(self, every: int) -> None:
        self._every = every

    def due(self, step: int) -> bool:
        """Whether to look in this step."""
        return step % self._every == 0

    def looked(self, step: int) -> None:
        """Nothing follows from it."""


class Affordable:
    """As often as ``BUDGET`` pays for, by the time that the last look took; the same on all ranks.

    :param first: Steps before the first look, whose cost is not known.
    :param clock: Seconds.
    """

    def __init__(self, first: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._wait, self._clock = first, clock
        self._start: tuple[int, float] | None = None
        self._begun = 0.0

    def due(self, step: int) -> bool:
        """Whether to look in this step: whether the steps since the last look pay for one."""
        self._begun = self._clock()
        self._start = self._start or (step, self._begun)
        return step - self._start[0] >= self._wait

    def looked(self, step: int) -> None:
        """Wait until the steps to come have taken long enough."""
        assert self._start is not None
        then, since = self._start
        now = self._clock()
        of_a_step = (self._begun - since) / (step - then)
        [self._wait, *_] = gather_objects(math.ceil((now - self._begun) / (BUDGET * of_a_step)))
        self._start = step, now


def first_look(tasks_of_rows: Collection[Sequence[str]]) -> int:
    """Steps before a first look at gradients, so that it probably costs 5 % of them at most.

    A look costs a forward pass and, for every row, a backward pass for each task that reads it; a
    backward pass costs two forward passes, and a step three. It takes rows that other tasks read
    one after the other, and small batches are slower than a large one: with sixteen sets of tasks a
    look was seen to cost eight steps.

    :param tasks_of_rows: The sets of tasks that read a row.
    """
    most = max(len(tasks) for tasks in tasks_of_rows)
    return math.ceil((1 + 2 * most) / 3 * (1 + len(tasks_of_rows) / 2) / BUDGET)
