"""The cost of each way to compute task gradients, counted instead of timed.

Timings differ between two equal runs; a choice by timings would change the rounding of all later
numbers. The counts depend only on the model, the tasks and the memory of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import Parameter

_SHARE = 4
"""Task gradients may use one part in this many of the memory."""


@dataclass(frozen=True, order=True)
class Cost:
    """The cost of a step, ordered by passes and then by numbers moved.

    :param passes: Backward passes through the shared part.
    :param moved: Numbers written and read in addition to a plain sum's.
    :param held: The most of these numbers that are held at a time.
    """

    passes: int
    moved: int
    held: int


def count_costs(
    tasks: int, shared: Sequence[Parameter], *, exclusive_rows: bool, activations: int | None
) -> dict[str, Cost]:
    """Return the cost of a step for each exact provider that can be used.

    :param tasks: Number of tasks, T.
    :param exclusive_rows: True if every row is read by one task.
    :param activations: Numbers that go through the layers of the shared parameters in a step; 0 if
        the step is unknown, None if the layers are not recorded.
    """
    # Kept gradients are written once and read twice, for inner products and the weighted sum. Part
    # of that hits caches: it costs as much as 2 accesses, measured on all-MiniLM-L6-v2 and on a
    # decoder of that size.
    sizes = [parameter.numel() for parameter in shared] or [0]
    every, one = tasks * sum(sizes), tasks * max(sizes)
    counted = {
        "exact": Cost(1 if exclusive_rows else tasks, 2 * every, every),
        "streamed": Cost(tasks + 1, 2 * every, one),
    }
    if exclusive_rows and activations is not None:
        counted["grouped"] = Cost(1, activations, activations + one)
    return counted


def choose_cheapest(counted: Mapping[str, Cost], room: int) -> str:
    """Return the cheapest provider that fits into memory; the smallest one if none fits.

    :param room: Bytes of memory. A quarter of them may be used.
    """
    # 4 bytes per number: gradients are held in fp32.
    fitting = {kind: cost for kind, cost in counted.items() if 4 * cost.held <= room // _SHARE}
    if not fitting:
        return min(counted, key=lambda kind: counted[kind].held)
    return min(fitting, key=lambda kind: fitting[kind])


def total_memory(device: torch.device) -> int:
    """Return the memory of a device in bytes. Free memory would differ between equal runs."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
