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
    """Cheaper is what takes fewer passes, and of two that take as many, what moves fewer numbers.

    :param passes: Backward passes through what all tasks share.
    :param moved: Numbers that are written and read besides those of a plain sum.
    :param held: The most of them that are held at a time.
    """

    passes: int
    moved: int
    held: int


def costs(
    tasks: int, shared: Sequence[Parameter], *, rows_alone: bool, activations: int | None
) -> dict[str, Cost]:
    """What each provider that can be used, and gives exact numbers, costs in a step.

    Gradients that are kept are written once and read for inner products and for the weighted sum,
    from caches in part: twice, measured on all-MiniLM-L6-v2 and a decoder as large.

    :param tasks: Their number, T.
    :param rows_alone: Whether every row is read by one task.
    :param activations: Numbers that go through the layers which own the shared parameters in a
        step, 0 if the step is not known before; None if these layers are not seen at work.
    """
    sizes = [parameter.numel() for parameter in shared] or [0]
    every, one = tasks * sum(sizes), tasks * max(sizes)
    counted = {
        "exact": Cost(1 if rows_alone else tasks, 2 * every, every),
        "streamed": Cost(tasks + 1, 2 * every, one),
    }
    if rows_alone and activations is not None:
        counted["grouped"] = Cost(1, activations, activations + one)
    return counted


def cheapest(counted: Mapping[str, Cost], room: int) -> str:
    """The provider with the least cost of those that there is room for.

    What needs the least room is taken where none of them fits.

    :param room: Bytes of memory, of which a quarter may be used.
    """
    fitting = {kind: cost for kind, cost in counted.items() if 4 * cost.held <= room // _SHARE}
    if not fitting:
        return min(counted, key=lambda kind: counted[kind].held)
    return min(fitting, key=lambda kind: fitting[kind])


def memory(device: torch.device) -> int:
    """The bytes that a device has, in use or not."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
