"""What a balancing method is handed, and what it may ask of the gradients of the tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import Parameter

from polytask.balancing.engine.recorder import Recorder
from polytask.core.distributed import sum_over_ranks, world_size
from polytask.core.errors import RecipeError
from polytask.core.partition import Partition

Gradients = Sequence[Tensor | None]

_BLOCK = 2048
_CACHED, _PART = 8 * _BLOCK, 512 * _BLOCK
"""Columns that are there in fp32 as well at a time, where rows are kept in half precision: on a
processor as many as its caches hold, and on other devices."""


@dataclass(frozen=True)
class TaskLosses:
    """The losses of one batch: those of the t tasks present, with their graphs.

    :param values: Scalars, one per task present.
    :param tasks: Positions of these tasks among all T.
    :param scale_t: What the gradient of each is multiplied by, its share of the step's rows. Methods
        see the losses as they are.
    :param sample: Which of the independent samples that a method needs this batch is of.
    :param rows: The rows of the batch that each of them reads, rows_b; empty if that is not known.
    """

    values: Sequence[Tensor]
    tasks: Sequence[int]
    scale_t: Tensor
    sample: int = 0
    rows: Sequence[Tensor] = ()


def check_alone(gradients: str) -> None:
    """Refuse a way to compute task gradients that sees the rows of this process only.

    :raises RecipeError: In several processes.
    """
    if world_size() > 1:
        raise RecipeError(
            [
                f"balancing.gradients: found {gradients!r}, which works in one process only, and "
                f"{world_size()} processes. Choose 'exact'."
            ]
        )


class MeanLosses:
    """The mean losses of a step over its batches, and over all ranks."""

    def __init__(self, num_tasks: int) -> None:
        self._sums_2T = torch.zeros(2, num_tasks)

    def add(self, losses: TaskLosses) -> MeanLosses:
        """Count the losses of one batch."""
        if losses.tasks:
            values_t = torch.stack([value.detach().float() for value in losses.values])
            scale_t = losses.scale_t.to(values_t)
            self._sums_2T = self._sums_2T.to(values_t.device)
            self._sums_2T[:, [*losses.tasks]] += torch.stack([values_t * scale_t, scale_t])
        else:  # a rank without rows, whose methods look at the losses of the others all the same
            self._sums_2T = self._sums_2T.to(losses.scale_t.device)
        return self

    def means(self) -> tuple[Tensor, Tensor]:
        """The tasks that are present on any rank, active_t, and their mean losses_t."""
        sums_T, scale_T = sum_over_ranks(self._sums_2T)
        active_t = scale_T.nonzero().flatten()
        return active_t.cpu(), sums_T[active_t] / scale_T[active_t]


Layout = Literal["together", "sorted", "apart"]
"""Rows of all tasks in one batch; the same, task by task; or a batch per set of tasks."""


class TaskGradients(ABC):
    """Collects the gradient of every task over the batches of a step."""

    layout: Layout = "together"

    def __init__(self, recorder: Recorder | None = None) -> None:
        """Start without a step.

        :param recorder: Sees the layers of the model at work, if it was attached.
        """

    @abstractmethod
    def add(self, losses: TaskLosses, partition: Partition) -> None:
        """Take in one batch. Private parameters get their own gradient in ``.grad``."""

    @abstractmethod
    def gramian(self, tasks: Sequence[int]) -> Tensor:
        """The inner products of the gradients of some tasks, gramian_tt."""

    @abstractmethod
    def weigh(self, weights_t: Tensor, tasks: Sequence[int], partition: Partition) -> None:
        """Add the weighted sum to ``.grad`` of the shared parameters."""

    @abstractmethod
    def forget(self) -> None:
        """Be ready for the next step."""


def differentiate(
    losses: Sequence[Tensor],
    scale_t: Tensor,
    parameters: Sequence[Parameter],
    *,
    keep: bool = False,
) -> Gradients:
    """The gradient of a weighted sum of losses; None for a parameter that it does not reach.

    Hooks that wait for ``.grad`` are not called, those of DistributedDataParallel among them.

    :param keep: Whether the graph is needed again.
    """
    scales = [scale.to(loss) for loss, scale in zip(losses, scale_t, strict=True)]
    return torch.autograd.grad(losses, parameters, scales, retain_graph=keep, allow_unused=True)


def add_gradients(parameters: Sequence[Parameter], gradients: Gradients) -> None:
    """Add to ``.grad``, and let no two parameters have one tensor: ``.grad`` is changed in place.

    Autograd gives the two biases of an LSTM the same tensor, for example.
    """
    taken: set[int] = set()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            own = gradient.to(parameter.dtype).contiguous()
            own = own.clone() if own.data_ptr() in taken else own
            taken.add(own.data_ptr())
            parameter.grad = own if parameter.grad is None else parameter.grad + own


def inner_products(rows_tP: Tensor, others_tP: Tensor | None = None) -> Tensor:
    """The inner products of rows, summed in blocks: one sum of millions loses three digits.

    :param others_tP: The rows to multiply with; the same ones if they are not given.
    :return: gramian_tt, in fp32 or better.
    """
    stacks = [rows_tP] if others_tP is None else [rows_tP, others_tP]
    wide = torch.promote_types(rows_tP.dtype, torch.float32)
    sums = [rows_tP.new_zeros(1, len(stacks[0]), len(stacks[-1]), dtype=wide)]
    for parts in zip(*map(_wide_parts, stacks), strict=True):
        one_tp, other_tp = parts[0], parts[-1]
        whole = one_tp.shape[1] - one_tp.shape[1] % _BLOCK
        if whole:
            one_Ntb, other_Ntb = (
                part_tp[:, :whole].unflatten(1, (-1, _BLOCK)).transpose(0, 1)
                for part_tp in (one_tp, other_tp)
            )
            sums.append(torch.bmm(one_Ntb, other_Ntb.transpose(1, 2)))
        if whole < one_tp.shape[1]:
            sums.append((one_tp[:, whole:] @ other_tp[:, whole:].T).unsqueeze(0))
    return torch.cat(sums).double().sum(0).to(wide)


def weighted_sum(weights_t: Tensor, rows_tP: Tensor) -> Tensor:
    """The weighted sum of rows, row_P, in fp32 or better."""
    wide = torch.promote_types(rows_tP.dtype, torch.float32)
    weights_t = weights_t.to(rows_tP.device, wide)
    row_P = rows_tP.new_empty(rows_tP.shape[1], dtype=wide)
    rest_p = row_P
    for part_tp in _wide_parts(rows_tP):
        room_p, rest_p = rest_p.tensor_split([part_tp.shape[1]])
        torch.mv(part_tp.T, weights_t, out=room_p)
    return row_P


def _wide_parts(rows_tP: Tensor) -> Iterator[Tensor]:
    """Some columns after the others, in fp32 or better; each is gone when the next one comes."""
    wide = torch.promote_types(rows_tP.dtype, torch.float32)
    if rows_tP.dtype == wide:
        yield rows_tP
        return
    size = _CACHED if rows_tP.device.type == "cpu" else _PART
    room_tp = rows_tP.new_empty(len(rows_tP), size, dtype=wide)
    for part_tp in rows_tP.split(size, dim=1):
        yield room_tp[:, : part_tp.shape[1]].copy_(part_tp)
