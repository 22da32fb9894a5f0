"""The best model is kept; training, or one task, stops when it has had enough."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from polytask.evaluation.merit import first_mean
from polytask.training.selection import Criterion, Selection

METRICS = {"mood": {"accuracy": True, "macro_f1": True}, "stars": {"rmse": False}}
Value = float | None
maybe = st.none() | st.sampled_from([-0.5, 0.0, 0.25, 0.5])


def scores(mood: Value = None, stars: Value = None, **others: Value) -> dict[str, Any]:
    """Validation scores as ``evaluation.score`` gives them."""
    entries: dict[str, Any] = {
        "mood": {"rows": 5, "accuracy": {"value": mood}, "macro_f1": {"value": others.get("f1")}},
        "stars": {"rows": 5, "rmse": {"value": stars}},
    }
    known = [name for name, value in (("mood", mood), ("stars", stars)) if value is not None]
    missing = [name for name in entries if name not in known]
    return {"tasks": entries, "pooled": {}, "average_over": known, "average_without": missing}


def make(select: str = "average", **patience: Any) -> Selection:
    return Selection(Criterion(METRICS, select), **patience)


def chosen(scores: Any, select: str = "average") -> Value:
    return first_mean(Criterion(METRICS, select).merit(scores))


def test_the_average_is_over_the_tasks_whose_first_metric_is_defined() -> None:
    assert chosen(scores(0.5, 0.1)) == pytest.approx(0.2)
    assert chosen(scores(None, 0.1)) == -0.1
    assert chosen(scores(None, None, f1=0.5)) is None
    assert chosen(scores()) is None


@pytest.mark.parametrize(
    ("select", "value"), [("mood.accuracy", 0.5), ("mood.macro_f1", 0.4), ("stars.rmse", -0.1)]
)
def test_any_metric_can_be_chosen_and_higher_is_better(select: str, value: float) -> None:
    assert chosen(scores(0.5, 0.1, f1=0.4), select) == value


def test_a_score_of_pooled_tasks_can_be_chosen() -> None:
    found = {**scores(0.5, 0.1), "pooled": {"both": {"rows": 5, "exact_match": {"value": 0.3}}}}
    criterion = Criterion({**METRICS, "both": {"exact_match": True}}, "both.exact_match")
    assert first_mean(criterion.merit(found)) == 0.3
    assert criterion.by_task(found) == {"mood": 0.5, "stars": -0.1}


def test_the_first_metric_stands_for_its_task() -> None:
    assert Criterion(METRICS).by_task(scores(0.5, 0.1)) == {"mood": 0.5, "stars": -0.1}


def test_balancers_see_what_is_defined_alone() -> None:
    assert Criterion(METRICS).by_task(scores(None, 0.1, f1=0.4)) == {"stars": -0.1}


def test_more_tasks_defined_are_better_than_a_higher_mean_over_fewer() -> None:
    selection = make()
    history = [(0.9, None), (0.8, None), (0.5, 1.0), (None, 0.1), (0.9, None), (0.6, 1.0)]
    improved = [selection.update(scores(mood, stars)) for mood, stars in history]
    assert improved == [True, False, True, False, False, True]


def test_a_task_whose_first_metric_is_never_defined_is_judged_by_its_next() -> None:
    selection = make()
    history = [(0.5, 1.0), (0.7, 1.0), (0.6, 0.9), (0.9, 0.9), (0.1, 0.9)]
    improved = [selection.update(scores(None, stars, f1=f1)) for f1, stars in history]
    assert improved == [True, True, True, True, False]  # stars first, mood where they are equal
    assert (
        selection.task_best["mood"] > Criterion(METRICS).task_merits(scores(None, f1=0.8))["mood"]
    )


@given(st.lists(maybe, min_size=1), st.sampled_from(["mood.accuracy", "stars.rmse"]))
def test_the_undefined_is_never_best_and_never_lasting(values: list[Value], select: str) -> None:
    selection, sign = make(select, patience=2, task_patience=2), 1 if "mood" in select else -1
    before: list[float] = []
    for value in values:
        if selection.finished:
            break
        improved = selection.update(scores(value, value))
        signed = -math.inf if value is None else sign * value
        assert improved == (signed > max(before, default=-math.inf))
        assert selection.keeps_last == (improved or (not before and value is None))
        before += [] if value is None else [signed]
        assert first_mean(selection.best) == max(before, default=None)
    if not before:
        assert not selection.finished
        assert selection.improved_tasks == selection.stopped_tasks == frozenset()


@given(st.lists(st.floats(0, 1), min_size=1))
def test_the_best_is_the_first_of_the_highest(values: list[float]) -> None:
    selection = make("mood.accuracy")
    improved = [selection.update(scores(value)) for value in values]
    best = max(number for number, better in enumerate(improved) if better)
    assert best == values.index(max(values))
    assert first_mean(selection.best) == max(values)
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
    best = {task: first_mean(merit) for task, merit in selection.task_best.items()}
    assert best == {"mood": 0.5, "stars": -0.7}  # not what came after it stopped


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
    history: list[tuple[Value, Value]] = [(None, None), (0.5, None), (0.4, 0.9), (0.6, 1.2)]
    history += [(0.6, 1.1), (None, 1.0), (0.5, 1.0)]
    for mood, stars in history[:4]:
        selection.update(scores(mood, stars))
    restored.restore(json.loads(json.dumps(selection.state())))
    for mood, stars in history[4:]:
        assert restored.update(scores(mood, stars)) == selection.update(scores(mood, stars))
        assert restored.finished == selection.finished
        assert restored.stopped_tasks == selection.stopped_tasks
        assert restored.improved_tasks == selection.improved_tasks
    assert restored.finished
    assert restored.stopped_tasks
