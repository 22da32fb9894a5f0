"""How labels and predictions are presented to people, beside the labels themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from polytask.core.batch import Fields, Row

Floats = npt.NDArray[np.float64]

_LISTED = 5
"""How many labels a message lists."""


class Presentation(ABC):
    """Part of the interface of a task: confidences, and labels in messages."""

    label_name: ClassVar[str] = "label"
    """What messages call that which ``shown`` returns."""

    def confidences(
        self, scores: Any, predictions: Sequence[Any], probabilities: Sequence[Floats] | None
    ) -> list[Any] | None:
        """Return the probabilities of b predictions: a number, or one for each part; None without.

        :param predictions: The result of ``decode``.
        :param probabilities: The result of ``probabilities``.
        """
        return None

    def answer_confidence(self, confidence: Any, prediction: Any, fields: Fields) -> Any:
        """Return the confidence of what ``answer`` makes of a prediction, part by part.

        Called for tasks that set ``rewrites``. A part that was not predicted has None.
        """
        return confidence

    def shown(self, label: Any, row: Row) -> list[str]:
        """Return every part of a label in words that the author of the row knows."""
        return [repr(part) for part in (label if isinstance(label, list) else [label])]

    @property
    @abstractmethod
    def head_shape(self) -> dict[str, Any]:
        """What tasks must agree on to share one head."""

    def head_differences(self, other: Mapping[str, Any]) -> str:
        """Return how the head differs from one of another shape, in words."""
        one = self.head_shape
        keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
        pairs = ((key, _listed(one.get(key)), _listed(other.get(key))) for key in keys)
        return "; ".join(f"{key} {own} here, {others} there" for key, own, others in pairs)


def _listed(value: Any) -> str:
    if not isinstance(value, list):
        return "none" if value is None else str(value)
    names = [str(one) for one in value[:_LISTED]]
    return ", ".join([*names, *["..."][: len(value) - len(names)]]) or "none"
