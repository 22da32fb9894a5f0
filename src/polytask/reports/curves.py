"""The curves of a training, built from the records of ``metrics.jsonl``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Point = tuple[float, float]
_MOST = 120
"""Largest number of points of a curve; neighbours are averaged to stay below it."""


class Track:
    """A curve of bounded length. Each point is a mean over the same number of records.

    At twice the largest number of points, neighbours are merged. A training of a million steps so
    takes no more memory than one of a thousand.
    """

    def __init__(self) -> None:
        self._bins: list[list[float]] = []  # sum of epochs, sum of values, count
        self._width = 1

    def add(self, epoch: float, value: float | None) -> None:
        """Add one record; a value that was not finite was written as null and is left out."""
        if value is None:
            return
        if not self._bins or self._bins[-1][2] >= self._width:
            self._bins.append([0.0, 0.0, 0.0])
        last = self._bins[-1]
        last[0], last[1], last[2] = last[0] + epoch, last[1] + value, last[2] + 1
        if len(self._bins) >= 2 * _MOST:  # bins hold sums, so that merged bins weigh records alike
            pairs = zip(self._bins[::2], self._bins[1::2], strict=True)
            self._bins = [[a + b for a, b in zip(*pair, strict=True)] for pair in pairs]
            self._width *= 2

    def points(self, most: int = _MOST) -> list[Point]:
        """Return epochs and values; neighbours are averaged if there are more than ``most``."""
        group = max(1, -(-len(self._bins) // max(1, most)))
        parts = (self._bins[start : start + group] for start in range(0, len(self._bins), group))
        sums = (map(sum, zip(*part, strict=True)) for part in parts)
        return [(epochs / count, values / count) for epochs, values, count in sums]


@dataclass
class Curves:
    """The curves of a training over its epochs.

    :param losses: The loss of each task.
    :param parts: The named parts of each loss, by task.
    :param weights: The task weights set by the balancer.
    :param validation: Every validation score, by task and metric.
    :param pace: Tokens per second.
    :param rate: The learning rate.
    :param step: The number of steps so far; ``epoch``, ``share`` of the training, ``tokens`` and
        ``seconds`` belong to it.
    """

    losses: dict[str, Track] = field(default_factory=dict)
    parts: dict[str, dict[str, Track]] = field(default_factory=dict)
    weights: dict[str, Track] = field(default_factory=dict)
    validation: dict[str, dict[str, list[Point]]] = field(default_factory=dict)
    pace: Track = field(default_factory=Track)
    rate: Track = field(default_factory=Track)
    step: int = 0
    epoch: float = 0.0
    share: float = 0.0
    tokens: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]]) -> Curves:
        """Return the curves of all records."""
        curves = cls()
        for record in records:
            curves.add(record)
        return curves

    def add(self, record: Mapping[str, Any]) -> None:
        """Add one record of a step or a validation."""
        if "validation" in record:
            self._add_validation(record)
        elif "losses" in record:
            self._add_step(record)

    @property
    def tokens_per_second(self) -> float | None:
        """The last throughput, or None before the first step."""
        points = self.pace.points()
        return points[-1][1] if points else None

    def _add_step(self, record: Mapping[str, Any]) -> None:
        epoch = record["epoch"]
        for key, tracks in (("losses", self.losses), ("weights", self.weights)):
            for name, value in record.get(key, {}).items():
                tracks.setdefault(name, Track()).add(epoch, value)
        for task, parts in record.get("parts", {}).items():
            for name, value in parts.items():
                self.parts.setdefault(task, {}).setdefault(name, Track()).add(epoch, value)
        self.pace.add(epoch, record.get("tokens_per_second"))
        self.rate.add(epoch, record.get("learning_rate"))
        self.step, self.epoch = record["step"], epoch
        self.share = record.get("share", 0.0)
        self.tokens += record.get("tokens", 0)
        self.seconds += record.get("seconds", 0.0)

    def _add_validation(self, record: Mapping[str, Any]) -> None:
        for task, metrics in record["validation"].items():
            own = self.validation.setdefault(task, {})
            for metric, value in metrics.items():
                if value is not None:
                    own.setdefault(metric, []).append((record["epoch"], value))
