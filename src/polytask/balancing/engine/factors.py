"""Finds the low-rank factors of a model whose large matrices are frozen.

A factor is a trained matrix that a bottleneck makes small: one of its sides is a side of a frozen
matrix of the model, the other is narrow. LoRA's two matrices are such, and those of the adapters
between layers. A full matrix that is trained among frozen ones is none.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn import Parameter

_NARROW = 4
"""The frozen matrix is at least so many times as wide as the bottleneck."""


def low_rank(model: nn.Module) -> set[int]:
    """The ids of all trained factors of a model, and of vectors that belong to their modules.

    Vectors are the biases of adapters; without them nothing but the factors would be exact.
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
