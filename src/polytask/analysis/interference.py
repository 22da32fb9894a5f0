"""Which tasks pull in other directions, where and when: records of looks, put together.

A negative cosine is a conflict: Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS
2020, definition 1. https://arxiv.org/abs/2001.06782
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from polytask.analysis.uncertainty import mean_and_error

Record = Mapping[str, Any]
_MOST_POINTS = 200
"""Points of a curve over time; a page does not show more."""


def aggregate(records: Sequence[Record], tasks: Sequence[str], when: str) -> dict[str, Any]:
    """Return the record of ``interference.json``.

    :param records: The records of an observer, one for each observed step.
    :param when: ``training`` if the looks are spread over it, ``after`` if the model was trained.
    :return: ``layers``: for each layer a list of pairs of tasks, with the mean ``cosine``, its
        standard ``error``, the share of looks in ``conflict`` and the number of ``looks``; then
        ``over_time``: the cosines of each pair over all shared parameters.
    """
    thinned = records[:: max(1, math.ceil(len(records) / _MOST_POINTS))]
    layers = dict.fromkeys(layer for record in records for layer in record["layers"])
    return {
        "format": 1,
        "when": when,
        "tasks": list(tasks),
        "looks": len(records),
        "layers": {
            layer: [_pair(records, layer, pair) for pair in combinations(tasks, 2)]
            for layer in layers
        },
        "over_time": {
            "steps": [record["step"] for record in thinned],
            "pairs": [
                {
                    "tasks": list(pair),
                    "cosine": [cosine(record, "all", *pair) for record in thinned],
                }
                for pair in combinations(tasks, 2)
            ],
        },
    }


def cosine(record: Record, layer: str, first: str, second: str) -> float | None:
    """Return the cosine of two tasks in a look; None if one is absent or does not reach the layer."""
    places = {task: place for place, task in enumerate(record["tasks"])}
    if layer not in record["layers"] or not {first, second} <= places.keys():
        return None
    found: float | None = record["layers"][layer]["cosine"][places[first]][places[second]]
    return found


def _pair(records: Iterable[Record], layer: str, pair: tuple[str, str]) -> dict[str, Any]:
    values = [value for record in records if (value := cosine(record, layer, *pair)) is not None]
    mean, error = mean_and_error(values)
    conflict = sum(value < 0 for value in values) / len(values) if values else None
    entry = {"tasks": list(pair), "cosine": mean, "error": error}
    return {**entry, "conflict": conflict, "looks": len(values)}
