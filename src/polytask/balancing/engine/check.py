"""A comparison of grouped gradients with autograd, which has to pass before they are used."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from polytask.balancing.engine.base import Gradients, TaskLosses
from polytask.balancing.engine.grouped import GroupedGradients
from polytask.balancing.engine.recorder import Recorder
from polytask.core.partition import Partition

_FAINT = 0.01
"""Share of the whole gradient's norm below which one parameter's may be rounding errors alone."""
_TOLERANCE = {torch.bfloat16: 0.03, torch.float16: 0.03}
"""Relative error allowed, by the dtype in which layers compute; 0.001 for other dtypes."""


def agrees(recorder: Recorder, losses: TaskLosses, partition: Partition) -> bool:
    """Return whether grouped gradients equal autograd's, for every task and shared parameter.

    The graph and every ``.grad`` stay as they are.
    """
    if not partition.shared:
        return True
    trial = GroupedGradients(recorder, trial=True)
    trial.add(losses, Partition(partition.shared, []))  # private gradients would be added twice
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
    """Return whether the gradient of each parameter is close, relative to its norm."""
    # Some gradients are zero apart from rounding, such as the key bias of an attention layer.
    # So a norm counts as at least a hundredth of the whole.
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
