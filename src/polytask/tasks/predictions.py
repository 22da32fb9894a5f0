"""The output of a task for rows: predictions, and how sure it is of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

_DIGITS = 6
"""Digits of probabilities after the point."""


@dataclass
class Predictions:
    """The output of one task for N rows, in their order.

    :param labels: Predictions in the form of references.
    :param probabilities: Probabilities of the labels of each row, C or (W, C); empty if the task
        has none.
    :param confidences: Probability of each prediction, or of each of its parts; empty if the task
        has none. A part that was not predicted has None.
    """

    labels: list[Any] = field(default_factory=list)
    probabilities: list[Any] = field(default_factory=list)
    confidences: list[Any] = field(default_factory=list)

    def certainty(
        self, row: int, labels: Sequence[str], top_k: int | None = None
    ) -> dict[str, Any]:
        """Return ``confidence`` and ``probabilities`` of a row, as far as the task has them.

        :param labels: The label set of the task.
        :param top_k: Keep this many labels at most, the most probable first; None for all labels in
            their order.
        """
        found: dict[str, Any] = {}
        if self.confidences:
            found["confidence"] = _round(self.confidences[row])
        if top_k != 0 and (probabilities := self._by_label(row, labels, top_k)):
            found["probabilities"] = probabilities
        return found

    def _by_label(self, row: int, labels: Sequence[str], top_k: int | None) -> dict[str, float]:
        """Return the probabilities of the labels of a row; empty unless it has one for each."""
        if not self.probabilities or self.probabilities[row].ndim != 1:
            return {}
        chances_C = self.probabilities[row]
        order = range(len(labels))
        if top_k is not None:
            order = np.argsort(-chances_C, kind="stable")[:top_k].tolist()
        return {labels[place]: round(float(chances_C[place]), _DIGITS) for place in order}

    def extend(self, other: Predictions) -> None:
        """Append the output for further rows."""
        self.labels.extend(other.labels)
        self.probabilities.extend(other.probabilities)
        self.confidences.extend(other.confidences)

    def reorder(self, order: Sequence[int]) -> Predictions:
        """Return rows that were predicted in some order in the order of their numbers."""
        back = np.argsort(np.array(order), kind="stable").tolist()
        columns = self.labels, self.probabilities, self.confidences
        return Predictions(*([own[at] for at in back] if own else [] for own in columns))


def _round(confidence: Any) -> Any:
    if isinstance(confidence, list):
        return [_round(part) for part in confidence]
    return None if confidence is None else round(float(confidence), _DIGITS)
