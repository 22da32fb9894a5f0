"""What a step sends from each rank, if each has the rows of one task, beside plain DDP.

Counted are the tensors that are handed to the collectives, by the algorithms that send the least:
in an all-gather of n bytes and in an all-to-all, a rank sends what others lack; an all-reduce is a
reduce-scatter and an all-gather.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from polytask.balancing import balancers
from polytask.core.partition import infer_partition
from tests.distributed.processes import group, run

TASKS = 4


def size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


class Count:
    """Bytes that this rank has sent."""

    def __init__(self) -> None:
        self.sent = 0.0
        for name in ("all_reduce", "all_gather", "all_to_all_single"):
            setattr(dist, name, partial(self._call, name, getattr(dist, name)))

    def all_reduce(self, values: Tensor) -> None:
        self.sent += 2 * size(values) * (TASKS - 1) / TASKS

    def all_gather(self, pieces: list[Tensor], piece: Tensor) -> None:
        self.sent += size(piece) * (TASKS - 1)

    def all_to_all_single(self, received: Tensor, sent: Tensor, *splits: list[int]) -> None:
        own = splits[1][dist.get_rank()] * sent.shape[1] * sent.element_size()
        self.sent += size(sent) - own

    def _call(
        self, name: str, collective: Callable[..., object], *arguments: Any, **options: Any
    ) -> object:
        getattr(self, name)(*arguments)
        return collective(*arguments, **options)


class Network(nn.Module):
    """Most parameters are shared."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(50, 61), nn.Tanh(), nn.Linear(61, 50), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(50, 2) for _ in range(TASKS))

    def forward(self, rows_BD: Tensor) -> list[Tensor]:
        hidden_BD = self.trunk(rows_BD)
        return [head(hidden_BD).square().mean() for head in self.heads]


def differentiate_plainly(network: Network, rows_BD: Tensor) -> None:
    """By plain DDP, which is gone before the group that it belongs to."""
    wrapped = DistributedDataParallel(network)
    wrapped.register_comm_hook(None, allreduce_hook)  # what it does anyway, seen from Python
    torch.stack(wrapped(rows_BD)).sum().backward()


def work(kind: str, folder: Path) -> None:
    with group():
        rank, network = dist.get_rank(), Network()
        rows_BD = torch.randn(8, 50, generator=torch.Generator().manual_seed(rank))
        count = Count()
        differentiate_plainly(network, rows_BD)
        plain, count.sent = count.sent, 0.0
        losses = network(rows_BD)
        own = [loss if task == rank else None for task, loss in enumerate(losses)]
        network.zero_grad()
        balancers.build(kind, TASKS).backward(own, infer_partition(losses))
        (folder / f"{rank}.json").write_text(json.dumps([plain, count.sent]))


@pytest.mark.parametrize("kind", ["equal", "mgda"])
def test_a_rank_sends_little_more_than_with_plain_ddp(kind: str, tmp_path: Path) -> None:
    run(TASKS, tmp_path / "log", work, kind, tmp_path)
    number = sum(parameter.numel() for parameter in Network().parameters())
    for rank in range(TASKS):
        plain, sent = json.loads((tmp_path / f"{rank}.json").read_text())
        assert plain == 4 * number * 2 * (TASKS - 1) / TASKS
        assert plain < sent < 1.1 * plain
