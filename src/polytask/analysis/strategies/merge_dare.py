"""The sum of sparse task vectors."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from polytask.analysis.strategies.base import strategies
from polytask.analysis.strategies.merge_task_arithmetic import task_arithmetic
from polytask.analysis.strategies.merging import MergingStrategy

_DROPPED = 0.9


@strategies.register("merge_dare")
class MergeDareStrategy(MergingStrategy):
    """Task arithmetic after nine of ten numbers were dropped and the others scaled up.

    Yu et al., "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a
    Free Lunch", ICML 2024, with p = 0.9. https://arxiv.org/abs/2311.03099

    Deviation: the coefficient is one of six.
    """

    coefficients: ClassVar[tuple[float, ...]] = (0.4, 0.1, 0.2, 0.3, 0.6, 1.0)

    @override
    def direction(self, deltas_TP: Tensor, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        for delta_P in deltas_TP:
            delta_P.copy_(drop_and_rescale(delta_P, _DROPPED, generator))
        return task_arithmetic(deltas_TP)


def drop_and_rescale(delta_P: Tensor, dropped: float, generator: torch.Generator) -> Tensor:
    """Return (1 - m) ⊙ delta / (1 - p) with m from Bernoulli(p); the expectation stays the same.

    :param dropped: p, the probability that a number is dropped.
    """
    kept_P = torch.rand(delta_P.shape, generator=generator) >= dropped
    return delta_P * kept_P / (1 - dropped)
