"""Results of the significance tests. Reads ``statistics`` in ``comparison.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from polytask.reports.summary import Record

BETTER, WORSE = "↑", "↓"
"""Marks of scores that are significantly better or worse than single-task models."""


class Moved(NamedTuple):
    """The tasks that are worse, or better, than with single-task models.

    :param found: Tasks with a significant difference, after Holm's correction.
    :param seen: Tasks whose mean is worse, or better, significant or not.
    :param of: The number of tested tasks.
    """

    found: Sequence[str]
    seen: Sequence[str]
    of: int


def get_statistics(record: Record) -> Mapping[str, Any]:
    """Return all test results; empty if nothing was tested."""
    return record.get("statistics") or {}


def get_difference(record: Record, strategy: str, task: str) -> Mapping[str, Any] | None:
    """Return the test of the difference in one task, or None if it was not tested."""
    found = get_statistics(record).get("differences", {}).get(strategy, {}).get(task)
    return None if found is None else dict(found)


def get_gain(record: Record, strategy: str) -> Mapping[str, Any] | None:
    """Return the test of Δm, or None if it was not tested."""
    found = get_statistics(record).get("gains", {}).get(strategy)
    return None if found is None else dict(found)


def get_mean_rank(record: Record, strategy: str) -> float | None:
    """Return the mean rank over tasks; 1 is the best."""
    rank = get_statistics(record).get("ranks", {}).get(strategy)
    return None if rank is None else float(rank)


def get_moved_tasks(record: Record, strategy: str, way: str) -> Moved | None:
    """Return the tasks that are ``hurt`` or ``helped``."""
    found = get_statistics(record).get(way, {}).get(strategy)
    if found is None:
        return None
    return Moved(found["found"], found["seen"], len(record["statistics"]["differences"][strategy]))


def get_detectable(record: Record, task: str) -> float | None:
    """Return the largest detectable difference of a task among the strategies that share."""
    found = get_statistics(record).get("differences", {})
    # only baselines such as linear may have been tested; then all of them count
    sharing = [name for name in record["sharing"] if name in found] or list(found)
    entries = (found[name].get(task) for name in sharing)
    # None stands for an infinite difference, which JSON cannot hold
    known = [each["detectable"] for each in entries if each and each["detectable"] is not None]
    return max(known, default=None)


def mark(record: Record, strategy: str, task: str) -> str:
    """Return ``BETTER`` or ``WORSE`` if the difference is significant, else an empty text."""
    for way, sign in (("helped", BETTER), ("hurt", WORSE)):
        found = get_moved_tasks(record, strategy, way)
        if found is not None and task in found.found:
            return sign
    return ""
