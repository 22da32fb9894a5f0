"""Schedules of the steps in which an observation that takes time is made."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from polytask.core.distributed import gather_objects

BUDGET = 0.05
"""The time of observations, as a share of the time of the steps between them."""


class ObservationSchedule(Protocol):
    """The interface of a schedule of observations."""

    def is_due(self, step: int) -> bool:
        """Return whether to observe this step; called before every step."""

    def record_end(self, step: int) -> None:
        """Note that the observation of a step is over."""


class Regular:
    """A schedule of every ``every``-th step."""

    def __init__(self, every: int) -> None:
        self._every = every

    def is_due(self, step: int) -> bool:
        """Return whether to observe this step."""
        return step % self._every == 0

    def record_end(self, step: int) -> None:
        """Do nothing: the schedule is fixed."""


class Affordable:
    """A schedule of as many observations as ``BUDGET`` allows, equal on all ranks.

    The time of the last observation decides how many steps come before the next.

    :param first: Number of steps before the first observation, whose cost is not known.
    :param clock: Returns the time in seconds.
    """

    def __init__(self, first: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._wait, self._clock = first, clock
        self._start: tuple[int, float] | None = None
        self._begun = 0.0

    def is_due(self, step: int) -> bool:
        """Return whether enough steps have passed since the last observation."""
        self._begun = self._clock()
        self._start = self._start or (step, self._begun)
        return step - self._start[0] >= self._wait

    def record_end(self, step: int) -> None:
        """Compute how many steps must pass before the next observation."""
        assert self._start is not None
        then, since = self._start
        now = self._clock()
        of_a_step = (self._begun - since) / (step - then)
        # Clocks differ: all ranks take the first rank's number, or some would observe alone and hang.
        [self._wait, *_] = gather_objects(math.ceil((now - self._begun) / (BUDGET * of_a_step)))
        self._start = step, now


def estimate_first_observation(tasks_of_rows: Collection[Sequence[str]]) -> int:
    """Return the number of steps before the first observation of gradients.

    The observation should cost at most 5 % of these steps. It takes a forward pass and, for every
    row, a backward pass for each task that reads the row. A backward pass costs two forward passes,
    and a step three. Rows read by different tasks are passed in separate, smaller and slower
    batches: with sixteen sets of tasks an observation was measured to cost eight steps.

    :param tasks_of_rows: The sets of tasks that read a row.
    """
    most = max(len(tasks) for tasks in tasks_of_rows)
    return math.ceil((1 + 2 * most) / 3 * (1 + len(tasks_of_rows) / 2) / BUDGET)
