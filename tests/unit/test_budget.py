"""What of a budget is used up, and what is due."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, strategies as st

from polytask.training.budget import Budget
from polytask.training.options import TrainingOptions
from polytask.training.step import StepResult


def step(rows: int) -> StepResult:
    return StepResult({"a": 1.0}, {"a": 1.0}, 0.5, (), rows, 10 * rows, 12 * rows)


def make(epoch_rows: int = 100, **options: Any) -> Budget:
    return Budget(TrainingOptions(**options), epoch_rows)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which only the test changes."""
    now = [1000.0]
    monkeypatch.setattr("polytask.training.budget.time.monotonic", lambda: now[0])
    return now


def test_epochs_are_passes_over_the_rows() -> None:
    budget = make(epochs=2)
    found = []
    while not budget.finished:
        budget.advance(step(40), 0.1)
        found.append((budget.epoch, budget.share))
    assert found == [(0.4, 0.2), (0.8, 0.4), (1.2, 0.6), (1.6, 0.8), (2.0, 1.0)]


@pytest.mark.parametrize(("options", "share"), [({"epochs": 2}, 0.2), ({"steps": 8}, 0.125)])
def test_a_step_takes_the_share_that_it_adds(options: dict[str, Any], share: float) -> None:
    budget = make(**options)
    assert budget.step_share(40) == share
    budget.advance(step(40), 0.1)
    assert budget.share == share


def test_parts_of_an_epoch_are_possible() -> None:
    budget = make(epochs=0.5)
    budget.advance(step(50), 0.1)
    assert budget.finished


def test_steps_overrule_epochs() -> None:
    budget = make(epochs=1, steps=3)
    for share in (1 / 3, 2 / 3, 1.0):
        assert not budget.finished
        budget.advance(step(100), 0.1)
        assert budget.share == pytest.approx(share)
    assert budget.finished


@given(st.lists(st.integers(1, 20), min_size=1, max_size=40), st.sampled_from([25, 50, 100]))
def test_there_is_a_validation_for_every_part_of_an_epoch_and_at_the_end(
    rows: list[int], every: int
) -> None:
    budget = make(epochs=sum(rows) / 100, evaluate_every=every / 100)
    due = []
    for number in rows:
        budget.advance(step(number), 0.1)
        due.append(budget.validation_due)
        budget.validations += budget.validation_due
    ends = [*accumulate(rows)]
    begins = [0, *ends[:-1]]
    over = [end // every > begin // every for begin, end in zip(begins, ends, strict=True)]
    assert due == [*over[:-1], True]


def test_a_checkpoint_is_due_after_so_many_steps() -> None:
    budget = make(checkpoint_steps=3)
    due = []
    for _ in range(7):
        budget.advance(step(1), 0.1)
        due.append(budget.checkpoint_due)
        if budget.checkpoint_due:
            budget.record_save()
    assert due == [False, False, True, False, False, True, False]


def test_a_checkpoint_is_due_after_so_many_minutes(clock: list[float]) -> None:
    budget = make(checkpoint_minutes=2)
    due = []
    for seconds in (119, 1, 30):
        clock[0] += seconds
        due.append(budget.checkpoint_due)
        if budget.checkpoint_due:
            budget.record_save()
    assert due == [False, True, False]


def test_a_record_holds_what_a_step_did(clock: list[float]) -> None:
    budget = make(steps=4)
    clock[0] += 0.5
    record = budget.advance(step(25), 0.1)
    assert record == {
        "step": 1, "epoch": 0.0, "share": 0.25, "losses": {"a": 1.0}, "weights": {"a": 1.0},
        "gradient_norm": 0.5, "learning_rate": 0.1, "rows": 25, "tokens": 250, "padded": 300,
        "seconds": 0.5,
    }  # fmt: skip
    assert json.loads(json.dumps(record)) == record
    assert budget.advance(step(25), 0.1)["epoch"] == 0.25  # where the step began


@pytest.mark.parametrize(("numbers", "whole"), [(3, 20), (65, 11), (65 * 9, 3), (10**4, 2)])
def test_many_observations_are_recorded_now_and_then(numbers: int, whole: int) -> None:
    """With the first step, every so many steps, and before a validation; the penalty always."""
    budget = make(steps=20)
    observed = {"penalty": 0.5, **{f"gate/{number}": 0.1 for number in range(numbers - 1)}}
    result = replace(step(1), sharing=observed)
    found = [budget.advance(result, 0.1)["sharing"] for _ in range(20)]
    assert sum(kept == observed for kept in found) == whole
    assert [found[0], found[-1]] == [observed, observed]
    assert all(kept in (observed, {"penalty": 0.5}) for kept in found)


def test_what_was_skipped_is_recorded() -> None:
    skipped = StepResult({}, {}, 0.0, ("a", "b"), 1, 1, 1)
    assert make().advance(skipped, 0.1)["skipped"] == ["a", "b"]


def test_validations_and_checkpoints_are_not_part_of_the_time_of_a_step(clock: list[float]) -> None:
    budget = make()
    clock[0] += 1
    budget.advance(step(1), 0.1)
    clock[0] += 50
    budget.pause()
    clock[0] += 2
    assert budget.advance(step(1), 0.1)["seconds"] == 2
    clock[0] += 50
    budget.record_save()
    clock[0] += 3
    assert budget.advance(step(1), 0.1)["seconds"] == 3
    assert budget.seconds == 6


def test_a_restored_budget_goes_on_where_it_was(clock: list[float]) -> None:
    budget, restored = make(checkpoint_steps=2), make(checkpoint_steps=2)
    for _ in range(3):
        budget.advance(step(40), 0.1)
    budget.validations += 1
    restored.restore(json.loads(json.dumps(budget.state())))
    assert restored.state() == budget.state()
    assert not restored.checkpoint_due
    clock[0] += 1
    assert restored.advance(step(1), 0.1)["step"] == 4
    assert restored.advance(step(1), 0.1)["epoch"] == pytest.approx(1.21)


def test_no_rows_is_not_a_division_by_zero() -> None:
    budget = make(epoch_rows=0)
    assert budget.epoch == 0
    assert budget.share == 0
