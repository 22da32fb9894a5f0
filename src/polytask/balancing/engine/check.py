"""Grouped gradients are used only where they are seen to be those of autograd."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from polytask.balancing.engine.base import TaskLosses
from polytask.balancing.engine.grouped import Grouped
from polytask.balancing.engine.recorder import Recorder
from polytask.core.partition import Partition

_SAMPLE = 8
_TOLERANCE = {torch.bfloat16: 0.03, torch.float16: 0.03}
"""Relative, by the type that layers compute in; 0.001 for the others."""


def agrees(recorder: Recorder, losses: TaskLosses, partition: Partition) -> bool:
    """Compare the gradients of every task by a sample of the shared parameters.

    The graph, and every ``.grad``, are left as they were.
    """
    trial = Grouped(recorder, trial=True)
    trial.add(losses, Partition(partition.shared, []))
    trial.gramian(losses.tasks)
    tolerance = max([1e-3, *(_TOLERANCE.get(dtype, 0) for dtype in trial.dtypes)])
    sample = _sample(partition.shared)
    before = [parameter.grad for parameter in partition.shared]
    equal = True
    for place, (loss, scale) in enumerate(zip(losses.values, losses.scale_t, strict=True)):
        expected = torch.autograd.grad(
            loss, sample, scale.to(loss), retain_graph=True, materialize_grads=True
        )
        for parameter in partition.shared:
            parameter.grad = None
        trial.weigh(torch.eye(len(losses.tasks))[place], losses.tasks, partition)
        equal = equal and all(
            _close(parameter.grad, reference, tolerance)
            for parameter, reference in zip(sample, expected, strict=True)
        )
    for parameter, gradient in zip(partition.shared, before, strict=True):
        parameter.grad = gradient
    return equal


def _sample(parameters: Sequence[Parameter]) -> list[Parameter]:
    """Some of them, evenly spaced, the first and the last among them."""
    places = torch.linspace(0, len(parameters) - 1, min(_SAMPLE, len(parameters))).round()
    return [parameters[int(place)] for place in places]


def _close(found: Tensor | None, expected: Tensor, tolerance: float) -> bool:
    found = torch.zeros_like(expected) if found is None else found
    return bool((found - expected).norm() <= tolerance * expected.norm() + 1e-12)
