"""What cannot be right in several processes says so on all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.distributed as dist

from polytask.balancing import balancers
from polytask.core.errors import RecipeError
from polytask.core.partition import found_partition
from tests.distributed.processes import group, run
from tests.distributed.worker import NUM_TASKS, Network, Rows


def refuse() -> None:
    with group():
        rows, network = Rows.of(0), Network()
        for gradients in ("streamed", "features", "last_layer"):
            losses = [*rows.losses(network).values()]
            balancer = balancers.build({"kind": "pcgrad", "gradients": gradients}, NUM_TASKS)
            with pytest.raises(RecipeError, match=f"found '{gradients}'.*one process only"):
                balancer.backward(losses, found_partition(losses))
        losses = [*rows.losses(network).values()]
        own = [None if task == dist.get_rank() else loss for task, loss in enumerate(losses)]
        with pytest.raises(ValueError, match="a task that only some ranks have losses for"):
            balancers.build("equal", NUM_TASKS).backward(own)


def test_refusals(tmp_path: Path) -> None:
    run(2, tmp_path / "log", refuse)
