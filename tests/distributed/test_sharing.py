"""Two processes update every architecture as one does, wherever the rows of its tasks are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from polytask.balancing import Balancer, balancers
from polytask.core.batch import Batch
from polytask.sharing import architectures
from tests.contracts.test_sharing_engine import NAMES, Ones, batch, new_model, update
from tests.distributed import worker
from tests.distributed.processes import run
from tests.thinning import pairs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

METHODS: dict[str, Callable[[], Balancer]] = {
    "plain sum": lambda: balancers.build("equal", len(NAMES)),
    "task gradients": lambda: Ones(len(NAMES)),
}
KINDS = architectures.kinds()
ROWS_OF_RANK = [[0, 3], [1, 2, 4]]
"""The first rank has no rows of the second and the third task where each row has one label."""


def own(whole: Batch, rank: int, world: int) -> Batch:
    return whole if world == 1 else whole.select(torch.tensor(ROWS_OF_RANK[rank]))


def updated(kind: str, method: str, rank: int, world: int) -> Tensor:
    """What is taken off all parameters, first with a label a row, then with some labels missing."""
    steps: list[Tensor] = []
    for labels in ("a data set per task", "labels missing"):
        part = own(batch(labels), rank, world)
        steps += update(new_model(kind), METHODS[method](), part).values()
    return worker.flat(steps)


def cases(full: bool) -> dict[str, worker.Case]:
    return {
        f"{kind}, {method}": partial(updated, kind, method)
        for at, kind in enumerate(KINDS)
        for place, method in enumerate(METHODS)
        if full or at % len(METHODS) == place
    }


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, list[dict[str, Tensor]]]:
    folder, full = tmp_path_factory.mktemp("sharing"), request.config.getoption("full")
    for world in (1, 2):
        run(world, folder / f"{world}.log", worker.work, cases(full), folder)
    return {
        world: [torch.load(folder / f"{world}-{rank}.pt") for rank in range(world)]
        for world in (1, 2)
    }


@pytest.mark.parametrize(("kind", "method"), pairs(KINDS, [*METHODS]))
def test_two_processes_do_what_one_does(
    kind: str, method: str, results: dict[int, list[dict[str, Tensor]]]
) -> None:
    [alone] = results[1]
    name = f"{kind}, {method}"
    assert alone[name].any()
    for found in results[2]:
        assert_close(found[name], alone[name], rtol=1e-4, atol=1e-6)
