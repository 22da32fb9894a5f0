"""Gradients of each task, taken one backward pass per task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from polytask.core.partition import Partition


def per_task(losses_t: Tensor, partition: Partition) -> Tensor:
    """One gradient of the shared parameters per task; private ones get their own in ``.grad``.

    :return: jacobian_tP; a parameter that a task does not reach has zeros in its row.
    """
    parameters = [*partition.shared, *partition.private]
    rows = []
    for position, loss in enumerate(losses_t):
        last = position == len(losses_t) - 1
        grads = torch.autograd.grad(loss, parameters, retain_graph=not last, allow_unused=True)
        shared, private = grads[: len(partition.shared)], grads[len(partition.shared) :]
        rows.append(_flatten(shared, partition.shared))
        _add(private, partition.private)
    return torch.stack(rows)


def write(gradient_P: Tensor, shared: Sequence[Parameter]) -> None:
    """Put one flat gradient into ``.grad`` of the shared parameters."""
    pieces = gradient_P.split([parameter.numel() for parameter in shared])
    for parameter, piece in zip(shared, pieces, strict=True):
        parameter.grad = piece.view_as(parameter)


def _flatten(grads: Sequence[Tensor | None], parameters: Sequence[Parameter]) -> Tensor:
    pieces = [
        torch.zeros_like(parameter).flatten() if grad is None else grad.flatten()
        for grad, parameter in zip(grads, parameters, strict=True)
    ]
    return torch.cat(pieces) if pieces else torch.zeros(0)


def _add(grads: Sequence[Tensor | None], parameters: Sequence[Parameter]) -> None:
    for grad, parameter in zip(grads, parameters, strict=True):
        if grad is not None:
            parameter.grad = grad if parameter.grad is None else parameter.grad + grad
