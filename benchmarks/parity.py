"""Whether several processes do the same as one, for every method, and what they send.

Small trainings of 20 steps with rows spread unevenly over the processes, a task absent in one step
and a process without rows in another. Given is the largest difference to one process in any
parameter, those that a method learns among them. ``sharded`` is a model after
``fully_shard``. Bytes are those that a process sends in a step where each of four has the rows of
one of four tasks, over those of DistributedDataParallel with a plain sum, for a model of 6,600
parameters of which 94 % are shared; numbers of its own that a method sends weigh less in larger
models.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from polytask.balancing import TaskLosses, balancers
from polytask.core.partition import infer_partition
from tests.distributed import worker
from tests.distributed.processes import group, run
from tests.distributed.test_bytes import TASKS, Count, Network

Results = dict[str, Tensor]
COLUMNS = [
    (False, 2, False), (False, 4, False), (False, 2, True), (True, 2, False), (True, 4, False)
]  # fmt: skip
"""Whether it computes in bf16, in how many processes, and sharded or not."""


def main() -> None:
    """Train everything, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="*", default=balancers.kinds())
    methods = parser.parse_args().methods
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        alone = {half: trained(methods, 1, folder, half=half) for half in (False, True)}
        differences = [
            compare(trained(methods, world, folder, half=half, sharded=sharded), alone[half])
            for half, world, sharded in COLUMNS
        ]
        run(TASKS, folder / "log", count, methods, folder)
        sent: dict[str, float] = json.loads((folder / "bytes.json").read_text())
    print("| | fp32: 2 | 4 | 2, sharded | bf16: 2 | 4 | bytes over DDP |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for method in methods:
        cells = [f"{found[method]:.0e}" for found in differences]
        print(f"| {method} | {' | '.join(cells)} | {sent[method]:.2f} |")


def trained(
    methods: list[str], world: int, folder: Path, *, half: bool, sharded: bool = False
) -> Results:
    """What the first process ends with."""
    train: Callable[..., Tensor] = partial(worker.train, half=half, sharded=sharded)
    cases: dict[str, worker.Case] = {method: partial(train, method) for method in methods}
    run(world, folder / "log", worker.work, cases, folder)
    results: Results = torch.load(folder / f"{world}-0.pt")
    return results


def compare(found: Results, expected: Results) -> dict[str, float]:
    """The largest difference of each method; the weights of the steps come after the parameters."""
    weights = worker.STEPS * worker.NUM_TASKS
    return {
        name: float((found[name] - value)[:-weights].abs().max())
        for name, value in expected.items()
    }


def count(methods: list[str], folder: Path) -> None:
    """As one of four processes: the bytes of a step of each method over those of DDP."""
    with group():
        rank, network = dist.get_rank(), Network()
        rows_BD = torch.randn(8, 50, generator=torch.Generator().manual_seed(rank))
        partition = infer_partition(network(rows_BD))
        counter = Count()
        wrapped = DistributedDataParallel(network)
        wrapped.register_comm_hook(None, allreduce_hook)
        torch.stack(wrapped(rows_BD)).sum().backward()
        plain, sent = counter.sent, {}
        for method in methods:
            counter.sent = 0.0
            balancer = balancers.build(method, TASKS)
            for sample in [0, 1] if balancer.needs & {"halves", "validation"} else [0]:
                own = TaskLosses([network(rows_BD)[rank]], [rank], torch.ones(1), sample)
                balancer.accumulate(own, partition)
            balancer.resolve(partition)
            sent[method] = counter.sent / plain
        if rank == 0:
            (folder / "bytes.json").write_text(json.dumps(sent))


if __name__ == "__main__":
    main()
