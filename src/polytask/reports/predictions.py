"""The predictions of a model on held-out rows, from ``predictions/``."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LEAST = 1e-6  # probabilities are written with six decimals


@dataclass(frozen=True)
class PredictedRow:
    """A labelled row with its prediction.

    :param place: The file and line of the row.
    :param fields: The inputs, as in JSON.
    :param reference: The label, as in JSON.
    :param probabilities: Label to probability; empty if the task has none.
    :param stated: The probability of the prediction, or None.
    """

    place: str
    fields: Sequence[Any]
    reference: Any
    prediction: Any
    probabilities: dict[str, float]
    stated: float | None = None

    @property
    def text(self) -> str:
        """The joined inputs."""
        return "  ‖  ".join(map(_text, self.fields))

    @property
    def numeric(self) -> bool:
        """True if the label is a number: its error is a distance, not right or wrong."""
        return isinstance(self.reference, int | float) and not isinstance(self.reference, bool)

    @property
    def wrong(self) -> bool:
        """True if the prediction differs from the label."""
        return bool(self.reference != self.prediction)

    @property
    def confidence(self) -> float | None:
        """The probability of the prediction."""
        return self.probabilities.get(str(self.prediction), self.stated)

    @property
    def badness(self) -> float:
        """The size of the mistake: the log loss of the label if probabilities are known, else the
        distance of numbers, else the number of wrong tags.
        """
        likely = self.probabilities.get(str(self.reference))
        if likely is not None:
            return -math.log(max(_LEAST, likely))
        return _distance(self.reference, self.prediction)


def read_answers(path: Path) -> list[PredictedRow]:
    """Return the labelled rows of a file of predictions; empty if the file does not exist."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        records = (json.loads(line) for line in file if line.strip())
        return [_answer(record) for record in records if record.get("reference") is not None]


def worst(answers: Sequence[PredictedRow], most: int) -> list[PredictedRow]:
    """Return the worst mistakes, worst first; ties keep the order of the file."""
    wrong = [answer for answer in answers if answer.wrong]
    return sorted(wrong, key=lambda answer: -answer.badness)[:most]


def confusion(
    answers: Sequence[PredictedRow], most: int
) -> tuple[list[str], Counter[tuple[str, str]]]:
    """Return the confusion matrix of rows whose label is one text.

    :param most: The largest number of labels; the most frequent ones are kept.
    :return: The sorted labels, and counts by label and prediction.
    """
    pairs = [
        (answer.reference, answer.prediction)
        for answer in answers
        if isinstance(answer.reference, str) and isinstance(answer.prediction, str)
    ]
    seen = Counter(label for pair in pairs for label in pair)
    kept = {label for label, _ in seen.most_common(most)}
    counts = Counter(pair for pair in pairs if kept.issuperset(pair))
    return sorted(kept), counts


def _answer(record: dict[str, Any]) -> PredictedRow:
    confidence = record.get("confidence")
    return PredictedRow(
        place=str(record.get("place", "")),
        fields=record.get("input", ()),
        reference=record["reference"],
        prediction=record.get("prediction"),
        probabilities=record.get("probabilities", {}),
        stated=confidence if isinstance(confidence, float) else None,
    )


def _text(field: Any) -> str:
    if isinstance(field, list):
        return " ".join(map(_text, field))
    return field if isinstance(field, str) else json.dumps(field, ensure_ascii=False)


def _distance(reference: Any, prediction: Any) -> float:
    if isinstance(reference, int | float) and isinstance(prediction, int | float):
        return abs(float(reference) - float(prediction))
    if isinstance(reference, list) and isinstance(prediction, list):
        pairs = zip(reference, prediction, strict=False)
        missing = abs(len(reference) - len(prediction))
        return float(sum(a != b for a, b in pairs) + missing)
    return float(reference != prediction)
