"""The predictions of a model on held-out rows, from ``predictions/``."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LEAST = 1e-6  # probabilities are written with six decimals


@dataclass(frozen=True)
class PredictedRow:
    """One labelled row.

    :param place: Where the row comes from.
    :param fields: Its inputs, as JSON has them.
    :param reference: The label, as JSON has it.
    :param probabilities: By label, empty where the task has none.
    :param stated: The probability of the prediction, None where it has none or several.
    """

    place: str
    fields: Sequence[Any]
    reference: Any
    prediction: Any
    probabilities: dict[str, float]
    stated: float | None = None

    @property
    def text(self) -> str:
        """Its inputs, joined."""
        return "  ‖  ".join(map(_text, self.fields))

    @property
    def numeric(self) -> bool:
        """True if the label is a number; numbers have errors, not right and wrong."""
        return isinstance(self.reference, int | float) and not isinstance(self.reference, bool)

    @property
    def wrong(self) -> bool:
        """Whether the prediction differs from the label."""
        return bool(self.reference != self.prediction)

    @property
    def confidence(self) -> float | None:
        """The probability of what was predicted."""
        return self.probabilities.get(str(self.prediction), self.stated)

    @property
    def badness(self) -> float:
        """How bad the mistake is: the loss of the label where there are probabilities, else the
        distance of numbers, else the share of tags that are wrong.
        """
        likely = self.probabilities.get(str(self.reference))
        if likely is not None:
            return -math.log(max(_LEAST, likely))
        return _distance(self.reference, self.prediction)


def read_answers(path: Path) -> list[PredictedRow]:
    """The labelled rows of a file of predictions; none if there is no such file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        records = (json.loads(line) for line in file if line.strip())
        return [_answer(record) for record in records if record.get("reference") is not None]


def worst(answers: Sequence[PredictedRow], most: int) -> list[PredictedRow]:
    """The mistakes that are worst, worst first; of equals the first."""
    wrong = [answer for answer in answers if answer.wrong]
    return sorted(wrong, key=lambda answer: -answer.badness)[:most]


def confusion(
    answers: Sequence[PredictedRow], most: int
) -> tuple[list[str], Counter[tuple[str, str]]]:
    """How often each label was predicted for each.

    :param most: Labels that are kept at most: those with the most rows.
    :return: The labels in order of their names, and counts by label and prediction among them.
    """
    pairs = [pair for answer in answers for pair in _pairs(answer)]
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


def _pairs(answer: PredictedRow) -> Iterator[tuple[str, str]]:
    """Label and prediction of a row, or of each of its words."""
    reference, prediction = answer.reference, answer.prediction
    if isinstance(reference, str) and isinstance(prediction, str):
        yield reference, prediction


def _distance(reference: Any, prediction: Any) -> float:
    if isinstance(reference, int | float) and isinstance(prediction, int | float):
        return abs(float(reference) - float(prediction))
    if isinstance(reference, list) and isinstance(prediction, list):
        pairs = zip(reference, prediction, strict=False)
        missing = abs(len(reference) - len(prediction))
        return float(sum(a != b for a, b in pairs) + missing)
    return float(reference != prediction)
