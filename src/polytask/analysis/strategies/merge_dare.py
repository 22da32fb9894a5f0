"""The sum of task vectors of which most numbers were dropped."""

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
class MergeDare(MergingStrategy):
    """Task arithmetic after nine of ten numbers were dropped and the others scaled up.

    Yu et al., "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a
    Free Lunch", ICML 2024, section 3.2, with p = 0.9. https://arxiv.org/abs/2311.03099

    Deviation: the coefficient is one of six.
    """

    coefficients: ClassVar[tuple[float, ...]] = (0.4, 0.1, 0.2, 0.3, 0.6, 1.0)

    @override
    def direction(self, deltas_TP: Tensor, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return task_arithmetic(drop_and_rescale(deltas_TP, _DROPPED, generator))


def drop_and_rescale(deltas_TP: Tensor, dropped: float, generator: torch.Generator) -> Tensor:
    """(1 - m) ⊙ delta / (1 - p), m of Bernoulli(p): the expectation stays as it was.

    :param dropped: p, the probability that a number is dropped.
    """
    kept_TP = torch.rand(deltas_TP.shape, generator=generator) >= dropped
    return deltas_TP * kept_TP / (1 - dropped)
