"""The losses that a balancing method receives, and the interface of task gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.nn import Parameter

from polytask.balancing.engine.recorder import Recorder
from polytask.core.distributed import sum_over_ranks, world_size
from polytask.core.errors import RecipeError
from polytask.core.partition import Partition

Gradients = Sequence[Tensor | None]

_BLOCK = 2048
"""Columns that one inner product sums in fp32; the sums of blocks are added in fp64."""
_CPU_CHUNK, _GPU_CHUNK = 8 * _BLOCK, 512 * _BLOCK
"""Columns of half-precision rows that are converted to fp32 at a time; the first fits a CPU cache."""


@dataclass(frozen=True)
class TaskLosses:
    """The losses of one batch for the t tasks present, with their graphs.

    :param values: Scalars, one per task present.
    :param tasks: Positions of these tasks among all T.
    :param scale_t: The factor of each gradient, the task's share of the step's rows. Methods see
        unscaled losses.
    :param sample: The number of the independent sample that the batch belongs to.
    :param rows: For each task the rows of the batch that it reads, rows_b; empty if unknown.
    """

    values: Sequence[Tensor]
    tasks: Sequence[int]
    scale_t: Tensor
    sample: int = 0
    rows: Sequence[Tensor] = ()


def check_alone(gradients: str) -> None:
    """Refuse several processes for a provider that sees only the rows of this process.

    :raises RecipeError: If there are several processes.
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
        """Add the losses of one batch."""
        if losses.tasks:
            values_t = torch.stack([value.detach().float() for value in losses.values])
            scale_t = losses.scale_t.to(values_t)
            self._sums_2T = self._sums_2T.to(values_t.device)
            self._sums_2T[:, [*losses.tasks]] += torch.stack([values_t * scale_t, scale_t])
        else:  # A rank without rows still joins the collective of ``means``, on the same device.
            self._sums_2T = self._sums_2T.to(losses.scale_t.device)
        return self

    def means(self) -> tuple[Tensor, Tensor]:
        """Return the tasks present on any rank, active_t, and their mean losses_t."""
        sums_T, scale_T = sum_over_ranks(self._sums_2T)
        active_t = scale_T.nonzero().flatten()
        return active_t.cpu(), sums_T[active_t] / scale_T[active_t]


Layout = Literal["together", "sorted", "apart"]
"""All rows in one batch in any order, all rows in one batch by task, or one batch per task set."""


class TaskGradients(ABC):
    """The gradients of all tasks, accumulated over the batches of a step.

    The order of calls is ``add`` per batch, then ``gramian`` if the method needs it, then ``weigh``
    and ``forget``. With several processes all ranks make the same calls, since each may communicate.
    """

    layout: Layout = "together"

    def __init__(self, recorder: Recorder | None = None) -> None:
        """Start with no batches.

        :param recorder: The recorder of the model's layers, if a model was attached.
        """

    @abstractmethod
    def add(self, losses: TaskLosses, partition: Partition) -> None:
        """Add one batch, and the gradients of private parameters to their ``.grad``."""

    @abstractmethod
    def gramian(self, tasks: Sequence[int]) -> Tensor:
        """Return the inner products of the gradients of ``tasks``, gramian_tt."""

    @abstractmethod
    def weigh(self, weights_t: Tensor, tasks: Sequence[int], partition: Partition) -> None:
        """Add the weighted sum to ``.grad`` of the shared parameters."""

    @abstractmethod
    def forget(self) -> None:
        """Drop the gradients of this step."""


def differentiate(
    losses: Sequence[Tensor],
    scale_t: Tensor,
    inputs: Sequence[Parameter] | Sequence[GradientEdge],
    *,
    keep: bool = False,
) -> Gradients:
    """Return the gradient of a weighted sum of losses; None for an input that it does not reach.

    :param keep: Retain the graph for another time.
    """
    # autograd.grad writes no .grad, so DistributedDataParallel's hooks do not run: its all-reduce
    # would add up the gradients of single tasks, and hang on ranks that lack a task.
    scales = [scale.to(loss) for loss, scale in zip(losses, scale_t, strict=True)]
    return torch.autograd.grad(losses, inputs, scales, retain_graph=keep, allow_unused=True)


def add_gradients(parameters: Sequence[Parameter], gradients: Gradients) -> None:
    """Add gradients to ``.grad``; None stands for zeros."""
    # Autograd may return one tensor for two parameters, such as the two biases of an LSTM. Later
    # changes of .grad in place, such as clipping, would then apply to it twice.
    taken: set[int] = set()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            own = gradient.to(parameter.dtype).contiguous()
            own = own.clone() if own.data_ptr() in taken else own
            taken.add(own.data_ptr())
            parameter.grad = own if parameter.grad is None else parameter.grad + own


def inner_products(rows_tP: Tensor, others_tP: Tensor | None = None) -> Tensor:
    """Return the inner products of rows.

    :param others_tP: The rows to multiply with; ``rows_tP`` by default.
    :return: gramian_tt, in fp32 or better.
    """
    # One fp32 sum over millions of columns loses three digits; blocks summed in fp64 do not.
    stacks = [rows_tP] if others_tP is None else [rows_tP, others_tP]
    wide = torch.promote_types(rows_tP.dtype, torch.float32)
    sums = [rows_tP.new_zeros(1, len(stacks[0]), len(stacks[-1]), dtype=wide)]
    for parts in zip(*map(_widen, stacks), strict=True):
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


def sum_rows(weights_t: Tensor, rows_tP: Tensor) -> Tensor:
    """Return the weighted sum of rows, row_P, in fp32 or better."""
    wide = torch.promote_types(rows_tP.dtype, torch.float32)
    weights_t = weights_t.to(rows_tP.device, wide)
    row_P = rows_tP.new_empty(rows_tP.shape[1], dtype=wide)
    rest_p = row_P
    for part_tp in _widen(rows_tP):
        room_p, rest_p = rest_p.tensor_split([part_tp.shape[1]])
        torch.mv(part_tp.T, weights_t, out=room_p)
    return row_P


def split_like(flat_P: Tensor, parameters: Sequence[Parameter]) -> list[Tensor]:
    """Return views of one flat tensor in the shapes of ``parameters``."""
    pieces = flat_P.split([parameter.numel() for parameter in parameters])
    return [piece.view_as(p) for piece, p in zip(pieces, parameters, strict=True)]


def add_optional(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Return the sum of two tensors; None stands for zeros."""
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _widen(rows_tP: Tensor) -> Iterator[Tensor]:
    """Yield chunks of columns in fp32 or better; the next chunk overwrites the one before."""
    wide = torch.promote_types(rows_tP.dtype, torch.float32)
    if rows_tP.dtype == wide:
        yield rows_tP
        return
    size = _CPU_CHUNK if rows_tP.device.type == "cpu" else _GPU_CHUNK
    room_tp = rows_tP.new_empty(len(rows_tP), size, dtype=wide)
    for part_tp in rows_tP.split(size, dim=1):
        yield room_tp[:, : part_tp.shape[1]].copy_(part_tp)
