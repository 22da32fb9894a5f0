"""The best model is kept; training, or one task, stops when it has had enough."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from polytask.training.selection import Criterion, Selection

METRICS = {"mood": {"accuracy": True, "macro_f1": True}, "stars": {"rmse": False}}
Value = float | None


def scores(mood: Value = None, stars: Value = None, **others: Value) -> dict[str, Any]:
    """Validation scores with the average that ``evaluation.score`` gives them."""
    entries: dict[str, Any] = {
        "mood": {"rows": 5, "accuracy": {"value": mood}, "macro_f1": {"value": others.get("f1")}},
        "stars": {"rows": 5, "rmse": {"value": stars}},
    }
    average = ((mood or 0) - (stars or 0)) / 2
    return {"tasks": entries, "pooled": {}, "average": average}


def make(select: str = "average", **patience: Any) -> Selection:
    return Selection(Criterion(METRICS, select), **patience)


def test_the_average_is_that_of_the_evaluation() -> None:
    assert Criterion(METRICS).value(scores(0.5, 0.1)) == pytest.approx(0.2)
    assert Criterion(METRICS).value({**scores(), "average": None}) == 0.0


@pytest.mark.parametrize(
    ("select", "value"), [("mood.accuracy", 0.5), ("mood.macro_f1", 0.4), ("stars.rmse", -0.1)]
)
def test_any_metric_can_be_chosen_and_higher_is_better(select: str, value: float) -> None:
    assert Criterion(METRICS, select).value(scores(0.5, 0.1, f1=0.4)) == value


def test_a_score_of_pooled_tasks_can_be_chosen() -> None:
    found = {**scores(0.5, 0.1), "pooled": {"both": {"rows": 5, "exact_match": {"value": 0.3}}}}
    criterion = Criterion({**METRICS, "both": {"exact_match": True}}, "both.exact_match")
    assert criterion.value(found) == 0.3
    assert criterion.by_task(found) == {"mood": 0.5, "stars": -0.1}


def test_the_first_metric_stands_for_its_task() -> None:
    assert Criterion(METRICS).by_task(scores(0.5, 0.1)) == {"mood": 0.5, "stars": -0.1}


def test_what_is_undefined_counts_as_zero_and_what_has_no_rows_not_at_all() -> None:
    found = scores(None, 0.1)
    found["tasks"]["stars"]["rows"] = 0
    assert Criterion(METRICS).by_task(found) == {"mood": 0.0}


@given(st.lists(st.floats(0, 1), min_size=1))
def test_the_best_is_the_first_of_the_highest(values: list[float]) -> None:
    selection = make("mood.accuracy")
    improved = [selection.update(scores(value)) for value in values]
    best = max(number for number, better in enumerate(improved) if better)
    assert best == values.index(max(values))
    assert selection.best == max(values)
    assert selection.since_best == len(values) - 1 - best


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3]), max_size=20), st.integers(1, 4))
def test_patience_is_the_number_of_validations_without_a_better_one(
    values: list[float], patience: int
) -> None:
    selection = make("mood.accuracy", patience=patience)
    since, best = 0, -math.inf
    for value in values:
        selection.update(scores(value))
        since, best = (0, value) if value > best else (since + 1, best)
        assert selection.finished == (since >= patience)


def test_without_patience_nothing_stops() -> None:
    selection = make()
    for _ in range(50):
        selection.update(scores(0.5, 0.5))
    assert not selection.finished
    assert selection.stopped_tasks == frozenset()


def test_a_task_stops_alone_and_stays_stopped() -> None:
    selection = make(task_patience=2)
    found = []
    for mood, stars in [(0.5, 1.0), (0.4, 0.9), (0.5, 0.8), (0.9, 0.7), (0.9, 0.7), (0.9, 0.8)]:
        selection.update(scores(mood, stars))
        found.append(sorted(selection.stopped_tasks))
    assert found == [[], [], ["mood"], ["mood"], ["mood"], ["mood", "stars"]]
    assert selection.task_best == {"mood": 0.5, "stars": -0.7}  # not what came after it stopped


def test_the_tasks_that_improved_are_those_of_the_last_validation() -> None:
    selection = make("mood.accuracy", task_patience=2)
    assert selection.improved_tasks == frozenset()
    found = []
    for mood, stars in [(0.5, 1.0), (0.5, 0.9), (0.6, 0.9), (0.5, 0.9), (0.5, 0.8), (0.9, 0.8)]:
        selection.update(scores(mood, stars))
        found.append(sorted(selection.improved_tasks))
    assert found == [["mood", "stars"], ["stars"], ["mood"], [], [], []]
    assert selection.stopped_tasks == {"mood", "stars"}


def test_a_restored_selection_decides_the_same() -> None:
    selection, restored = make(patience=3, task_patience=3), make(patience=3, task_patience=3)
    history = [(0.5, 1.0), (0.4, 0.9), (0.6, 1.2), (0.6, 1.1), (0.5, 1.0), (0.5, 1.0)]
    for mood, stars in history[:3]:
        selection.update(scores(mood, stars))
    restored.restore(json.loads(json.dumps(selection.state())))
    for mood, stars in history[3:]:
        assert restored.update(scores(mood, stars)) == selection.update(scores(mood, stars))
        assert restored.finished == selection.finished
        assert restored.stopped_tasks == selection.stopped_tasks
        assert restored.improved_tasks == selection.improved_tasks
    assert restored.finished
    assert restored.stopped_tasks
