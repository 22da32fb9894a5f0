"""``auto`` takes the fewest passes that memory has room for, the same in every run."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from polytask.balancing import balancers
from polytask.balancing.engine import Exact, Recorder
from polytask.balancing.engine.cost import Cost, choose_cheapest, count_costs
from polytask.core.partition import infer_partition
from tests.contracts.test_grouped_gradients import ROWS, Bert, Mixed, Words, ids, made, step

SHARED = [nn.Parameter(torch.zeros(3, 5)), nn.Parameter(torch.zeros(10))]


def test_costs_are_counted() -> None:
    alone = count_costs(4, SHARED, exclusive_rows=True, activations=7)
    exact, streamed = Cost(1, 200, 100), Cost(5, 200, 60)
    assert alone == {"grouped": Cost(1, 7, 67), "exact": exact, "streamed": streamed}
    unseen = count_costs(4, SHARED, exclusive_rows=True, activations=None)
    assert unseen == {"exact": exact, "streamed": streamed}
    together = count_costs(4, SHARED, exclusive_rows=False, activations=7)
    assert together == {"exact": Cost(4, 200, 100), "streamed": streamed}
    assert choose_cheapest(count_costs(4, [], exclusive_rows=False, activations=None), 0) == "exact"


@pytest.mark.parametrize(("room", "kind"), [(1600, "exact"), (1599, "streamed"), (0, "streamed")])
def test_passes_are_saved_where_there_is_room(room: int, kind: str) -> None:
    assert (
        choose_cheapest(count_costs(4, SHARED, exclusive_rows=False, activations=None), room)
        == kind
    )


@pytest.mark.parametrize(
    ("activations", "kind"), [(0, "grouped"), (199, "grouped"), (201, "exact")]
)
def test_of_two_that_take_one_pass_the_one_that_moves_less(activations: int, kind: str) -> None:
    counted = count_costs(4, SHARED, exclusive_rows=True, activations=activations)
    assert choose_cheapest(counted, 2**40) == kind


def test_the_numbers_that_go_through_a_model_are_counted() -> None:
    """A table of width 6, a norm, two linear layers and three heads."""
    assert Recorder(Words()).width == 6 + 12 + 12 + 11 + len(ROWS) * 7


def test_a_step_of_many_rows_is_divided_among_the_tasks() -> None:
    model, automatic = made(Words, "auto")
    partition = infer_partition(model.losses(ids(1)))
    layouts = [automatic.prepare(partition, exclusive_rows=True, tokens=n) for n in (0, 5, 1000)]
    assert layouts == ["sorted", "sorted", "apart"]


@pytest.mark.parametrize(
    ("kind", "alone", "room", "provider"),
    [
        (Bert, True, 2**40, "grouped"),
        (Mixed, True, 2**40, "exact"),
        (Words, False, 2**40, "exact"),
        (Words, False, 0, "streamed"),
        (Mixed, True, 0, "streamed"),
    ],
)
def test_whatever_is_chosen_gives_the_same_numbers(
    kind: type[Words], alone: bool, room: int, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polytask.balancing.base.total_memory", lambda device: room)
    model, automatic = made(kind, "auto")
    exact_model, exact = made(kind, "exact")
    for seed in (1, 2):
        found = step(automatic, model, seed, rows=ROWS if alone else None)
        assert automatic.provider == provider
        assert_close(found, step(exact, exact_model, seed, rows=None), rtol=1e-4, atol=1e-6)


def test_what_it_took_is_measured() -> None:
    model, automatic = made(Words, "auto")
    found = [automatic.provider_seconds]
    step(automatic, model, 1, rows=ROWS)
    found.append(automatic.provider_seconds)
    assert found[0] is None
    assert found[1]
    assert 0 < found[1] < 60
    assert balancers.build("equal", len(ROWS)).provider_seconds is None


def test_methods_that_compare_two_samples_keep_every_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("polytask.balancing.base.total_memory", lambda device: 0)
    model, balancer = made(Words, "auto", "modo")
    assert balancer.needs
    partition = infer_partition(model.losses(ids(1)))
    assert balancer.prepare(partition, exclusive_rows=True) == Exact.layout
