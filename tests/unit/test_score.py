"""Scores of tasks, of pooled tasks, their average and their intervals."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from pydantic import ValidationError

from polytask.evaluation.bootstrap import percentile_intervals, resample_weights
from polytask.evaluation.options import EvaluationOptions
from polytask.evaluation.score import Outcome, Pooling, score, score_outcome
from polytask.tasks import Metric, metrics

FEW = EvaluationOptions(bootstrap=50)
NONE = EvaluationOptions(bootstrap=0)
STANCE = {"kind": "mean_f1", "labels": ["against", "favor"]}


def built(*kinds: str) -> list[Metric]:
    return [metrics.build(kind, ("no", "yes")) for kind in kinds]


def test_an_entry_names_rows_metrics_and_intervals() -> None:
    outcome = Outcome(["no", "yes"] * 50, ["no"] * 50 + ["yes"] * 50)
    entry = score_outcome(outcome, built("accuracy", "f1"), FEW)
    assert list(entry) == ["rows", "accuracy", "macro_f1"]
    assert entry["rows"] == 100
    accuracy = entry["accuracy"]
    assert accuracy["value"] == 0.5
    assert accuracy["low"] < 0.5 < accuracy["high"]
    assert json.loads(json.dumps(entry)) == entry


def test_the_same_rows_have_the_same_interval() -> None:
    outcome = Outcome(["no", "yes", "yes"], ["no", "yes", "no"])
    assert score_outcome(outcome, built("f1"), FEW) == score_outcome(outcome, built("f1"), FEW)


def test_what_is_undefined_is_null() -> None:
    entry = score_outcome(Outcome([1.0, 2.0], [3.0, 3.0]), built("pearson"), FEW)
    assert entry["pearson"] == {"value": None, "low": None, "high": None}


def test_no_resamples_no_interval() -> None:
    entry = score_outcome(Outcome(["no"], ["no"]), built("accuracy"), NONE)
    assert entry["accuracy"] == {"value": 1.0, "low": None, "high": None}


def test_a_task_without_rows() -> None:
    entry = score_outcome(Outcome([], []), built("accuracy"), FEW)
    assert entry == {"rows": 0, "accuracy": {"value": None, "low": None, "high": None}}


def test_pooled_rows_are_scored_as_one_task() -> None:
    outcomes = {
        "climate": Outcome(["favor", "favor", "none"], ["favor", "favor", "none"]),
        "atheism": Outcome(["against", "favor"], ["against", "against"]),
    }
    chosen = {task: built("accuracy") for task in outcomes}
    pooled = {"stance": Pooling(["climate", "atheism"], metrics.build(STANCE, ()))}
    scores = score(outcomes, chosen, pooled, NONE)
    entry = scores["pooled"]["stance"]
    against, favor = 2 / 3, 4 / 5
    assert entry["rows"] == 5
    assert entry["mean_f1_against_favor"]["value"] == pytest.approx((against + favor) / 2)


def test_a_pooling_stands_for_its_tasks_in_the_average() -> None:
    outcomes = {
        "a": Outcome(["against"], ["favor"]),
        "b": Outcome(["favor"], ["favor"]),
        "irony": Outcome(["yes", "no", "no", "no"], ["yes", "no", "no", "yes"]),
    }
    chosen = {task: built("accuracy", "f1") for task in outcomes}
    assert score(outcomes, chosen, {}, NONE)["average"] == pytest.approx((0 + 1 + 0.75) / 3)
    pooled = {"stance": Pooling(["a", "b"], metrics.build(STANCE, ()))}
    average = score(outcomes, chosen, pooled, NONE)["average"]
    assert average == pytest.approx(((0 + 2 / 3) / 2 + 0.75) / 2)


def test_in_the_average_errors_are_negative_and_the_undefined_is_left_out_and_named() -> None:
    outcomes = {
        "distance": Outcome([0.0, 0.0], [2.0, 2.0]),
        "constant": Outcome([1.0, 2.0], [3.0, 3.0]),
        "empty": Outcome([], []),
        "right": Outcome(["no"], ["no"]),
    }
    chosen = {
        "distance": built("rmse"),
        "constant": built("pearson"),
        "empty": built("accuracy"),
        "right": built("accuracy"),
    }
    chosen["elsewhere"] = built("accuracy")  # a task of which the split has no rows
    found = score(outcomes, chosen, {}, NONE)
    assert found["average"] == pytest.approx((-2 + 1) / 2)
    assert found["average_over"] == ["distance", "right"]
    assert found["average_without"] == ["constant", "empty", "elsewhere"]
    nothing: dict[str, object] = {"average": None, "average_over": [], "average_without": []}
    assert score({}, {}, {}, NONE) == {"tasks": {}, "pooled": {}, **nothing}


def test_perplexities_count_in_an_average_only_among_themselves() -> None:
    outcomes = {
        "right": Outcome(["no"], ["no"]),
        "text": Outcome(["a"], [[math.log(8.0)]]),
        "more": Outcome(["a"], [[math.log(2.0)]]),
    }
    chosen = {
        "right": built("accuracy"),
        "text": built("perplexity"),
        "more": built("perplexity"),
    }
    assert score(outcomes, chosen, {}, NONE)["average"] == 1
    assert score(outcomes, chosen, {}, NONE)["average_without"] == []
    del outcomes["right"]
    assert score(outcomes, chosen, {}, NONE)["average"] == pytest.approx(-5)


def test_intervals_of_a_mean_are_those_of_the_normal_distribution() -> None:
    sample_N = np.random.default_rng(1).normal(5, 2, size=2000)

    def mean(weights_N: np.ndarray) -> float:
        return float(weights_N @ sample_N / weights_N.sum())

    ((low, high),) = percentile_intervals([mean], 2000, resamples=2000, confidence=0.95)
    error = 1.96 * sample_N.std() / math.sqrt(2000)
    assert low == pytest.approx(sample_N.mean() - error, abs=0.1 * error)
    assert high == pytest.approx(sample_N.mean() + error, abs=0.1 * error)
    ((lower, higher),) = percentile_intervals([mean], 2000, resamples=2000, confidence=0.99)
    assert lower < low < high < higher


def test_resamples_have_as_many_rows_and_are_seeded() -> None:
    first = list(resample_weights(30, 5, seed=0))
    assert all(weights_N.sum() == 30 for weights_N in first)
    np.testing.assert_array_equal(first, list(resample_weights(30, 5, seed=0)))
    assert not np.array_equal(first, list(resample_weights(30, 5, seed=1)))


def test_resamples_in_which_a_score_is_undefined_are_left_out() -> None:
    outcome = Outcome(["no", "yes"], ["no", "yes"], [np.array([0.9, 0.1]), np.array([0.1, 0.9])])
    entry = score_outcome(outcome, built("auc"), FEW)
    assert entry["auc"] == {"value": 1.0, "low": 1.0, "high": 1.0}


@pytest.mark.parametrize("options", [{"bootstrap": -1}, {"confidence": 1.0}, {"resamples": 3}])
def test_options_are_checked(options: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        EvaluationOptions.model_validate(options)


def test_tasks_are_right_together_on_a_row() -> None:
    outcomes = {
        "intent": Outcome(["play", "book", "play"], ["play", "book", "book"], rows=[0, 1, 2]),
        "slots": Outcome([["O"], ["O"], ["B-x"], ["O"]], [["O"], ["B-x"], ["B-x"], ["O"]], rows=[0, 1, 2, 7]),
    }  # fmt: skip
    metric = metrics.build("exact_match", ())
    pooled = {"sentence": Pooling(["intent", "slots"], metric, by_row=True)}
    found = score(outcomes, {"intent": [metric], "slots": [metric]}, pooled, NONE)
    assert found["pooled"]["sentence"]["rows"] == 3
    assert found["pooled"]["sentence"]["exact_match"]["value"] == pytest.approx(1 / 3)
    assert found["average"] == pytest.approx(1 / 3)
