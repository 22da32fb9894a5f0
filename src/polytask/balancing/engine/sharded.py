"""Task gradients of a model whose parameters FSDP2 has sharded.

FSDP2 stores and gathers the parameters. This module reduces the gradients, because FSDP2 would sum
the gradients of all tasks, and wait for ranks that have no rows of a task.

From the first backward pass of a step to its end, all parameters are whole on every rank. Each pass
gives one whole gradient, which is reduce-scattered at once: each rank keeps the part of its shards.
So a rank holds T × P / R numbers for T tasks. Their weighted sum is the ``.grad`` of its shards.
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

from polytask.balancing.engine.base import Gradients, TaskLosses, add_optional, differentiate
from polytask.balancing.engine.exact import Exact
from polytask.core.distributed import rank, sum_over_ranks, world_size
from polytask.core.partition import Partition


class Shards:
    """The trainable parameters of a model, both whole, as in graphs, and sharded.

    :param model: A model after ``fully_shard``.
    :raises ValueError: If a trainable parameter is not sharded over all ranks.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = [module for module in model.modules() if isinstance(module, FSDPModule)]
        self.release()  # a forward pass before may have left parameters whole
        sharded = {name: p for name, p in model.named_parameters() if p.requires_grad}
        for name, parameter in sharded.items():
            _check(name, parameter)
        self.gather()
        whole = dict(model.named_parameters())
        self.release()
        # FSDP2 swaps the parameters of modules between the two forms, but keeps the objects of each
        # form. So ids stay valid, and either form finds its pair.
        self._pairs = {id(whole[name]): (whole[name], part) for name, part in sharded.items()}
        self._pairs |= {id(part): (whole[name], part) for name, part in sharded.items()}
        self.total = Total()
        """The sum of gradients that no method compares by task."""

    def gather(self) -> None:
        """Make all parameters whole, and stop FSDP2 from reducing gradients. All ranks must call it."""
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
        """Return the division of gradients of ``parameters``, whole or sharded, among the ranks.

        :raises ValueError: If a parameter does not belong to the model.
        """
        strange = [parameter for parameter in parameters if id(parameter) not in self._pairs]
        if strange:
            raise ValueError(
                f"found {len(strange)} parameters in the partition that do not belong to the "
                "sharded model: find the partition after fully_shard"
            )
        return ShardedColumns([self._pairs[id(parameter)] for parameter in parameters])

    def add(
        self, losses: Sequence[Tensor], scale_t: Tensor, parameters: Sequence[Parameter]
    ) -> None:
        """Add the gradient of a weighted sum of losses to the total; zeros on a rank without rows."""
        columns = self.columns(parameters)
        found: Gradients = [None] * len(columns.whole)
        if losses:
            found = differentiate(losses, scale_t, columns.whole)
        self.total.add(columns, found)

    def provider(self, num_tasks: int) -> Sharded:
        """Return a provider of task gradients."""
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
    """The division of n parameters' coordinates among R ranks, as in their shards.

    :param pairs: Each parameter in both forms, whole and sharded.
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
        # Ranks may own columns of different number; all use the largest, as collectives need it.
        self.width = max(ends_nR[-1]) if pairs else 0

    def scatter(self, gradients: Gradients) -> Tensor:
        """Sum one gradient over all ranks, and return this rank's columns, row_p.

        :param gradients: Gradients of the whole parameters on this rank; None stands for zeros.
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
        """Return this rank's columns, row_p, of a flat gradient that all ranks have."""
        columns_Rp = self._zeros(self._ranks, self.width)
        for place, piece in enumerate(flat_P.split([whole.numel() for whole in self.whole])):
            self._put(columns_Rp, place, piece.view_as(self.whole[place]))
        return columns_Rp[rank()]

    def spread(self, rows_tp: Tensor) -> Tensor:
        """Return flat gradients, rows_tP, with the columns of this rank and zeros elsewhere."""
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

        :param given: For each parameter, whether it receives a gradient.
        """
        for place in [place for place, yes in enumerate(given) if yes]:
            sharded = self._sharded[place]
            assert isinstance(sharded, DTensor)
            local = sharded.to_local()
            # A copy, since clipping and optimisers change .grad in place while the row is still used.
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
        """Return how many numbers of one parameter each rank has."""
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
    """A gradient summed over the batches of a step and over all ranks."""

    def __init__(self) -> None:
        self._columns: ShardedColumns | None = None

    def add(self, columns: ShardedColumns, gradients: Gradients) -> None:
        """Add the gradients of one batch. All ranks must call it equally often."""
        if self._columns is None:
            self._columns, self._row_p = columns, columns.scatter(gradients)
            self._given_n = torch.zeros(len(gradients), device=self._row_p.device)
        else:
            self._row_p += columns.scatter(gradients)
        self._given_n += torch.tensor([found is not None for found in gradients]).to(self._given_n)

    def give(self) -> None:
        """Add the sum to ``.grad``, which stays None if no rank has a gradient, and reset it."""
        if self._columns is not None:
            self._columns.give(self._row_p, sum_over_ranks(self._given_n).bool().tolist())
        self._columns = None


class Sharded(Exact):
    """One backward pass per task; each rank keeps its columns of every task's gradient.

    All ranks make equally many passes over equally many batches, in the order of the tasks: each
    pass ends with a collective. A rank without rows of a task adds zeros.
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
        # The tasks of any rank, so that all ranks scatter the same tasks in the same order.
        here_T = torch.zeros(self._num_tasks, device=losses.scale_t.device)
        here_T[[*losses.tasks]] = 1
        for task in sum_over_ranks(here_T).nonzero().flatten().tolist():
            found = self._pass(losses, task, [*self._columns.whole, *private.whole])
            row_p = self._columns.scatter(found[: len(self._columns.whole)])
            self._rows[task] = self._rows[task] + row_p if task in self._rows else row_p
            own = [*map(add_optional, own, found[len(self._columns.whole) :])]
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
