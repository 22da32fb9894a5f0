"""Sums and exchanges over the processes that train together; nothing happens in a single one.

Every rank sees different rows. The engine takes gradients without calling the hooks of
DistributedDataParallel, so a model may be wrapped in it or not, and adds them up itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter

A = TypeVar("A")


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if _together() else 1


def rank() -> int:
    """The number of this process among them; 0 if it is alone."""
    return dist.get_rank() if _together() else 0


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def meeting_place(values: Tensor) -> torch.device:
    """Where the ranks exchange a tensor; one without rows may have made its own on the CPU."""
    if "nccl" in dist.get_backend_config():
        return torch.device("cuda", torch.cuda.current_device())
    return values.device


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, the same bits everywhere."""
    if world_size() == 1:
        return values
    place, contiguous = meeting_place(values), torch.contiguous_format
    summed = values.detach().to(place, copy=True, memory_format=contiguous)
    dist.all_reduce(summed)
    return summed.to(values.device)


def scatter_columns(buffer_NP: Tensor, places: Sequence[int | None]) -> Tensor:
    """Add rows up over all ranks, of which each keeps an equal share of the columns.

    Only rows that a rank has are sent. Where each row is on a single rank, and each rank has one,
    this costs half of an all-reduce of P numbers, and ``gather_columns`` the other half.

    :param places: Where each of t rows is in the buffer, None if this rank does not have it.
    :return: rows_tp; P is filled up with zeros to a multiple of the number of ranks.
    """
    ranks = world_size()
    own = [place for place in places if place is not None]
    width = -(-buffer_NP.shape[1] // ranks)
    sent_Rkp = buffer_NP.new_zeros(ranks, len(own), width)
    for row, place in enumerate(own):
        for part_kp, piece_p in zip(sent_Rkp, buffer_NP[place].split(width), strict=False):
            part_kp[row, : len(piece_p)] = piece_p
    has_Rt = torch.zeros(ranks, len(places))
    has_Rt[rank()] = torch.tensor([float(place is not None) for place in places])
    has_Rt = sum_over_ranks(has_Rt).bool()
    counts = has_Rt.sum(1).tolist()
    received_np = buffer_NP.new_empty(sum(counts), width)
    dist.all_to_all_single(received_np, sent_Rkp.flatten(0, 1), counts, [len(own)] * ranks)
    rows_tp = buffer_NP.new_zeros(len(places), width)
    for has_t, part_kp in zip(has_Rt.to(rows_tp.device), received_np.split(counts), strict=True):
        rows_tp[has_t] += part_kp
    return rows_tp


def gather_columns(row_p: Tensor) -> Tensor:
    """Undo the division of columns for one row."""
    ranks = world_size()
    if ranks == 1:
        return row_p
    row_P = row_p.new_empty(ranks * len(row_p))
    dist.all_gather([*row_P.view(ranks, len(row_p))], row_p)  # there may be no columns
    return row_P


def gathered(value: A) -> list[A]:
    """The values of all ranks, on all ranks."""
    values = [value] * world_size()
    if len(values) > 1:
        dist.all_gather_object(values, value)
    return values


def seed_of_all() -> int:
    """The seed of the first rank."""
    seed = torch.tensor(torch.initial_seed() % 2**62)
    if world_size() > 1:
        seed = seed.to(meeting_place(seed))
        dist.broadcast(seed, 0)
    return int(seed)


def sum_gradients(parameters: Sequence[Parameter]) -> None:
    """Add ``.grad`` up over all ranks; it stays None where no rank has one."""
    if world_size() == 1 or not parameters:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    given = torch.tensor([p.grad is not None for p in parameters]).to(gradients[0])
    flat_P = torch.cat([*(gradient.flatten() for gradient in gradients), given])
    *pieces, givers = sum_over_ranks(flat_P).split([*(p.numel() for p in parameters), len(given)])
    for parameter, piece, number in zip(parameters, pieces, givers.tolist(), strict=True):
        parameter.grad = piece.view_as(parameter).to(parameter.dtype) if number else None
