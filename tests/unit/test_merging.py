"""What is made of the changes of several models, with numbers that can be followed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polytask.analysis.state_vectors import common_names, flatten, unflatten
from polytask.analysis.strategies import strategies
from polytask.analysis.strategies.merge_average import average
from polytask.analysis.strategies.merge_dare import drop_and_rescale
from polytask.analysis.strategies.merge_task_arithmetic import task_arithmetic
from polytask.analysis.strategies.merge_ties import disjoint_mean, elect_signs, trim
from polytask.analysis.strategies.merging import MergingStrategy

MERGING = [
    kind for kind in strategies.kinds() if issubclass(strategies.part(kind), MergingStrategy)
]
DELTAS = torch.tensor([[1.0, -4.0, 0.5, 2.0, 0.0], [3.0, 1.0, -0.5, -6.0, 0.0]])


def direction(kind: str, deltas_TP: Tensor, seed: int = 0) -> Tensor:
    strategy = strategies.build(kind, kind)
    assert isinstance(strategy, MergingStrategy)
    return strategy.direction(deltas_TP.clone(), seed)


def test_there_are_four_ways() -> None:
    assert set(MERGING) == {"merge_average", "merge_task_arithmetic", "merge_ties", "merge_dare"}


def test_average() -> None:
    assert average(DELTAS).tolist() == [2.0, -1.5, 0.0, -2.0, 0.0]


def test_task_arithmetic_is_the_sum() -> None:
    assert task_arithmetic(DELTAS).tolist() == [4.0, -3.0, 0.0, -4.0, 0.0]


@pytest.mark.parametrize(
    ("kept", "trimmed"),
    [
        (0.2, [0.0, -4.0, 0.0, 0.0, 0.0]),
        (0.4, [0.0, -4.0, 0.0, 2.0, 0.0]),
        (0.01, [0.0, -4.0, 0.0, 0.0, 0.0]),
        (1.0, [1.0, -4.0, 0.5, 2.0, 0.0]),
    ],
)
def test_trimming_keeps_the_largest_of_either_sign(kept: float, trimmed: list[float]) -> None:
    assert trim(DELTAS[0], kept).tolist() == trimmed


def test_the_sign_with_the_larger_total_is_elected() -> None:
    assert elect_signs(DELTAS).tolist() == [1.0, -1.0, 0.0, -1.0, 0.0]
    more_but_smaller = torch.tensor([[1.0], [1.0], [-3.0]])
    assert elect_signs(more_but_smaller).tolist() == [-1.0]


def test_the_disjoint_mean_is_over_those_that_agree() -> None:
    deltas_TP = torch.tensor([[1.0, -4.0, 2.0], [3.0, 1.0, 0.0], [-2.0, 0.0, 4.0]])
    merged_P = disjoint_mean(deltas_TP, elect_signs(deltas_TP))
    assert merged_P.tolist() == [2.0, -4.0, 3.0]  # zeros do not count as agreeing


def test_ties_trims_before_it_elects() -> None:
    deltas_TP = torch.zeros(2, 10)
    deltas_TP[0, :4] = torch.tensor([5.0, -3.0, 2.9, 0.1])
    deltas_TP[1, :4] = torch.tensor([4.0, 0.0, -0.2, 6.0])
    # Two of ten numbers are kept of each: (5, -3) and (4, 6).
    assert direction("merge_ties", deltas_TP)[:4].tolist() == [4.5, -3.0, 0.0, 6.0]


def test_ties_does_not_depend_on_how_many_numbers_are_merged_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deltas_TP = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    whole_P = direction("merge_ties", deltas_TP)
    monkeypatch.setattr("polytask.analysis.strategies.merge_ties._BLOCK", 7)
    assert torch.equal(direction("merge_ties", deltas_TP), whole_P)


def test_dare_drops_and_scales_up_what_is_left() -> None:
    delta_P = torch.full((10_000,), 3.0)
    found_P = drop_and_rescale(delta_P, 0.75, torch.Generator().manual_seed(0))
    assert set(found_P.tolist()) == {0.0, 12.0}  # 1 / (1 - 0.75) = 4 times as large
    kept = float((found_P > 0).float().mean())
    assert kept == pytest.approx(0.25, abs=0.02)  # 4 standard errors of 0.0043
    assert float(found_P.mean()) == pytest.approx(3.0, abs=0.21)


def test_dare_keeps_the_expectation_of_every_number() -> None:
    generator = torch.Generator().manual_seed(1)
    delta_P = torch.tensor([1.0, -2.0, 0.5])
    draws = [drop_and_rescale(delta_P, 0.5, generator) for _ in range(4000)]
    error = 4 * 2.0 / 4000**0.5  # a kept or dropped 2 varies by 2
    assert torch.stack(draws).mean(0).tolist() == pytest.approx(delta_P.tolist(), abs=error)


def test_dare_depends_on_the_seed_and_on_nothing_else() -> None:
    deltas_TP = torch.ones(2, 200)
    torch.manual_seed(1)
    once_P = direction("merge_dare", deltas_TP, seed=5)
    torch.manual_seed(2)
    assert torch.equal(direction("merge_dare", deltas_TP, seed=5), once_P)
    assert not torch.equal(direction("merge_dare", deltas_TP, seed=6), once_P)
    assert {0.0, 10.0, 20.0} >= {round(value, 4) for value in once_P.tolist()}
    assert 0.0 < float((once_P.round() == 20).float().mean()) < 0.1  # drawn task by task


@pytest.mark.parametrize("kind", MERGING)
def test_one_changed_number_of_one_task_stays_where_it_is(kind: str) -> None:
    deltas_TP = torch.zeros(2, 40)
    deltas_TP[1, 7] = -2.0
    places = {
        int(place) for seed in range(40) for place in direction(kind, deltas_TP, seed).nonzero()
    }
    assert places == {7}


@pytest.mark.parametrize("kind", MERGING)
def test_the_usual_coefficient_comes_first_and_none_twice(kind: str) -> None:
    strategy = strategies.part(kind)
    assert issubclass(strategy, MergingStrategy)
    usual = {"merge_average": 1.0, "merge_ties": 1.0}.get(kind, 0.4)
    assert strategy.coefficients[0] == usual
    assert len(set(strategy.coefficients)) == len(strategy.coefficients)


def test_a_state_goes_into_a_vector_and_back() -> None:
    state = {
        "weight": torch.arange(6.0).view(2, 3),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "steps": torch.tensor(3),
    }
    names = common_names([state, {**state, "more": torch.ones(1)}])
    assert names == ["weight", "half"]
    vector_P = flatten(state, names)
    assert vector_P.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 1.0]
    back = unflatten(2 * vector_P, state, names)
    assert torch.equal(back["weight"], 2 * state["weight"])
    assert back["half"].dtype == torch.bfloat16
    assert back["half"].tolist() == [2.0, 2.0]
    assert back["steps"] is state["steps"]


def test_entries_of_other_shapes_are_not_common() -> None:
    states = [{"a": torch.ones(2), "b": torch.ones(3)}, {"a": torch.ones(2), "b": torch.ones(4)}]
    assert common_names(states) == ["a"]
