"""Metrics: names, known values, and where they are undefined."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from polytask.core.errors import RecipeError
from polytask.tasks import metrics

IRONY = ("irony", "none")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("f1", "macro_f1"),
        ({"kind": "recall", "average": "weighted"}, "weighted_recall"),
        ({"kind": "f1", "label": "irony"}, "f1_irony"),
        ({"kind": "mean_f1", "labels": ["irony", "none"]}, "mean_f1_irony_none"),
        ("span_f1", "span_f1"),
        ({"kind": "span_f1", "average": "macro"}, "macro_span_f1"),
        ({"kind": "span_recall", "label": "PER"}, "span_recall_PER"),
        ("rmse", "rmse"),
    ],
)
def test_names(options: Any, name: str) -> None:
    assert metrics.build(options, IRONY).name == name


def test_macro_averages_over_classes_that_occur_not_over_the_label_set() -> None:
    macro = metrics.build("f1", ("a", "b", "never"))
    assert macro(["a", "b"], ["a", "b"]) == 1


def test_labels_unseen_in_training_count_as_mistakes() -> None:
    metric = metrics.build("recall", ("a", "b"))
    assert metric(["a", "new"], ["a", "b"]) == pytest.approx(1 / 3)


def test_a_label_that_is_not_there_is_refused_with_the_nearest() -> None:
    for options in ({"kind": "f1", "label": "irnoy"}, {"kind": "mean_f1", "labels": ["irnoy"]}):
        with pytest.raises(RecipeError, match=r"no label 'irnoy'\. Did you mean 'irony'"):
            metrics.build(options, IRONY)
    assert metrics.build({"kind": "f1", "label": 1}, ("0", "1")).name == "f1_1"


def test_mean_f1_of_stance() -> None:
    references = ["against", "against", "favor", "none", "none"]
    predictions = ["against", "favor", "favor", "against", "none"]
    metric = metrics.build({"kind": "mean_f1", "labels": ["against", "favor"]}, ())
    assert metric(references, predictions) == pytest.approx((0.5 + 2 / 3) / 2)


def test_the_example_of_seqeval() -> None:
    references = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    predictions = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    assert metrics.build("span_f1", ())(references, predictions) == 0.5
    per = metrics.build({"kind": "span_f1", "label": "PER"}, ())
    assert per(references, predictions) == 1


def test_bmes_spans_count_like_bio_spans() -> None:
    for kind in ("span_f1", "span_precision", "span_recall"):
        metric = metrics.build(kind, ())
        bmes = metric([["B-x", "M-x", "E-x", "S-y"]], [["B-x", "E-x", "S-x", "S-y"]])
        bio = metric([["B-x", "I-x", "I-x", "B-y"]], [["B-x", "I-x", "B-x", "B-y"]])
        assert bmes == bio > 0


def test_token_accuracy_weighs_words_and_exact_match_rows() -> None:
    references = [["O", "O", "O"], ["B-x"]]
    predictions = [["O", "O", "O"], ["O"]]
    assert metrics.build("accuracy", ())(references, predictions) == 0.75
    assert metrics.build("exact_match", ())(references, predictions) == 0.5


def test_what_nobody_predicted_and_nobody_asked_for() -> None:
    assert metrics.build("span_f1", ())([["O"]], [["O"]]) == 0
    assert metrics.build({"kind": "f1", "average": "micro"}, ())([[]], [[]]) != 1
    assert metrics.build("mcc", ())(["a", "a"], ["a", "a"]) == 0


@pytest.mark.parametrize(
    ("kind", "references", "predictions", "probabilities"),
    [
        ("auc", ["no", "no"], ["no", "no"], [np.array([0.2, 0.8])] * 2),
        ("pearson", [1.0, 1.0], [1.0, 2.0], []),
        ("spearman", [1.0, 2.0], [3.0, 3.0], []),
        ("pearson", [0.1] * 7, [float(n) for n in range(7)], []),
        ("f1", [[]], [[]], []),
        ("accuracy", [[]], [[]], []),
    ],
)
def test_what_is_undefined_is_nan(
    kind: str, references: list[Any], predictions: list[Any], probabilities: list[Any]
) -> None:
    metric = metrics.build(kind, ("no", "yes"))
    assert math.isnan(metric(references, predictions, probabilities))


def test_rank_correlation_of_a_curve_is_perfect() -> None:
    numbers = [0.0, 1.0, 2.0, 3.0]
    assert metrics.build("spearman", ())(numbers, [x**3 for x in numbers]) == pytest.approx(1)
    assert metrics.build("pearson", ())(numbers, [x**3 for x in numbers]) < 0.95


def test_lower_is_better_only_for_errors() -> None:
    lower = {kind for kind in metrics.kinds() if not metrics.part(kind).higher_is_better}
    assert lower == {"rmse", "mae", "perplexity", "chosen_nats"}
