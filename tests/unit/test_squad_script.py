"""``squad_em`` and ``squad_f1`` are the numbers of the evaluation script of SQuAD 2.0."""

from __future__ import annotations

import re
import string
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from polytask.tasks import metrics

part = st.sampled_from(
    ["The", "a", "an", "Beatles", "beatles,", "1,000", "U.S.", "?", "anthem", ""]
)
text = st.lists(part, max_size=3).map(" ".join)


def normalised(answer: str) -> str:
    plain = "".join(sign for sign in answer.lower() if sign not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split())


def official(golds: list[str], prediction: str) -> tuple[float, float]:
    """Exact match and F1 of a row; answers that are empty when normalised are left out."""
    golds = [gold for gold in golds if normalised(gold)] or [""]
    exact = max(float(normalised(gold) == normalised(prediction)) for gold in golds)
    return exact, max(
        f1(normalised(gold).split(), normalised(prediction).split()) for gold in golds
    )


def f1(gold: list[str], predicted: list[str]) -> float:
    if not gold or not predicted:
        return float(gold == predicted)
    same = (Counter(gold) & Counter(predicted)).total()
    if same == 0:
        return 0.0
    precision, recall = same / len(predicted), same / len(gold)
    return 2 * precision * recall / (precision + recall)


@settings(max_examples=200, deadline=None)
@given(golds=st.lists(text, max_size=3), prediction=text)
def test_a_row_scores_as_in_the_script(golds: list[str], prediction: str) -> None:
    row = [{"text": gold, "start": 0} for gold in golds]
    found = [{"text": prediction, "start": 0}] if prediction else []
    scores = [metrics.build(kind, ())([row], [found]) for kind in ("squad_em", "squad_f1")]
    assert scores == pytest.approx(official(golds, prediction))


def test_an_article_is_no_answer_beside_another() -> None:
    row = [{"text": "The", "start": 0}, {"text": "Beatles", "start": 4}]
    assert metrics.build("squad_em", ())([row], [[]]) == 0
