"""Fewer cases in ``make test``; all of them in ``make test-all``.

A case that carries the mark ``full`` runs with the option ``--full`` alone. ``every`` and ``pairs`` mark
cases evenly, so that a new part is covered without an edit, and so is every value of every axis.

The mark ``covering`` thins the products of a whole module. The test function is one axis, its
parameters are the others, and any two values of two axes meet in some case that runs. So every
property is tested with every architecture and with every encoder, and every architecture meets
every encoder in some property.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, groupby
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


def left_out(items: Sequence[pytest.Item]) -> set[pytest.Item]:
    """Return the tests that run with ``--full`` alone."""
    full = {item for item in items if item.get_closest_marker("full")}
    products = [
        item
        for item in items
        if item.get_closest_marker("covering") and item not in full and hasattr(item, "callspec")
    ]
    for _, group in groupby(products, key=lambda item: item.path):
        own = [*group]
        kept = covering([_axes(item) for item in own])
        full |= {item for place, item in enumerate(own) if place not in kept}
    return full


def _axes(item: Any) -> dict[str, str]:
    parameters = {name: repr(value) for name, value in item.callspec.params.items()}
    return {"function": item.originalname, **parameters}


def covering(cases: Sequence[Mapping[str, str]]) -> set[int]:
    """Return the places of a few cases in which any two values meet that meet in any case.

    It is greedy: the next one is the first of those with the most new pairs. How many pairs were
    new when a case was last looked at is an upper bound, which saves most looks.

    :param cases: A value for each axis of each case.
    """
    pairs_of = [set(combinations(sorted(case.items()), 2)) for case in cases]
    queue = [(-len(own), place) for place, own in enumerate(pairs_of)]
    heapq.heapify(queue)
    seen: set[tuple[tuple[str, str], ...]] = set()
    chosen: set[int] = set()
    while queue:
        bound, place = heapq.heappop(queue)
        new = pairs_of[place] - seen
        if len(new) == -bound:
            seen |= new
            chosen.add(place)
        elif new:
            heapq.heappush(queue, (-len(new), place))
    return chosen
