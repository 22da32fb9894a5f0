"""What cannot be right in several processes says so on all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard

from polytask.balancing import balancers
from polytask.core.errors import RecipeError
from polytask.core.partition import infer_partition
from tests.distributed.processes import group, run
from tests.distributed.worker import NUM_TASKS, Network, Rows, shard


def refuse() -> None:
    with group():
        rows, network = Rows.of(0), Network()
        for gradients in ("streamed", "features", "last_layer"):
            losses = [*rows.losses(network).values()]
            balancer = balancers.build({"kind": "pcgrad", "gradients": gradients}, NUM_TASKS)
            with pytest.raises(RecipeError, match=f"found '{gradients}'.*one process only"):
                balancer.backward(losses, infer_partition(losses))
        losses = [*rows.losses(network).values()]
        own = [None if task == dist.get_rank() else loss for task, loss in enumerate(losses)]
        with pytest.raises(ValueError, match="a task that only some ranks have losses for"):
            balancers.build("equal", NUM_TASKS).backward(own)


def refuse_sharded() -> None:
    with group():
        rows, plain, partly = Rows.of(0), Network(), Network()
        fully_shard(partly.branch)
        with pytest.raises(
            ValueError, match=r"trunk\.0\.weight: expected every trainable parameter"
        ):
            balancers.build("equal", NUM_TASKS).attach(partly)
        with pytest.raises(ValueError, match=r"call balancer\.attach\(model\) after fully_shard"):
            balancers.build("equal", NUM_TASKS).backward([*rows.losses(plain).values()])
        network = shard(Network())
        losses = [*rows.losses(network).values()]
        for gradients in ("streamed", "features", "last_layer"):
            balancer = balancers.build({"kind": "pcgrad", "gradients": gradients}, NUM_TASKS)
            balancer.attach(network)
            with pytest.raises(RecipeError, match=f"found '{gradients}' and a sharded model"):
                balancer.backward(losses)
        balancer = balancers.build("equal", NUM_TASKS)
        balancer.attach(network)
        with pytest.raises(ValueError, match="find the partition after fully_shard"):
            balancer.backward(losses, infer_partition([*rows.losses(plain).values()]))


@pytest.mark.parametrize("refusals", [refuse, refuse_sharded])
def test_refusals(refusals: Callable[[], None], tmp_path: Path) -> None:
    run(2, tmp_path / "log", refusals)
