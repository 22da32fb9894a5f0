"""The queue of the server: all or nothing, bounded, fair, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError

import pytest
from hypothesis import given, settings, strategies as st

from polytask.serving.batching import (
    Batcher,
    ClosedError,
    DeadlineError,
    Job,
    Limits,
    QueueFullError,
)


def job(*items: int, deadline: float = float("inf")) -> Job[int, int]:
    return Job(items, [abs(item) for item in items], deadline)


class Slow:
    """Doubles numbers, once it is let."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.groups: list[list[int]] = []

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.groups.append([*items])
        assert self.go.wait(10)
        return [2 * item for item in items]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=8), min_size=1, max_size=12))
def test_every_request_gets_its_answers_in_order(requests: list[list[int]]) -> None:
    batcher = Batcher[int, int](lambda items: [2 * item for item in items], Limits(group_tokens=60))
    futures = [batcher.submit(job(*items)) for items in requests]
    for items, future in zip(requests, futures, strict=True):
        assert future.result(10) == [2 * item for item in items]
    assert batcher.close(10)
    assert batcher.queued_tokens == 0


def test_a_request_is_admitted_as_a_whole_or_not_at_all() -> None:
    slow = Slow()
    batcher = Batcher(slow, Limits(requests=2, tokens=100, group_tokens=10, window=0))
    under_way = batcher.submit(job(10))
    while not slow.groups:
        time.sleep(0.001)
    first = batcher.submit(job(60, 30))
    with pytest.raises(QueueFullError) as full:
        batcher.submit(job(5, 6))
    assert full.value.retry_after > 0
    second = batcher.submit(job(10))
    with pytest.raises(QueueFullError):
        batcher.submit(job(0))  # two requests wait
    slow.go.set()
    assert [under_way.result(10), first.result(10), second.result(10)] == [[20], [120, 60], [20]]
    batcher.close(10)


def test_a_small_request_waits_for_one_group_of_a_large_one() -> None:
    slow = Slow()
    batcher = Batcher(slow, Limits(group_tokens=10, window=0))
    large = batcher.submit(job(*[5] * 6))
    small = batcher.submit(job(1))
    slow.go.set()
    assert large.result(10) == [10] * 6
    assert small.result(10) == [2]
    assert max(map(len, slow.groups)) <= 3
    batcher.close(10)


def test_rows_that_nobody_waits_for_are_not_computed() -> None:
    slow = Slow()
    batcher = Batcher(slow, Limits(group_tokens=1, window=0))
    batcher.submit(job(1))
    while not slow.groups:
        time.sleep(0.001)
    gone, late = batcher.submit(job(7)), batcher.submit(job(8, deadline=time.monotonic() - 1))
    gone.cancel()
    slow.go.set()
    with pytest.raises(DeadlineError):
        late.result(10)
    with pytest.raises(CancelledError):
        gone.result(10)
    batcher.close(10)
    assert slow.groups == [[1]]
    assert batcher.queued_tokens == 0


def test_a_request_that_cannot_be_computed_fails_alone() -> None:
    go = threading.Event()

    def compute(items: Sequence[int]) -> list[int]:
        go.wait(10)
        if 13 in items:
            raise ZeroDivisionError
        return [2 * item for item in items]

    batcher = Batcher(compute, Limits(window=0.05))
    futures = [batcher.submit(job(item)) for item in (1, 13, 2)]
    go.set()
    assert futures[0].result(10) == [2]
    assert futures[2].result(10) == [4]
    with pytest.raises(ZeroDivisionError):
        futures[1].result(10)
    assert batcher.is_alive
    batcher.close(10)


def test_a_closed_queue_answers_what_it_has_and_takes_nothing_more() -> None:
    slow = Slow()
    batcher = Batcher(slow, Limits(window=0))
    futures = [batcher.submit(job(item)) for item in range(1, 5)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while True:
        try:
            futures.append(batcher.submit(job(9)))
        except ClosedError:
            break
    slow.go.set()
    closing.join(10)
    assert all(future.result(10) for future in futures)


def test_a_stuck_group_is_seen() -> None:
    slow = Slow()
    batcher = Batcher(slow, Limits(window=0))
    assert batcher.busy_seconds == 0
    batcher.submit(job(1))
    while not batcher.busy_seconds:
        time.sleep(0.001)
    slow.go.set()
    batcher.close(10)
    assert batcher.busy_seconds == 0
