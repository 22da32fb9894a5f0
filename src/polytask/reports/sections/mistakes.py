"""The rows with the worst predictions of each task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polytask.reports.formats import NOTHING, clip
from polytask.reports.predictions import PredictedRow, worst
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Section, fill_template

_ROWS = 5
_TEXT, _LABEL = 420, 120


@dataclass(frozen=True)
class WrongRow:
    """The texts of a row with a wrong prediction.

    :param confidence: The probability of the prediction, as text.
    """

    place: str
    text: str
    reference: str
    prediction: str
    confidence: str


@dataclass(frozen=True)
class TaskMistakes:
    """The worst rows of a task.

    :param wrong: The number of wrong rows among ``rows``; None for numbers, which are never exact.
    """

    task: str
    wrong: int | None
    rows: int
    shown: list[WrongRow]


def mistakes(report: ReportData) -> Section | None:
    """Return the worst rows per task, for the last trained strategy."""
    trained = {one.strategy for one in report.trained}
    strategy = next((name for name in reversed(report.strategies) if name in trained), "")
    found = [
        own for task in report.tasks if (own := _of(task, report.answers(strategy, task))).shown
    ]
    if not found:
        return None
    return Section("mistakes", fill_template("mistakes.html", tasks=found, strategy=strategy))


def _of(task: str, answers: list[PredictedRow]) -> TaskMistakes:
    numeric = any(answer.numeric for answer in answers)
    wrong = None if numeric else sum(answer.wrong for answer in answers)
    return TaskMistakes(task, wrong, len(answers), [_show(one) for one in worst(answers, _ROWS)])


def _show(answer: PredictedRow) -> WrongRow:
    confidence = answer.confidence
    reference, prediction = _labels(answer)
    return WrongRow(
        place=answer.place,
        text=clip(answer.text, _TEXT),
        reference=clip(reference, _LABEL),
        prediction=clip(prediction, _LABEL),
        confidence="" if confidence is None else f"{confidence:.0%}",
    )


def _labels(answer: PredictedRow) -> tuple[str, str]:
    """Return label and prediction as texts; for tags, only of the words where they differ."""
    columns = [*answer.fields, answer.reference, answer.prediction]
    in_words = len(columns) == 3 and all(isinstance(column, list) for column in columns)
    if not in_words or len(set(map(len, columns))) > 1:
        words = answer.fields[0] if answer.fields else ()
        return _readable(answer.reference, words), _readable(answer.prediction, words)
    differing = [row for row in zip(*columns, strict=True) if row[1] != row[2]]
    return (
        ", ".join(f"{word} {_label(tag)}" for word, tag, _ in differing),
        ", ".join(f"{word} {_label(tag)}" for word, _, tag in differing),
    )


def _readable(value: Any, words: Any) -> str:
    """Return a label as text: quotes of answers, and words instead of the spans of relations."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return _label(value)
    return ", ".join(_part(one, words) for one in value) or NOTHING


def _part(value: dict[str, Any], words: Any) -> str:
    if "text" in value:
        return str(value["text"])
    head, tail = (_span(value.get(end), words) for end in ("head", "tail"))
    return f"{head} –{_label(value.get('type'))}→ {tail}"


def _span(value: Any, words: Any) -> str:
    if isinstance(words, list) and isinstance(value, list) and len(value) == 2:
        return _label(words[value[0] : value[1]])
    return _label(value)


def _label(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_label, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
