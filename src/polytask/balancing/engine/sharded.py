"""Task gradients of a model whose parameters FSDP2 has divided among the processes.

FSDP2 holds the parameters and gathers them; reducing gradients is left to this module, because
FSDP2 would add up the gradients of all tasks, and wait for ranks that have no row of a task.

From the first backward pass of a step to its end all parameters are whole on every rank. A pass
leaves one whole gradient, of which each rank at once keeps the share that belongs to its shards.
So of T tasks a rank holds T × P / R numbers, and the weighted sum of its share is the ``.grad``
of its shards as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import add

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, Shard
from torch.nn import Parameter
from typing_extensions import override

from polytask.balancing.engine.base import Gradients, TaskLosses, differentiate
from polytask.balancing.engine.exact import Exact
from polytask.core.distributed import rank, sum_over_ranks, world_size
from polytask.core.partition import Partition


class Shards:
    """The trainable parameters of a model in both forms: whole, as graphs have them, and sharded.

    :param model: Holds modules that ``fully_shard`` was applied to.
    :raises ValueError: If a trainable parameter is not sharded over all ranks.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = [module for module in model.modules() if isinstance(module, FSDPModule)]
        self.release()
        sharded = {name: p for name, p in model.named_parameters() if p.requires_grad}
        for name, parameter in sharded.items():
            _check(name, parameter)
        self.gather()
        whole = dict(model.named_parameters())
        self.release()
        self._pairs = {id(whole[name]): (whole[name], part) for name, part in sharded.items()}
        self._pairs |= {id(part): (whole[name], part) for name, part in sharded.items()}
        self.total = Total()
        """What is added up of gradients that are not looked at one by one."""

    def gather(self) -> None:
        """Make all parameters whole, and keep FSDP2 from reducing gradients. All ranks call it."""
        for module in self._modules:
            module.unshard()
            module.set_requires_gradient_sync(False, recurse=False)
            module.set_reshard_after_backward(False, recurse=False)

    def release(self) -> None:
        """Undo ``gather``."""
        for module in self._modules:
            module.reshard()
            module.set_requires_gradient_sync(True, recurse=False)
            module.set_reshard_after_backward(True, recurse=False)

    def columns(self, parameters: Sequence[Parameter]) -> ShardedColumns:
        """How the gradients of some parameters, whole or sharded, are divided.

        :raises ValueError: If one is not of this model.
        """
        strange = [parameter for parameter in parameters if id(parameter) not in self._pairs]
        if strange:
            raise ValueError(
                f"found {len(strange)} parameters in the partition that are not those of the "
                "sharded model: find the partition after fully_shard"
            )
        return ShardedColumns([self._pairs[id(parameter)] for parameter in parameters])

    def add(
        self, losses: Sequence[Tensor], scale_t: Tensor, parameters: Sequence[Parameter]
    ) -> None:
        """Add the gradient of a weighted sum of losses to the total; none on a rank without rows."""
        columns = self.columns(parameters)
        found: Gradients = [None] * len(columns.whole)
        if losses:
            found = differentiate(losses, scale_t, columns.whole)
        self.total.add(columns, found)

    def provider(self, num_tasks: int) -> Sharded:
        """What collects task gradients."""
        return Sharded(self, num_tasks)


def _check(name: str, parameter: Parameter) -> None:
    over_all = (
        isinstance(parameter, DTensor)
        and parameter.device_mesh.size() == world_size()
        and len(parameter.placements) == 1
        and isinstance(parameter.placements[0], Shard)
    )
    if not over_all:
        raise ValueError(
            f"{name}: expected every trainable parameter to be sharded over all "
            f"{world_size()} processes: call fully_shard(model) with a mesh of one dimension"
        )


