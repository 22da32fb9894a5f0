"""Metrics of groups of rows equal scikit-learn's and those of all orders that scores leave open."""

from __future__ import annotations

import math
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import average_precision_score

from polytask.analysis.outcomes import read_outcomes, write_outcomes
from polytask.assembly.data.groups import groups_of
from polytask.assembly.data.views import View
from polytask.core.errors import RecipeError
from polytask.data.sources import sources
from polytask.evaluation.options import EvaluationOptions
from polytask.evaluation.score import Outcome, Pooling, evidence_of, score_outcome, score_pooled
from polytask.tasks import Metric, metrics

KINDS = ("group_map", "group_mrr")
few = settings(max_examples=40, deadline=None)
LABELS = ("no", "yes")
Row = tuple[int, bool, float]
"""Group, whether it is to be found, and score."""
group, found = st.integers(0, 3), st.booleans()
tied = st.lists(st.tuples(group, found, st.sampled_from([0.1, 0.5, 0.9])), min_size=1, max_size=8)
apart = st.lists(
    st.tuples(group, found, st.integers(0, 1000).map(lambda n: n / 1000)),
    min_size=1,
    max_size=20,
    unique_by=lambda row: row[2],
)


def metric_of(kind: str, labels: Any = LABELS, **options: Any) -> Metric:
    return metrics.build({"kind": kind, "group": "question", **options}, labels)


def outcome_of(rows: list[Row]) -> Outcome:
    groups, relevant, scores = zip(*rows, strict=True)
    references = [LABELS[one] for one in relevant]
    chances = [np.array([1 - score, score]) for score in scores]
    return Outcome(references, references, chances, groups={"question": groups})


def value_of(metric: Metric, outcome: Outcome) -> float:
    return metric.value(evidence_of(metric, outcome), np.ones(len(outcome)))


def by_group(rows: list[Row]) -> list[list[Row]]:
    """The rows of each group with a row to find."""
    groups = [[row for row in rows if row[0] == group] for group in {row[0] for row in rows}]
    return [own for own in groups if any(relevant for _, relevant, _ in own)]


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def of_order(kind: str, relevant: list[bool]) -> float:
    """The definition of average precision, or of reciprocal rank."""
    ranks = [rank for rank, one in enumerate(relevant, 1) if one]
    if kind == "group_mrr":
        return 1 / ranks[0]
    return mean([hits / rank for hits, rank in enumerate(ranks, 1)])


def worst(kind: str, rows: list[Row]) -> float:
    """The least that any order of falling scores gives."""
    orders = permutations(rows)
    falling = (o for o in orders if all(a[2] >= b[2] for a, b in pairwise(o)))
    return min(of_order(kind, [relevant for _, relevant, _ in order]) for order in falling)


@few
@given(rows=apart)
def test_map_equals_the_mean_of_sklearn_over_groups(rows: list[Row]) -> None:
    groups = [[[row[1] for row in own], [row[2] for row in own]] for own in by_group(rows)]
    expected = mean([float(average_precision_score(*own)) for own in groups])
    value = value_of(metric_of("group_map"), outcome_of(rows))
    assert value == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(rows=tied)
def test_ties_gain_nothing(kind: str, rows: list[Row]) -> None:
    expected = mean([worst(kind, own) for own in by_group(rows)])
    value = value_of(metric_of(kind), outcome_of(rows))
    assert value == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(rows=tied)
def test_numbers_are_ranked_like_probabilities(kind: str, rows: list[Row]) -> None:
    labels = outcome_of(rows)
    numbers = Outcome([float(r) for _, r, _ in rows], [s for *_, s in rows], groups=labels.groups)
    expected = value_of(metric_of(kind), labels)
    assert value_of(metric_of(kind, ()), numbers) == pytest.approx(expected, nan_ok=True)


def test_the_label_to_find() -> None:
    rows = [(0, True, 0.9), (0, False, 0.2), (0, False, 0.1)]
    outcome = outcome_of(rows)
    assert value_of(metric_of("group_mrr", label="yes"), outcome) == 1
    assert metric_of("group_mrr", label="yes").name == "group_mrr_yes"
    assert value_of(metric_of("group_mrr", label="no"), outcome) == 1
    assert value_of(metric_of("group_mrr", label="no"), outcome_of([*rows, (1, False, 1.0)])) == 1
    with pytest.raises(RecipeError, match="Add label: one of a, b, c"):
        metric_of("group_map", ("a", "b", "c"))
    with pytest.raises(RecipeError, match="yse"):
        metric_of("group_map", label="yse")


def test_an_interval_is_as_wide_as_one_of_resampled_groups() -> None:
    """Each of 80 questions has 6 answers; an interval of means over questions is the oracle."""
    generator = np.random.default_rng(3)
    scores, right = generator.random((80, 6)), generator.integers(6, size=80)
    rows = [
        (at, bool(place == right[at]), float(scores[at, place]))
        for at in range(80)
        for place in range(6)
    ]
    ranks = 1 + (scores > scores[np.arange(80), right][:, None]).sum(axis=1)
    drawn = generator.integers(80, size=(4000, 80))
    low, high = np.quantile((1 / ranks)[drawn].mean(axis=1), [0.025, 0.975])
    options = EvaluationOptions(bootstrap=2000, confidence=0.95)
    found = score_outcome(outcome_of(rows), [metric_of("group_mrr")], options)["group_mrr"]
    assert found["value"] == pytest.approx((1 / ranks).mean())
    assert found["high"] - found["low"] == pytest.approx(high - low, rel=0.1)
    assert found["low"] == pytest.approx(low, abs=0.02)


def test_tasks_that_are_scored_together_keep_their_groups() -> None:
    """One group each, of the same name: 1 and 1/2. Ranked together it would be one of 1."""
    outcomes = {
        "a": outcome_of([(0, True, 0.9), (0, False, 0.1)]),
        "b": outcome_of([(0, True, 0.2), (0, False, 0.3)]),
    }
    pooled = {"both": Pooling(["a", "b"], metric_of("group_map"))}
    found = score_pooled(outcomes, pooled, EvaluationOptions(bootstrap=0))
    assert found["both"]["group_map"]["value"] == 0.75


def test_outcomes_keep_their_groups_on_disk(tmp_path: Any) -> None:
    outcome = outcome_of([(0, True, 0.2), (1, True, 0.5), (0, False, 0.3)])
    write_outcomes(tmp_path / "outcomes.json", {"a": outcome})
    again = read_outcomes(tmp_path / "outcomes.json")["a"]
    assert value_of(metric_of("group_map"), again) == 0.75


def test_rows_without_a_value_and_rows_of_other_sources_are_apart() -> None:
    def part(name: str, values: list[Any]) -> Any:
        rows = [{"text": "a", "meta": {"id": value}} for value in values]
        table = sources.build({"kind": "rows", "rows": rows}, ()).load()["all"]
        return View(name, ("text",), ("task",), (), groups=("meta.id",)), table

    first, second = part("one", ["x", None, "y", "x", None, " "]), part("two", ["x", "x"])
    places = [("one", at) for at in (0, 1, 2, 3, 4, 5)] + [("two", 0), ("two", 1)]
    assert groups_of([first, second], places) == {"meta.id": [0, 1, 2, 0, 3, 4, 5, 5]}
    assert groups_of([first], places[1:4]) == {"meta.id": [0, 1, 2]}
    assert groups_of([part("one", [[1], [2], [1]])], places[:3]) == {"meta.id": [0, 1, 0]}
    assert groups_of([part("one", [1, 2, 1])], places[:3]) == {"meta.id": [0, 1, 0]}
    assert groups_of([], []) == {}
