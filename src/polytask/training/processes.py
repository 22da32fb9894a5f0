"""Training in several processes: torchrun starts them, and only the first one writes.

Each runs the same loop with the same sampler, and takes one part of the rows of every batch.
Decisions that could differ among processes, such as when to stop, are made together.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from polytask.core.distributed import exchange_device, rank, sum_over_ranks, world_size
from polytask.core.errors import PolytaskError, TrainingError
from polytask.training.precision import select_device

A = TypeVar("A")
_VARIABLES = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}
_PATIENCE = timedelta(hours=12)
"""The time that other processes wait for the first one, which validates alone."""


def is_launched() -> bool:
    """Return whether a launcher such as torchrun started this process as one of several."""
    return os.environ.keys() >= _VARIABLES and int(os.environ["WORLD_SIZE"]) > 1


def is_first() -> bool:
    """Return whether this is the process that writes and prints."""
    if is_launched() and not dist.is_initialized():
        return int(os.environ["RANK"]) == 0
    return rank() == 0


@contextlib.contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the processes that were launched together; reuse an existing group.

    :param device: A device name as in a recipe. Each process of a machine uses another CUDA device.
    """
    if not is_launched() or dist.is_initialized():
        yield
        return
    on_cuda = select_device(device).type == "cuda"
    if on_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_cuda else "gloo", timeout=_PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def on_first(function: Callable[[], A]) -> A:
    """Call a function on the first rank only and return its result on all ranks.

    :raises TrainingError: On the other ranks, if the function raises a ``PolytaskError``.
    """
    if world_size() == 1:
        return function()
    outcome: list[Any] = [None, None]
    failed: PolytaskError | None = None
    if is_first():
        try:
            outcome[0] = function()
        except PolytaskError as error:
            failed, outcome[1] = error, str(error)
    # Broadcast also after a failure: the other ranks wait here and must fail as well, not hang.
    dist.broadcast_object_list(outcome, 0)
    found, message = outcome
    if message is not None:
        raise failed or TrainingError(message)
    result: A = found
    return result


def anywhere(*flags: bool) -> list[bool]:
    """Return for each flag whether it is set on any rank."""
    return [count > 0 for count in sum_over_ranks(torch.tensor(flags).int()).tolist()]


def total(number: int) -> int:
    """Return the sum of a number over all ranks."""
    return int(sum_over_ranks(torch.tensor(number)))


def copy_from_first(module: nn.Module) -> None:
    """Copy parameters and buffers from the first rank to all; wait until every rank is done."""
    if world_size() == 1:
        return
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            sent = tensor.detach().to(exchange_device(tensor)).contiguous()
            dist.broadcast(sent, 0)
            tensor.copy_(sent)
    dist.barrier()
