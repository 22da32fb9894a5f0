"""Task gradients as the rows of one T × P buffer."""

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
    differentiate,
    inner_products,
    split_like,
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
    """One backward pass per task over the rows that it reads; all T × P numbers are kept.

    With R processes, each rank sums and reads one R-th of the columns.
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
            scale_1 = losses.scale_t[place : place + 1]
            found = differentiate([loss], scale_1, parameters, keep=place < last)
            row_P = self._buffer_TP[self._tasks.index(task)]
            pieces = split_like(row_P, partition.shared)
            _store(pieces, found[: len(partition.shared)], is_first=task in fresh)
            add_gradients(partition.private, found[len(partition.shared) :])

    def _make_room(self, shared: Sequence[Parameter]) -> None:
        """Give every task of the step a row in the buffer, which is kept from step to step."""
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
        """Return the gradients of ``tasks`` on this rank, jacobian_tP, valid until the next step.

        It may be a view of the buffer: copy it to keep it, or before changing it.
        """
        if [*tasks] == self._tasks:
            return self._buffer_TP[: len(tasks)]
        jacobian_tP = self._buffer_TP.new_zeros(len(tasks), self._buffer_TP.shape[1])
        for row_P, task in zip(jacobian_tP, tasks, strict=True):
            if task in self._tasks:
                row_P.copy_(self._buffer_TP[self._tasks.index(task)])
        return jacobian_tP

    def shard(self, tasks: Sequence[int]) -> Tensor:
        """Return this rank's columns of the gradients summed over all ranks; all columns if alone."""
        if self._shard_tp is None and world_size() == 1:
            self._shard_tp = self.jacobian(tasks)
        if self._shard_tp is None:
            # Ranks may have met the tasks in different orders, or not at all: rows are sent in the
            # order of ``tasks``, which is the same everywhere.
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
        size = self._buffer_TP.shape[1]  # gathered columns are padded to a multiple of the ranks
        add_gradients(partition.shared, split_like(gradient_P[:size], partition.shared))

    @override
    def forget(self) -> None:
        self._tasks = []
        self._shard_tp = None


def _store(pieces: Sequence[Tensor], gradients: Gradients, *, is_first: bool) -> None:
    """Write gradients over ``pieces``, or add them if they are not the first of the step."""
    for piece, gradient in zip(pieces, gradients, strict=True):
        if gradient is not None:
            (piece.copy_ if is_first else piece.add_)(gradient)
        elif is_first:  # the buffer still holds the step before
            piece.zero_()
