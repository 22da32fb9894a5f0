"""What the ways of coming by task gradients cost, counted and not timed.

A choice by the clock would differ between two equal runs, and with it the rounding of every number
after. What is counted depends on the model, the tasks and the memory of the machine alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import Parameter

_SHARE = 4
"""Gradients of the tasks may take up one part in so many of the memory."""


@dataclass(frozen=True, order=True)
class Cost:
    """Cheaper is what takes fewer passes, and of two that take as many, what holds fewer numbers.

    :param passes: Backward passes through what all tasks share.
    :param numbers: Numbers of fp32 that are held besides those of a plain sum, at most.
    """

    passes: int
    numbers: int


def costs(
    tasks: int, shared: Sequence[Parameter], *, rows_alone: bool, layers_seen: bool
) -> dict[str, Cost]:
    """What each provider that can be used, and gives exact numbers, costs in a step.

    What ``grouped`` keeps beyond the gradients of one layer is no more than a few times what its
    layers were given, and is not counted.

    :param tasks: Their number, T.
    :param rows_alone: Whether every row is read by one task.
    :param layers_seen: Whether the layers that own the shared parameters are seen at work.
    """
    sizes = [parameter.numel() for parameter in shared] or [0]
    counted = {
        "exact": Cost(1 if rows_alone else tasks, tasks * sum(sizes)),
        "streamed": Cost(tasks + 1, tasks * max(sizes)),
    }
    grouped = {"grouped": Cost(1, tasks * max(sizes))}
    return {**grouped, **counted} if rows_alone and layers_seen else counted


def cheapest(counted: Mapping[str, Cost], room: int) -> str:
    """The provider with the least cost of those that there is room for.

    What needs the least room is taken where none of them fits.

    :param room: Bytes of memory, of which a quarter may be used.
    """
    fitting = {kind: cost for kind, cost in counted.items() if 4 * cost.numbers <= room // _SHARE}
    if not fitting:
        return min(counted, key=lambda kind: counted[kind].numbers)
    return min(fitting, key=lambda kind: fitting[kind])


def memory(device: torch.device) -> int:
    """The bytes that a device has, in use or not."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
