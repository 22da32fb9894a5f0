"""Fewer cases in ``make test``; all of them in ``make test-all``.

A case that carries the mark ``full`` runs with the option ``--full`` alone. ``every`` and ``pairs`` mark
cases evenly, so that a new part is covered without an edit, and so is every value of every axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

FULL = pytest.mark.full


def every(number: int, cases: Iterable[Any]) -> list[Any]:
    """Return all cases, of which only each ``number``-th runs without ``--full``."""
    return [case if at % number == 0 else _full(case) for at, case in enumerate(cases)]


def only(chosen: Iterable[Any], cases: Iterable[Any]) -> list[Any]:
    """Return all cases, of which only the chosen ones run without ``--full``."""
    kept = [*chosen]
    return [case if case in kept else _full(case) for case in cases]


def pairs(one: Sequence[Any], other: Sequence[Any]) -> list[Any]:
    """Return the product of two axes, of which each value runs once or more without ``--full``.

    :return: Parameters of two arguments each.
    """
    longest = max(len(one), len(other))
    chosen = {(at % len(one), at % len(other)) for at in range(longest)}
    return [
        pytest.param(a, b, marks=() if (i, j) in chosen else FULL)
        for i, a in enumerate(one)
        for j, b in enumerate(other)
    ]


def _full(case: Any) -> Any:
    """Return a case, a tuple for several arguments, with the mark."""
    return pytest.param(*case if isinstance(case, tuple) else (case,), marks=FULL)
