"""``auto`` takes the fewest passes that memory has room for, the same in every run."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from polytask.balancing import balancers
from polytask.balancing.engine import Exact
from polytask.balancing.engine.cost import Cost, cheapest, costs
from polytask.core.partition import found_partition
from tests.contracts.test_grouped_gradients import ROWS, Bert, Mixed, Words, ids, made, step

SHARED = [nn.Parameter(torch.zeros(3, 5)), nn.Parameter(torch.zeros(10))]


def test_costs_are_counted() -> None:
    alone = costs(4, SHARED, rows_alone=True, layers_seen=True)
    assert alone == {"grouped": Cost(1, 60), "exact": Cost(1, 100), "streamed": Cost(5, 60)}
    together = costs(4, SHARED, rows_alone=False, layers_seen=True)
    assert together == {"exact": Cost(4, 100), "streamed": Cost(5, 60)}
    unseen = costs(4, SHARED, rows_alone=True, layers_seen=False)
    assert unseen == {"exact": Cost(1, 100), "streamed": Cost(5, 60)}
    assert cheapest(costs(4, [], rows_alone=False, layers_seen=True), 0) == "exact"


@pytest.mark.parametrize(("room", "kind"), [(1600, "exact"), (1599, "streamed"), (0, "streamed")])
def test_passes_are_saved_where_there_is_room(room: int, kind: str) -> None:
    assert cheapest(costs(4, SHARED, rows_alone=False, layers_seen=True), room) == kind


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
    monkeypatch.setattr("polytask.balancing.base.memory", lambda device: room)
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
    monkeypatch.setattr("polytask.balancing.base.memory", lambda device: 0)
    model, balancer = made(Words, "auto", "modo")
    assert balancer.needs
    partition = found_partition(model.losses(ids(1)))
    assert balancer.prepare(partition, rows_alone=True) == Exact.layout
