"""The processes that train together: torchrun starts them, and the first one alone writes.

Each runs the same loop with the same sampler, and takes its own part of the rows of every batch.
What could be decided differently, such as when to stop, is decided together.
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
"""How long the others wait for the first, which scores alone."""


def is_launched() -> bool:
    """Whether torchrun, or what works like it, has started this process as one of several."""
    return os.environ.keys() >= _VARIABLES and int(os.environ["WORLD_SIZE"]) > 1


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    if is_launched() and not dist.is_initialized():
        return int(os.environ["RANK"]) == 0
    return rank() == 0


@contextlib.contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the processes that were launched together; a group that is there is made use of.

    :param device: As in a recipe; each process of a machine has a CUDA device of its own.
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
    """Call a function on the first rank alone; what it returns is returned on all.

    :raises TrainingError: On the other ranks, if it raises an error on purpose.
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
    dist.broadcast_object_list(outcome, 0)
    found, message = outcome
    if message is not None:
        raise failed or TrainingError(message)
    result: A = found
    return result


def anywhere(*flags: bool) -> list[bool]:
    """Of each flag, whether it is set on any rank."""
    return [count > 0 for count in sum_over_ranks(torch.tensor(flags).int()).tolist()]


def total(number: int) -> int:
    """The sum of a number over all ranks."""
    return int(sum_over_ranks(torch.tensor(number)))


def copy_from_first(module: nn.Module) -> None:
    """Make parameters and buffers those of the first rank; nobody goes on before all are there."""
    if world_size() == 1:
        return
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            sent = tensor.detach().to(exchange_device(tensor)).contiguous()
            dist.broadcast(sent, 0)
            tensor.copy_(sent)
    dist.barrier()