class ShardedColumns:
    """The coordinates of n parameters, divided among R ranks as their shards are.

    :param pairs: Each parameter whole, and sharded.
    """

    def __init__(self, pairs: Sequence[tuple[Parameter, Parameter]]) -> None:
        self.whole = [whole for whole, _ in pairs]
        self._sharded = [sharded for _, sharded in pairs]
        self._dims = [sharded.placements[0].dim for sharded in self._sharded]  # type: ignore[attr-defined]
        self._ranks = world_size()
        sizes_nR = [self._sizes(place) for place in range(len(pairs))]
        ends_nR = [*accumulate(sizes_nR, lambda ends_R, sizes_R: [*map(add, ends_R, sizes_R)])]
        self._slices_nR = [
            [slice(end - size, end) for end, size in zip(ends_R, sizes_R, strict=True)]
            for ends_R, sizes_R in zip(ends_nR, sizes_nR, strict=True)
        ]
        self.width = max(ends_nR[-1]) if pairs else 0

    def scatter(self, gradients: Gradients) -> Tensor:
        """Add one gradient up over all ranks, each of which keeps its own columns, row_p.

        :param gradients: Of the whole parameters on this rank; None stands for zeros.
        """
        row_p = self._zeros(self.width)
        if self.width:
            sent_Rp = self._zeros(self._ranks, self.width)
            for place, gradient in enumerate(gradients):
                if gradient is not None:
                    self._put(sent_Rp, place, gradient)
            dist.reduce_scatter(row_p, [*sent_Rp])
        return row_p

    def own(self, flat_P: Tensor) -> Tensor:
        """The columns of this rank, row_p, of a flat gradient that all ranks have."""
        columns_Rp = self._zeros(self._ranks, self.width)
        for place, piece in enumerate(flat_P.split([whole.numel() for whole in self.whole])):
            self._put(columns_Rp, place, piece.view_as(self.whole[place]))
        return columns_Rp[rank()]

    def spread(self, rows_tp: Tensor) -> Tensor:
        """Flat gradients, rows_tP, with the columns of this rank, and zeros elsewhere."""
        pieces = []
        for place, whole in enumerate(self.whole):
            piece = rows_tp.new_zeros(len(rows_tp), *whole.shape)
            chunks = piece.chunk(self._ranks, self._dims[place] + 1)
            if rank() < len(chunks):
                own = chunks[rank()]
                own.copy_(rows_tp[:, self._slices_nR[place][rank()]].reshape(own.shape))
            pieces.append(piece.flatten(1))
        return torch.cat(pieces, 1) if pieces else rows_tp.new_zeros(len(rows_tp), 0)

    def give(self, row_p: Tensor, given: Sequence[bool]) -> None:
        """Add the columns of this rank to ``.grad`` of the sharded parameters.

        :param given: Which of the parameters get a gradient.
        """
        for place in [place for place, yes in enumerate(given) if yes]:
            sharded = self._sharded[place]
            assert isinstance(sharded, DTensor)
            local = sharded.to_local()
            own = row_p[self._slices_nR[place][rank()]].view_as(local).to(local.dtype, copy=True)
            gradient = DTensor.from_local(
                own, sharded.device_mesh, sharded.placements, run_check=False,
                shape=sharded.shape, stride=sharded.stride(),
            )  # fmt: skip
            sharded.grad = gradient if sharded.grad is None else sharded.grad + gradient

    def _put(self, columns_Rp: Tensor, place: int, gradient: Tensor) -> None:
        for owner, chunk in enumerate(gradient.chunk(self._ranks, self._dims[place])):
            columns_Rp[owner, self._slices_nR[place][owner]] = chunk.flatten().to(columns_Rp)

    def _sizes(self, place: int) -> list[int]:
        """Of one parameter, the numbers that each rank has."""
        whole, dim = self.whole[place], self._dims[place]
        across = whole.numel() // max(whole.shape[dim], 1)
        lengths = [len(part) for part in torch.arange(whole.shape[dim]).chunk(self._ranks)]
        return [across * length for length in (lengths + [0] * self._ranks)[: self._ranks]]

    def _zeros(self, *shape: int) -> Tensor:
        if not self.whole:
            return torch.zeros(*shape)
        dtype = torch.promote_types(self._sharded[0].dtype, torch.float32)
        return torch.zeros(*shape, dtype=dtype, device=self.whole[0].device)


class Total:
    """A gradient that is added up over the batches of a step, and over all ranks at once."""

    def __init__(self) -> None:
        self._columns: ShardedColumns | None = None

    def add(self, columns: ShardedColumns, gradients: Gradients) -> None:
        """Add what this rank found in one batch; every rank calls it as often."""
        if self._columns is None:
            self._columns, self._row_p = columns, columns.scatter(gradients)
            self._given_n = torch.zeros(len(gradients), device=self._row_p.device)
        else:
            self._row_p += columns.scatter(gradients)
        self._given_n += torch.tensor([found is not None for found in gradients]).to(self._given_n)

    def give(self) -> None:
        """Add it to ``.grad``, which stays None where no rank has one, and start anew."""
        if self._columns is not None:
            self._columns.give(self._row_p, sum_over_ranks(self._given_n).bool().tolist())
        self._columns = None


class Sharded(Exact):
    """A backward pass per task; a rank keeps its share of every task's gradient.

    All ranks take as many passes over as many batches: one without rows of a task adds zeros.
    """

    def __init__(self, shards: Shards, num_tasks: int) -> None:
        super().__init__()
        self._shards = shards
        self._num_tasks = num_tasks
        self._rows: dict[int, Tensor] = {}

    @override
    def add(self, losses: TaskLosses, partition: Partition) -> None:
        self._columns = self._shards.columns(partition.shared)
        private = self._shards.columns(partition.private)
        own: Gradients = [None] * len(private.whole)
        here_T = torch.zeros(self._num_tasks, device=losses.scale_t.device)
        here_T[[*losses.tasks]] = 1
        for task in sum_over_ranks(here_T).nonzero().flatten().tolist():
            found = self._pass(losses, task, [*self._columns.whole, *private.whole])
            row_p = self._columns.scatter(found[: len(self._columns.whole)])
            self._rows[task] = self._rows[task] + row_p if task in self._rows else row_p
            own = [*map(_plus, own, found[len(self._columns.whole) :])]
        if private.whole:
            self._shards.total.add(private, own)

    def _pass(self, losses: TaskLosses, task: int, parameters: Sequence[Parameter]) -> Gradients:
        if task not in losses.tasks:
            return [None] * len(parameters)
        place = losses.tasks.index(task)
        return differentiate(
            [losses.values[place]], losses.scale_t[[place]], parameters,
            keep=task != max(losses.tasks),
        )  # fmt: skip

    @override
    def jacobian(self, tasks: Sequence[int]) -> Tensor:
        return self._columns.spread(self.shard(tasks))

    @override
    def shard(self, tasks: Sequence[int]) -> Tensor:
        zeros_p = torch.zeros_like(next(iter(self._rows.values())))
        return torch.stack([self._rows.get(task, zeros_p) for task in tasks])

    @override
    def weigh(self, weights_t: Tensor, tasks: Sequence[int], partition: Partition) -> None:
        shard_tp = self.shard(tasks)
        self._give(weights_t.to(shard_tp) @ shard_tp)

    @override
    def write(self, gradient_P: Tensor, partition: Partition) -> None:
        self._give(self._columns.own(gradient_P))

    def _give(self, row_p: Tensor) -> None:
        self._columns.give(row_p, [True] * len(self._columns.whole))
        self._shards.total.give()

    @override
    def forget(self) -> None:
        self._rows = {}


def _plus(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
