"""A bounded queue of requests, and one thread that computes their rows in batches.

Requests of different tasks are computed together. A request is admitted as a whole or not at all, so
that no client waits for rows that were refused. Rows of a large request are computed over several
groups: a small request behind it waits for one group, not for all of them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_RATE_DECAY = 0.8
"""Weight of the past in the running mean of the drain rate, per group."""


class QueueFullError(Exception):
    """The queue has no room for a request.

    :param retry_after: Seconds after which there will probably be room.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the queue is full, retry after {retry_after:.1f} s")
        self.retry_after = retry_after


class ClosedError(Exception):
    """The queue takes no more requests: the server is shutting down."""


class DeadlineError(Exception):
    """The deadline of a request passed before all of its rows were computed."""


@dataclass(eq=False)
class Job(Generic[Item, Result]):
    """The rows of one request.

    :param items: What is computed; a result is given for each.
    :param tokens: Number of tokens of each item.
    :param deadline: Time of the monotonic clock after which nobody waits for the result.
    """

    items: Sequence[Item]
    tokens: Sequence[int]
    deadline: float = float("inf")
    future: Future[list[Result]] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)
    started: float | None = None
    taken: int = 0
    results: list[Result] = field(default_factory=list)

    @property
    def left(self) -> int:
        """The number of tokens that are not taken yet."""
        return sum(self.tokens[self.taken :])

    def is_wanted(self, now: float) -> bool:
        """Return whether somebody still waits; fail the future if the deadline has passed."""
        if now > self.deadline and not self.future.done():
            self.future.set_exception(DeadlineError())
        return not self.future.done()


class Share(NamedTuple, Generic[Item, Result]):
    """Some items of a job, which are computed with those of other jobs.

    :param first: Position of the first item.
    :param last: Position after the last item.
    """

    job: Job[Item, Result]
    first: int
    last: int

    @property
    def items(self) -> Sequence[Item]:
        """The items."""
        return self.job.items[self.first : self.last]

    @property
    def tokens(self) -> int:
        """The number of tokens of the items."""
        return sum(self.job.tokens[self.first : self.last])


@dataclass(frozen=True)
class Limits:
    """How much is queued and computed at a time.

    :param requests: Most requests in the queue.
    :param tokens: Most tokens in the queue.
    :param group_tokens: Tokens of a group of rows that are computed together. A larger group needs
        less padding and keeps later requests waiting longer.
    :param window: Seconds that a group waits for more requests, unless it is full.
    """

    requests: int = 256
    tokens: int = 262_144
    group_tokens: int = 8_192
    window: float = 0.002


class Batcher(Generic[Item, Result]):
    """The queue and its thread.

    :param compute: Returns a result for each item of a group. Only the thread calls it.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Item]], Sequence[Result]],
        limits: Limits = Limits(),
    ) -> None:
        self._compute = compute
        self.limits = limits
        self._jobs: deque[Job[Item, Result]] = deque()
        self._changed = threading.Condition()
        self._tokens = 0
        self._rate = 0.0
        self._closed = False
        self._group_started: float | None = None
        self._thread = threading.Thread(target=self._run, name="polytask-batcher", daemon=True)
        self._thread.start()

    @property
    def queued_tokens(self) -> int:
        """The number of tokens that wait."""
        return self._tokens

    @property
    def queued_requests(self) -> int:
        """The number of requests that wait, or of which some rows do."""
        return len(self._jobs)

    @property
    def busy_seconds(self) -> float:
        """Seconds that the group under way has taken; 0 without one."""
        started = self._group_started
        return 0.0 if started is None else time.monotonic() - started

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, job: Job[Item, Result]) -> Future[list[Result]]:
        """Queue a request.

        :return: The results in the order of the items. Cancel it if nobody waits any more: rows that
            are not under way are then not computed.
        :raises QueueFullError: If there is no room for all of its rows. An empty queue takes a request
            of any size.
        :raises ClosedError: If the queue is closed.
        """
        with self._changed:
            if self._closed:
                raise ClosedError
            tokens = sum(job.tokens)
            full = self._tokens + tokens > self.limits.tokens
            if self._jobs and (full or len(self._jobs) >= self.limits.requests):
                raise QueueFullError(self._retry_after())
            self._jobs.append(job)
            self._tokens += tokens
            self._changed.notify_all()
        return job.future

    def close(self, timeout: float | None = None) -> bool:
        """Take no more requests, and wait until the queued ones are computed.

        :return: Whether all were computed in time.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _retry_after(self) -> float:
        return self._tokens / self._rate if self._rate else 1.0

    def _run(self) -> None:
        while (group := self._next_group()) is not None:
            if group:
                self._compute_group(group)

    def _next_group(self) -> list[Share[Item, Result]] | None:
        """Wait for a group; None at the end."""
        with self._changed:
            while not self._jobs:
                if self._closed:
                    return None
                self._changed.wait()
            end = time.monotonic() + self.limits.window
            while self._tokens < self.limits.group_tokens and not self._closed:
                remaining = end - time.monotonic()
                if remaining <= 0:
                    break
                self._changed.wait(remaining)
            return self._take(time.monotonic())

    def _take(self, now: float) -> list[Share[Item, Result]]:
        """Take items of the oldest jobs up to the tokens of a group, one item at least."""
        group: list[Share[Item, Result]] = []
        room = self.limits.group_tokens
        while self._jobs and (room > 0 or not group):
            job = self._jobs[0]
            if not job.is_wanted(now):
                self._tokens -= job.left
                self._jobs.popleft()
                continue
            first = job.taken
            while job.taken < len(job.items) and (room > 0 or (not group and job.taken == first)):
                room -= job.tokens[job.taken]
                job.taken += 1
            group.append(Share(job, first, job.taken))
            self._tokens -= group[-1].tokens
            job.started = job.started or now
            if job.taken == len(job.items):
                self._jobs.popleft()
        return group

    def _compute_group(self, group: Sequence[Share[Item, Result]]) -> None:
        """Compute the items of a group; if that fails, each job by itself, so that one fails alone."""
        self._group_started = started = time.monotonic()
        try:
            self._answer(group)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must live on
            if len(group) > 1:
                for share in group:
                    self._compute_group([share])
            elif not group[0].job.future.done():
                group[0].job.future.set_exception(error)
            return
        finally:
            self._group_started = None
        tokens = sum(share.tokens for share in group)
        rate = tokens / max(time.monotonic() - started, 1e-6)
        self._rate = rate if not self._rate else _RATE_DECAY * self._rate + (1 - _RATE_DECAY) * rate

    def _answer(self, group: Sequence[Share[Item, Result]]) -> None:
        results = iter(self._compute([item for share in group for item in share.items]))
        for job, first, last in group:
            job.results.extend(islice(results, last - first))
            if len(job.results) == len(job.items) and not job.future.done():
                job.future.set_result(job.results)
