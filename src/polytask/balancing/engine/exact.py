"""One row per task in a buffer of T × P numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter
from typing_extensions import override

from polytask.balancing.engine.base import (
    Gradients,
    TaskGradients,
    TaskLosses,
    add_gradients,
    inner_products,
)
from polytask.balancing.engine.recorder import Recorder
from polytask.core.distributed import (
    gather_columns,
    scatter_columns,
    sum_over_ranks,
    world_size,
)
from polytask.core.partition import Partition


class Exact(TaskGradients):
    """A backward pass per task over the rows that it reads; every number is kept.

    In several processes each adds up, and looks at, the columns of its own share of P.
    """

    layout = "apart"

    def __init__(self, recorder: Recorder | None = None) -> None:
        super().__init__(recorder)
        self._tasks: list[int] = []
        self._buffer_TP = torch.empty(0, 0)
        self._shard_tp: Tensor | None = None

    @override
    def add(self, losses: TaskLosses, partition: Partition) -> None:
        fresh = [task for task in losses.tasks if task not in self._tasks]
        self._tasks += fresh
        self._make_room(partition.shared)
        parameters = [*partition.shared, *partition.private]
        last = len(losses.values) - 1
        for place, (loss, task) in enumerate(zip(losses.values, losses.tasks, strict=True)):
            found = torch.autograd.grad(
                loss, parameters, losses.scale_t[place].to(loss),
                retain_graph=place < last, allow_unused=True,
            )  # fmt: skip
            row_P = self._buffer_TP[self._tasks.index(task)]
            put = _copy if task in fresh else _add
            put(pieces_of(row_P, partition.shared), found[: len(partition.shared)])
            add_gradients(partition.private, found[len(partition.shared) :])

    def _make_room(self, shared: Sequence[Parameter]) -> None:
        """The buffer is kept from step to step, with a row for as many tasks as were present."""
        size = sum(parameter.numel() for parameter in shared)
        if size != self._buffer_TP.shape[1]:
            like = shared[0] if shared else self._buffer_TP
            dtype = torch.promote_types(like.dtype, torch.float32)
            self._buffer_TP = torch.empty(0, size, device=like.device, dtype=dtype)
        missing = len(self._tasks) - len(self._buffer_TP)
        if missing > 0:
            rows_tP = self._buffer_TP.new_empty(missing, size)
            self._buffer_TP = torch.cat([self._buffer_TP, rows_tP])

    def jacobian(self, tasks: Sequence[int]) -> Tensor:
        """The gradients of some tasks on this rank, jacobian_tP; valid until the next step."""
        if [*tasks] == self._tasks:
            return self._buffer_TP[: len(tasks)]
        jacobian_tP = self._buffer_TP.new_zeros(len(tasks), self._buffer_TP.shape[1])
        for row_P, task in zip(jacobian_tP, tasks, strict=True):
            if task in self._tasks:
                row_P.copy_(self._buffer_TP[self._tasks.index(task)])
        return jacobian_tP

    def shard(self, tasks: Sequence[int]) -> Tensor:
        """The columns of the sum over all ranks that this rank looks at; all of them if alone."""
        if self._shard_tp is None and world_size() == 1:
            self._shard_tp = self.jacobian(tasks)
        if self._shard_tp is None:
            place_of = {task: place for place, task in enumerate(self._tasks)}
            self._shard_tp = scatter_columns(self._buffer_TP, [*map(place_of.get, tasks)])
        return self._shard_tp

    @override
    def gramian(self, tasks: Sequence[int]) -> Tensor:
        shard_tp = self.shard(tasks)
        return sum_over_ranks(inner_products(shard_tp))

    @override
    def weigh(self, weights_t: Tensor, tasks: Sequence[int], partition: Partition) -> None:
        shard_tp = self.shard(tasks)
        self.write(gather_columns(weights_t.to(shard_tp) @ shard_tp), partition)

    def write(self, gradient_P: Tensor, partition: Partition) -> None:
        """Add one flat gradient to ``.grad`` of the shared parameters."""
        size = self._buffer_TP.shape[1]
        add_gradients(partition.shared, pieces_of(gradient_P[:size], partition.shared))

    @override
    def forget(self) -> None:
        self._tasks = []
        self._shard_tp = None


def pieces_of(flat_P: Tensor, parameters: Sequence[Parameter]) -> list[Tensor]:
    """Views of one flat tensor in the shapes of parameters."""
    pieces = flat_P.split([parameter.numel() for parameter in parameters])
    return [piece.view_as(p) for piece, p in zip(pieces, parameters, strict=True)]


def _copy(pieces: Sequence[Tensor], gradients: Gradients) -> None:
    for piece, gradient in zip(pieces, gradients, strict=True):
        if gradient is None:
            piece.zero_()
        else:
            piece.copy_(gradient)


def _add(pieces: Sequence[Tensor], gradients: Gradients) -> None:
    for piece, gradient in zip(pieces, gradients, strict=True):
        if gradient is not None:
            piece.add_(gradient)
