"""Weights from recipes, and the losses that have a logarithm, for several loss methods."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import torch
from torch import Tensor

from polytask.core.errors import RecipeError
from polytask.core.registry import ByTask

TaskWeights: TypeAlias = Annotated[list[float] | None, ByTask("numbers")]
"""One weight per task; None: all 1."""

EPSILON = 1e-12
"""The smallest loss that has a logarithm or a reciprocal."""


def is_positive(losses_t: Tensor) -> Tensor:
    """Return which losses are above ``EPSILON``.

    Methods with logarithms or reciprocals of losses treat the other tasks as absent. A loss of 0 is
    at its minimum, but would get an infinite weight.
    """
    return losses_t.detach() > EPSILON


def make_preferences(weights: TaskWeights, num_tasks: int) -> Tensor:
    """Return the weights of a recipe, one per task; all 1 by default.

    :raises RecipeError: If their number is not T, one of them is negative, or all are 0.
    """
    weights = [1.0] * num_tasks if weights is None else weights
    if len(weights) != num_tasks or min(weights) < 0 or max(weights) == 0:
        raise RecipeError(
            [
                f"balancing.weights: found {weights}, expected {num_tasks} numbers that are "
                "not negative and not all 0: one per task in the order of the recipe, or by name."
            ]
        )
    return torch.tensor(weights, dtype=torch.float)
