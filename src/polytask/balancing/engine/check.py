"""Grouped gradients are used only where they are seen to be those of autograd."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from polytask.balancing.engine.base import Gradients, TaskLosses
from polytask.balancing.engine.grouped import GroupedGradients
from polytask.balancing.engine.recorder import Recorder
from polytask.core.partition import Partition

_FAINT = 0.01
"""A part of the gradient that is smaller, relative to the whole, may be rounding errors alone."""
_TOLERANCE = {torch.bfloat16: 0.03, torch.float16: 0.03}
"""Relative, by the type that layers compute in; 0.001 for the others."""


def agrees(recorder: Recorder, losses: TaskLosses, partition: Partition) -> bool:
    """Compare the gradients of every task by every shared parameter.

    The graph, and every ``.grad``, are left as they were.
    """
    if not partition.shared:
        return True
    trial = GroupedGradients(recorder, trial=True)
    trial.add(losses, Partition(partition.shared, []))
    trial.gramian(losses.tasks)
    tolerance = max([1e-3, *(_TOLERANCE.get(dtype, 0) for dtype in trial.dtypes)])
    before = [parameter.grad for parameter in partition.shared]
    equal = True
    for place, (loss, scale) in enumerate(zip(losses.values, losses.scale_t, strict=True)):
        expected = torch.autograd.grad(
            loss, [*partition.shared], scale.to(loss), retain_graph=True, materialize_grads=True
        )
        for parameter in partition.shared:
            parameter.grad = None
        trial.weigh(torch.eye(len(losses.tasks))[place], losses.tasks, partition)
        found = [parameter.grad for parameter in partition.shared]
        equal = equal and _close(found, expected, tolerance)
    for parameter, gradient in zip(partition.shared, before, strict=True):
        parameter.grad = gradient
    return equal


def _close(found: Gradients, expected: Sequence[Tensor], tolerance: float) -> bool:
    """Whether all pieces of a gradient are, each by its own length.

    Some are zero but for rounding, such as that of the bias of keys in an attention layer.
    """
    lengths = torch.stack([piece.norm() for piece in expected])
    errors = torch.stack(
        [
            (piece if own is None else piece - own).norm()
            for own, piece in zip(found, expected, strict=True)
        ]
    )
    return bool(
        (errors <= tolerance * lengths.clamp(min=_FAINT * float(lengths.norm()) + 1e-9)).all()
    )
