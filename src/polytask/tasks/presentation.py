"""How labels and predictions are presented to people, beside the labels themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from polytask.core.batch import Fields, Row

Floats = npt.NDArray[np.float64]


class Presentation:
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

    def shown(self, lesson: Any, row: Row) -> list[str]:
        """Return every part of a lesson in words that the author of the row knows."""
        return [repr(part) for part in (lesson if isinstance(lesson, list) else [lesson])]
