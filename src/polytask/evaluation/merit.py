"""Which of several models is better, where some of their metrics are undefined. Pure.

A mean over fewer tasks is no better for being higher: a correlation is undefined as long as
predictions are constant, as in the first epochs. So what is defined for more tasks comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TypeAlias

Merit: TypeAlias = list[float]
"""How good a model is: the greater list is better, and the empty one, of nothing defined, worst.

Numbers come in pairs, a pair for each place in the tasks' lists of metrics: how many tasks are
judged by the metric in that place, and the mean of these metrics. A task is judged by the first of
its metrics that is defined. Merits are comparable if tasks and metrics are the same.
"""


def merit(tasks: Iterable[Sequence[float | None]]) -> Merit:
    """Return the merit of a model.

    :param tasks: For each task its metrics in their order, higher is better, None if undefined.
    """
    levels = zip_longest(*map(_only_first, tasks))
    pairs = [[value for value in level if value is not None] for level in levels]
    if not any(pairs):
        return []
    return [number for values in pairs for number in (len(values), _mean(values))]


def first_mean(found: Merit) -> float | None:
    """Return the mean of the tasks' first metrics, as far as they are defined; None if none is."""
    return found[1] if found and found[0] else None


def _only_first(values: Sequence[float | None]) -> list[float | None]:
    """Keep the first value that is defined."""
    place = next((at for at, value in enumerate(values) if value is not None), None)
    return [value if at == place else None for at, value in enumerate(values)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
