"""Which of two models is better, where some metrics are undefined."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from polytask.evaluation.merit import first_mean, merit

value = st.none() | st.sampled_from([-1.0, 0.0, 0.5])
tasks = st.lists(st.lists(value, min_size=2, max_size=2), min_size=1, max_size=4)


def test_a_merit_has_a_count_and_a_mean_for_each_place() -> None:
    assert merit([[0.5, 0.1], [0.7, None], [None, 0.2]]) == pytest.approx([2, 0.6, 1, 0.2])
    assert merit([[None, None], [None, 0.2]]) == [0, 0.0, 1, 0.2]
    assert merit([[None, None], []]) == merit([]) == []


def test_the_mean_is_of_first_metrics() -> None:
    assert first_mean(merit([[0.5, 0.1], [None, 0.9]])) == 0.5
    assert first_mean(merit([[None, 0.9]])) is None
    assert first_mean([]) is None


@given(tasks, st.data())
def test_defining_or_raising_a_metric_is_better(
    rows: list[list[float | None]], data: st.DataObject
) -> None:
    """A first metric that becomes defined, or higher, never makes a model worse."""
    place = data.draw(st.integers(0, len(rows) - 1))
    better = [list(row) for row in rows]
    first = better[place][0]
    better[place][0] = 0.25 if first is None else first + 1
    assert merit(better) > merit(rows)


@given(tasks)
def test_undefined_tasks_move_nothing(rows: list[list[float | None]]) -> None:
    assert merit([*rows, [None, None]]) == merit(rows)
