"""One, two and four processes do the same, whatever the method, wherever the rows are."""

from __future__ import annotations

from functools import partial
from itertools import chain, product

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from polytask.balancing import balancers
from tests.distributed import worker
from tests.distributed.processes import run
from tests.thinning import only

Results = dict[int, list[dict[str, Tensor]]]
"""By number of processes and rank: what each case has ended with."""

KINDS = [k for k in balancers.kinds() if balancers.part(k).__module__.startswith("polytask.")]
OPTIONS: dict[str, worker.Options] = {
    **{kind: kind for kind in KINDS},
    "every third step": {"kind": "pcgrad", "every": 3},
    "with a loss method": {"kind": "pcgrad", "losses": "uncertainty"},
}
WRAPPED = ["equal", "pcgrad", "moco"]
SHARDED = ["equal", "pcgrad", "moco", "modo", "auto_lambda", "famo"]
"""With two processes, all methods are where ``full``."""
PLAIN = ["equal", "uncertainty", "pcgrad", "moco"]
FEW = ["pcgrad", "moco"]
"""With four processes, where some have nothing of small parameters: only these unless ``full``."""
WORLDS = [1, 2, 4]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def cases(world: int, *, full: bool) -> dict[str, worker.Case]:
    """What is done by as many processes."""
    few = world == 4 and not full
    found: dict[str, worker.Case] = {
        name: partial(worker.train, options)
        for name, options in OPTIONS.items()
        if not few or name in FEW
    }
    if world == 1:
        return found
    for name in FEW if few else OPTIONS if world == 2 and full else SHARDED:
        found[f"{name} sharded"] = partial(worker.train, OPTIONS[name], sharded=True)
    for name in FEW if few else WRAPPED:
        found[f"{name} wrapped"] = partial(worker.train, name, wrapped=True)
    for name in FEW if few else PLAIN:
        found[f"{name} plainly"] = partial(plainly, name)
        found[f"{name} plainly, sharded"] = partial(plainly, name, sharded=True)
    return found


def plainly(name: str, rank: int, world: int, *, sharded: bool = False) -> Tensor:
    return worker.train_plainly(name, [rank], world, sharded=sharded)


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder, full = tmp_path_factory.mktemp("parity"), request.config.getoption("full")
    for world in WORLDS:
        run(world, folder / f"{world}.log", worker.work, cases(world, full=full), folder)
    return {
        world: [torch.load(folder / f"{world}-{rank}.pt") for rank in range(world)]
        for world in WORLDS
    }


def test_the_rows_are_spread_unevenly() -> None:
    for world in (2, 4):
        batches = [[*chain(*worker.steps(rank, world))] for rank in range(world)]
        counts = torch.tensor([[rows.known_BT.sum(0).tolist() for rows in own] for own in batches])
        assert (counts == 0).any(0).any()
        assert (counts.amax(0) != counts.amin(0)).any()
        assert not counts.sum(2)[-1].all()


@pytest.mark.parametrize("name", OPTIONS)
def test_every_number_of_processes_gives_the_same_parameters(name: str, results: Results) -> None:
    [alone] = results[1]
    assert alone[name].isfinite().all()
    cases = {name, f"{name} wrapped", f"{name} sharded"}
    for world in WORLDS[1:]:
        for found in results[world]:
            for case in cases & found.keys():
                assert_close(found[case], alone[name], rtol=1e-5, atol=1e-5, msg=case)


@pytest.mark.parametrize(
    ("name", "world"),
    only([*product(PLAIN, [2]), *product(FEW, [4])], [*product(PLAIN, WORLDS[1:])]),
)
def test_a_plain_loop_takes_the_mean_over_the_ranks_that_have_a_task(
    name: str, world: int, results: Results
) -> None:
    expected = worker.train_plainly(name, range(world), world)
    for found in results[world]:
        for case in (f"{name} plainly", f"{name} plainly, sharded"):
            assert_close(found[case], expected, rtol=0, atol=1e-5)
