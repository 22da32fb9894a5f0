"""Prometheus metrics of a server: counts, latencies by stage, queue, batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from torch import nn

from polytask.data.prepared_rows import LENGTH
from polytask.modeling import MultiTaskModel

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The metrics of one server, in a registry of its own, so that several servers fit in a process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "polytask_requests", "Requests", ["path", "status"], registry=registry
        )
        self.errors = Counter(
            "polytask_errors", "Requests refused or failed", ["reason"], registry=registry
        )
        self.seconds = Histogram(
            "polytask_stage_seconds",
            "Seconds by stage: queue, prepare, encode, and each head",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_rows = Histogram(
            "polytask_batch_rows", "Rows of a batch", buckets=_ROWS, registry=registry
        )
        self.tokens = Counter("polytask_tokens", "Tokens encoded", ["kind"], registry=registry)
        self._queue_tokens = Gauge("polytask_queue_tokens", "Tokens waiting", registry=registry)
        self._queue_requests = Gauge(
            "polytask_queue_requests", "Requests waiting", registry=registry
        )
        self.encoded = 0
        """Rows that went through an encoder."""

    def watch_queue(self, tokens: Callable[[], int], requests: Callable[[], int]) -> None:
        """Report the queue whenever metrics are asked for."""
        self._queue_tokens.set_function(tokens)
        self._queue_requests.set_function(requests)

    def page(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self.registry)

    @contextmanager
    def measure_pass(self, model: MultiTaskModel, rows: Sequence[Any]) -> Iterator[None]:
        """Measure a forward pass: the encoder, and each head by a hook on it.

        :param rows: The items of the batch.
        """
        lengths = [max(1, int(item.row[LENGTH])) for item in rows]
        self.batch_rows.observe(len(rows))
        self.encoded += len(rows)
        self.tokens.labels("real").inc(sum(lengths))
        self.tokens.labels("padding").inc(len(lengths) * max(lengths) - sum(lengths))
        clock = _HeadClock(model.heads)
        started = time.monotonic()
        try:
            yield
        finally:
            total = time.monotonic() - started
            clock.remove()
        for head, seconds in clock.seconds.items():
            self.seconds.labels(f"head {head}").observe(seconds)
        self.seconds.labels("encode").observe(max(0.0, total - sum(clock.seconds.values())))


class _HeadClock:
    """Seconds that each head takes in a forward pass."""

    def __init__(self, heads: nn.ModuleDict) -> None:
        self.seconds: dict[str, float] = {}
        self._started: dict[str, float] = {}
        self._hooks = [
            hook
            for name, head in heads.items()
            for hook in (
                head.register_forward_pre_hook(self._start(name)),
                head.register_forward_hook(self._stop(name)),
            )
        ]

    def remove(self) -> None:
        """Take the hooks off again."""
        for hook in self._hooks:
            hook.remove()

    def _start(self, name: str) -> Callable[..., None]:
        def start(*_: Any) -> None:
            # A kernel on a GPU runs after the call that started it has returned.
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self._started[name] = time.monotonic()

        return start

    def _stop(self, name: str) -> Callable[..., None]:
        def stop(*_: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            took = time.monotonic() - self._started[name]
            self.seconds[name] = self.seconds.get(name, 0.0) + took

        return stop
