"""Means over tasks and seeds of which some values are undefined."""

from __future__ import annotations

import math

import pytest

from polytask.analysis.curve import find_crossing
from polytask.analysis.uncertainty import known_for_all, mean_or_none, over_tasks


def test_a_task_that_is_undefined_for_one_seed_is_in_no_mean() -> None:
    values = {"a": [1.0, 3.0], "b": [5.0, math.nan], "c": [3.0, 5.0]}
    assert [*known_for_all(values)] == ["a", "c"]
    mean, error = over_tasks(values)
    assert mean == pytest.approx(3.0)  # of 2 and 4
    assert error == pytest.approx(1.0)  # sample deviation sqrt(2) over sqrt(2)
    assert over_tasks({"b": [math.nan]}) == (None, None)


def test_a_mean_of_something_undefined_is_undefined() -> None:
    assert mean_or_none([1.0, 2.0]) == 1.5
    assert mean_or_none([1.0, math.nan]) is None


def test_undefined_points_do_not_move_the_end_of_a_curve() -> None:
    assert find_crossing([50, 100, 200], [0.1, None, -0.1]) == pytest.approx(100)
    assert find_crossing([50], [None]) is None
