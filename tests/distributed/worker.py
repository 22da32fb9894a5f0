"""Small trainings, each rank with rows of its own; what they end with is written to a file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from polytask.balancing import Balancer, TaskLosses, balancers
from polytask.balancing.engine import MeanLosses
from polytask.core.partition import Partition, infer_partition
from tests.distributed.processes import group

NUM_TASKS, ROWS, STEPS = 3, 12, 10
ABSENT_STEP, IDLE_STEP = 3, 5
"""In one step no row has a label for the last task; in another the last rank has no rows."""

Options = str | dict[str, Any]


class Network(nn.Module):
    """A trunk, a branch that two tasks share, and a head per task.

    :param half: Whether it computes in bf16.
    """

    def __init__(self, *, half: bool = False) -> None:
        super().__init__()
        self.bf16 = half
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4))
        self.branch = nn.Linear(4, 4)
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(NUM_TASKS))

    def forward(self, rows_BD: Tensor) -> list[Tensor]:
        with torch.autocast(rows_BD.device.type, torch.bfloat16, enabled=self.bf16):
            low_BD = self.trunk(rows_BD).tanh()
            high_BD = self.branch(low_BD).tanh()
            features = [low_BD, high_BD, high_BD]
            return [head(f).float() for head, f in zip(self.heads, features, strict=True)]


@dataclass(frozen=True)
class Rows:
    """Rows with a number for each task, and which of them are known."""

    rows_BD: Tensor
    targets_BT: Tensor
    known_BT: Tensor

    @classmethod
    def of(cls, seed: int) -> Rows:
        """The rows of all ranks."""
        generator = torch.Generator().manual_seed(seed)
        rows_BD = torch.randn(ROWS, 5, generator=generator)
        targets_BT = rows_BD[:, :NUM_TASKS].roll(1, dims=1).cumsum(1).sin() + 1.5
        known_BT = torch.rand(ROWS, NUM_TASKS, generator=generator) < 0.5
        known_BT[torch.arange(NUM_TASKS), torch.arange(NUM_TASKS)] = True
        return cls(rows_BD, targets_BT, known_BT)

    def part(self, chosen_B: Tensor) -> Rows:
        """Some of them."""
        return Rows(self.rows_BD[chosen_B], self.targets_BT[chosen_B], self.known_BT[chosen_B])

    def to(self, device: str) -> Rows:
        """The same rows on another device."""
        return Rows(self.rows_BD.to(device), self.targets_BT.to(device), self.known_BT.to(device))

    def losses(self, model: nn.Module) -> dict[int, Tensor]:
        """The mean loss of each task that has a label; a rank without any calls the model, too."""
        found = zip(model(self.rows_BD), self.targets_BT.T, self.known_BT.T, strict=True)
        return {
            task: (scores_B1[:, 0] - targets_B)[known_B].square().mean()
            for task, (scores_B1, targets_B, known_B) in enumerate(found)
            if known_B.any()
        }


@cache
def steps(rank: int, world: int) -> list[list[Rows]]:
    """The rows of a rank in each step: two batches of sample 0, and as many of sample 1."""
    found = []
    for step in range(STEPS):
        batches = [Rows.of(10 * step + number) for number in range(4)]
        if step == ABSENT_STEP:
            for rows in batches:
                rows.known_BT[:, -1] = False
        owner_B = torch.randint(world, (ROWS,), generator=torch.Generator().manual_seed(step))
        if step == IDLE_STEP:
            owner_B[owner_B == world - 1] = 0
        found.append([rows.part(owner_B == rank) for rows in batches])
    return found


def present(model: nn.Module, rows: Rows, sample: int) -> TaskLosses:
    """The losses of one batch with their shares of all rows of the step."""
    losses = rows.losses(model)
    counts_t = rows.known_BT.sum(0)[[*losses]]
    return TaskLosses([*losses.values()], [*losses], counts_t / (2 * ROWS), sample)


def do_step(
    model: nn.Module,
    balancer: Balancer,
    partition: Partition,
    batches: Sequence[Rows],
    learned: Sequence[nn.Parameter],
) -> Tensor:
    """Accumulate, resolve, descend, and tell the method what it wants to know."""
    clear(learned)
    tally = MeanLosses(NUM_TASKS)
    for rows in batches[:2]:
        losses = present(model, rows, 0)
        tally.add(losses)
        balancer.accumulate(losses, partition)
    for rows in batches[2:] if balancer.needs & {"halves", "validation"} else []:
        balancer.accumulate(present(model, rows, 1), partition)
    weights_T = balancer.resolve(partition)
    descend(learned)
    active_t, losses_t = tally.means()
    if "losses_after" in balancer.needs:
        after = MeanLosses(NUM_TASKS)
        for rows in batches[:2]:
            after.add(present(model, rows, 0))
        balancer.after(after.means()[1], active_t)
    known = dict(zip(active_t.tolist(), losses_t.tolist(), strict=True))
    balancer.tell({"step": int(balancer.draws), "epoch": int(balancer.draws) // 4, "losses": known})
    return weights_T


def clear(parameters: Iterable[nn.Parameter]) -> None:
    """Forget the gradients of the last step."""
    for parameter in parameters:
        parameter.grad = None


def descend(parameters: Iterable[nn.Parameter]) -> None:
    """A step of plain gradient descent."""
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.sub_(0.05 * parameter.grad)


def train(
    options: Options,
    rank: int,
    world: int,
    *,
    wrapped: bool = False,
    sharded: bool = False,
    half: bool = False,
    device: str = "cpu",
) -> Tensor:
    """All parameters after the last step, with the weights that tasks received on the way."""
    network = Network(half=half).to(device)
    network = shard(network) if sharded else network
    partition = infer_partition([*Rows.of(0).to(device).losses(network).values()])
    model = DistributedDataParallel(network) if wrapped else network
    torch.manual_seed(7)
    balancer = balancers.build(options, NUM_TASKS).to(device)
    balancer.attach(network)
    learned = [*network.parameters(), *balancer.parameters()]
    weights = [
        do_step(model, balancer, partition, [rows.to(device) for rows in batches], learned)
        for batches in steps(rank, world)
    ]
    return flat([*learned, *weights])


def shard(network: Network) -> Network:
    """FSDP2 gathers the branch for itself, and all the rest together."""
    fully_shard(network.branch)
    fully_shard(network)
    return network


def flat(values: Iterable[Tensor]) -> Tensor:
    """All numbers of some tensors, sharded or not, on the CPU."""
    whole = (value.full_tensor() if isinstance(value, DTensor) else value for value in values)
    return torch.cat([value.detach().cpu().flatten() for value in whole])


def train_plainly(
    options: Options, ranks: Sequence[int], world: int, *, sharded: bool = False
) -> Tensor:
    """A loop with one mean loss per task; of several ranks in one process, the mean of theirs."""
    network = shard(Network()) if sharded else Network()
    partition = infer_partition([*Rows.of(0).losses(network).values()])
    torch.manual_seed(7)
    balancer = balancers.build(options, NUM_TASKS)
    balancer.attach(network)
    learned = [*network.parameters()]
    for own in zip(*(steps(rank, world) for rank in ranks), strict=True):
        found = [batches[0].losses(network) for batches in own]
        of_task = [
            [losses[task] for losses in found if task in losses] for task in range(NUM_TASKS)
        ]
        clear(learned)
        balancer.backward(
            [torch.stack(each).mean() if each else None for each in of_task], partition
        )
        descend(learned)
    return flat(learned)


Case = Callable[[int, int], Tensor]


def work(cases: dict[str, Case], folder: Path, backend: str = "gloo") -> None:
    """Do all cases as one of several ranks; keep the results of each rank."""
    warnings.simplefilter("error")
    with group(backend):
        rank, world = dist.get_rank(), dist.get_world_size()
        found = {name: case(rank, world) for name, case in cases.items()}
        torch.save(found, folder / f"{world}-{rank}.pt")
