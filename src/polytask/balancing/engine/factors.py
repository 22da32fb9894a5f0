"""The low-rank factors of a model whose large matrices are frozen.

A factor is a trained matrix with one wide and one narrow side. The wide side is as long as a side
of a frozen matrix. Examples are the two matrices of LoRA and the matrices of bottleneck adapters.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn import Parameter

_NARROW = 4
"""Least ratio of a frozen matrix's shorter side to a factor's narrow side."""


def find_factors(model: nn.Module) -> set[int]:
    """Return the ids of all trained factors of a model, and of the vectors of their modules.

    The vectors are biases of adapters. Without them, gradients of adapters would not be exact.
    """
    frozen = [p.shape for p in model.parameters() if p.ndim == 2 and not p.requires_grad]
    found: set[int] = set()
    for module in model.modules():
        own = [p for p in module.parameters(recurse=False) if p.requires_grad]
        factors = [p for p in own if p.ndim == 2 and _is_factor(p, frozen)]
        found.update(map(id, factors))
        if factors:
            found.update(id(p) for p in own if p.ndim == 1)
    return found


def _is_factor(matrix: Parameter, frozen: Sequence[Sequence[int]]) -> bool:
    narrow, wide = sorted(matrix.shape)
    return any(wide in shape and _NARROW * narrow <= min(shape) for shape in frozen)
