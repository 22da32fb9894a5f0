"""The same answer for every row: what it is for each form of references."""

from __future__ import annotations

import pytest

from polytask.analysis.strategies import majority


def test_the_most_frequent_label_with_the_share_of_each() -> None:
    found = majority.label(["b", "a", "b", "b"], ["a", "b", "c"])
    assert found.prediction == "b"
    assert found.shares_C is not None
    assert found.shares_C.tolist() == [0.25, 0.75, 0.0]


def test_labels_that_more_than_half_of_the_rows_have() -> None:
    found = majority.label_set([["a", "b"], ["a"], ["b", "a"], []], ["a", "b", "c"])
    assert found.prediction == ["a"]  # b is on half of them
    assert found.shares_C is not None
    assert found.shares_C.tolist() == [0.75, 0.5, 0.0]


def test_the_mean_of_numbers() -> None:
    assert majority.mean([1.0, 2.0, 6.0], []).prediction == pytest.approx(3.0)


def test_anything_else_is_the_most_frequent_reference() -> None:
    references = [{"a": 1, "b": [2]}, {"c": 3}, {"b": [2], "a": 1}]
    assert majority.most_frequent(references, []).prediction == {"a": 1, "b": [2]}
    assert majority.most_frequent(["x", "y"], []).prediction == "x"  # the first of equals
