"""The answers of a strategy row by row, on disk: the input of significance tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from polytask.core.files import read_json, write_text
from polytask.evaluation.score import Outcome

_DIGITS = 7
"""Of a probability: as many as single precision has."""


def write_outcomes(path: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Write ``{task: {"references", "predictions", "probabilities", "rows", "groups"}}``, compact.

    Rows are the labelled ones of the held-out split, in the same order in all strategies.
    Probabilities are in the order of the labels of a task, C per row; null if it has none,
    and for tags, as they take up much and no score needs them. ``rows`` has the source and the
    position of each, or is null where a strategy did not say. ``groups`` has the number of the
    group of each by every column that metrics form groups by.
    """
    plain = {
        task: {
            "references": _plain(outcome.references),
            "predictions": _plain(outcome.predictions),
            "probabilities": _round(outcome.probabilities) if len(outcome.probabilities) else None,
            "rows": _plain(outcome.rows) if len(outcome.rows) else None,
            "groups": {column: _plain(own) for column, own in outcome.groups.items()},
        }
        for task, outcome in outcomes.items()
    }
    write_text(path, json.dumps(plain, ensure_ascii=False, separators=(",", ":")) + "\n")


def read_outcomes(path: Path) -> dict[str, Outcome]:
    """Read what ``write_outcomes`` has written."""
    return {
        task: Outcome(
            kept["references"],
            kept["predictions"],
            [np.asarray(row_C, dtype=np.float64) for row_C in kept["probabilities"] or ()],
            [tuple(row) for row in kept.get("rows") or ()],
            kept.get("groups", {}),
        )
        for task, kept in read_json(path).items()
    }


def _plain(values: Any) -> Any:
    """Convert NumPy numbers and arrays to JSON values."""
    if isinstance(values, np.ndarray | np.generic):
        return values.tolist()
    return [_plain(value) for value in values] if isinstance(values, list | tuple) else values


def _round(probabilities: Any) -> Any:
    if np.ndim(probabilities[0]) > 1:
        return None
    return [np.asarray(row_C, dtype=np.float64).round(_DIGITS).tolist() for row_C in probabilities]
