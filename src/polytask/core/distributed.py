"""Collective operations over the processes of a training; a single process does nothing.

Every rank sees different rows. The engine differentiates without the hooks of
DistributedDataParallel and sums gradients itself, so a model may be wrapped in it or not.
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
    """Return the number of processes that train together."""
    return dist.get_world_size() if _together() else 1


def rank() -> int:
    """Return the number of this process; 0 if it is alone."""
    return dist.get_rank() if _together() else 0


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def exchange_device(values: Tensor) -> torch.device:
    """Return the device on which ranks exchange a tensor."""
    # A rank without rows may have created its tensor on the CPU, which NCCL does not accept.
    if "nccl" in dist.get_backend_config():
        return torch.device("cuda", torch.cuda.current_device())
    return values.device


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks, bit for bit equal on all of them."""
    if world_size() == 1:
        return values
    place, contiguous = exchange_device(values), torch.contiguous_format
    summed = values.detach().to(place, copy=True, memory_format=contiguous)
    dist.all_reduce(summed)
    return summed.to(values.device)


def scatter_columns(buffer_NP: Tensor, places: Sequence[int | None]) -> Tensor:
    """Sum rows over all ranks, and return this rank's equal share of the columns.

    Ranks send only the rows that they have. If each rank has one row that no other has, this costs
    half of an all-reduce of P numbers, and ``gather_columns`` costs the other half.

    :param places: The place of each of t rows in the buffer; None if this rank does not have it.
    :return: rows_tp, with P padded by zeros to a multiple of the number of ranks.
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
    # In the order of ranks, so that sums do not depend on which message came first.
    for has_t, part_kp in zip(has_Rt.to(rows_tp.device), received_np.split(counts), strict=True):
        rows_tp[has_t] += part_kp
    return rows_tp


def gather_columns(row_p: Tensor) -> Tensor:
    """Return one whole row from the columns that all ranks have."""
    ranks = world_size()
    if ranks == 1:
        return row_p
    row_P = row_p.new_empty(ranks * len(row_p))
    dist.all_gather([*row_P.view(ranks, len(row_p))], row_p)  # there may be no columns
    return row_P


def gather_objects(value: A) -> list[A]:
    """Return the values of all ranks, on all ranks."""
    values = [value] * world_size()
    if len(values) > 1:
        dist.all_gather_object(values, value)
    return values


def share_seed() -> int:
    """Return the seed of the first rank, on all ranks."""
    seed = torch.tensor(torch.initial_seed() % 2**62)
    if world_size() > 1:
        seed = seed.to(exchange_device(seed))
        dist.broadcast(seed, 0)
    return int(seed)


def sum_gradients(parameters: Sequence[Parameter]) -> None:
    """Sum ``.grad`` over all ranks; it stays None if no rank has a gradient."""
    if world_size() == 1 or not parameters:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    # One flat tensor, and with it who has a gradient, is one collective instead of one each.
    given = torch.tensor([p.grad is not None for p in parameters]).to(gradients[0])
    flat_P = torch.cat([*(gradient.flatten() for gradient in gradients), given])
    *pieces, givers = sum_over_ranks(flat_P).split([*(p.numel() for p in parameters), len(given)])
    for parameter, piece, number in zip(parameters, pieces, givers.tolist(), strict=True):
        parameter.grad = piece.view_as(parameter).to(parameter.dtype) if number else None
