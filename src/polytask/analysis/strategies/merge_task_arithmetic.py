"""The sum of task vectors."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from polytask.analysis.strategies.base import strategies
from polytask.analysis.strategies.merging import MergingStrategy


@strategies.register("merge_task_arithmetic")
class MergeTaskArithmeticStrategy(MergingStrategy):
    """The common start and a multiple of the sum of all task vectors.

    Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023, sections 2 and 4.
    https://arxiv.org/abs/2212.04089

    Deviation: the coefficient is one of six.
    """

    coefficients: ClassVar[tuple[float, ...]] = (0.4, 0.1, 0.2, 0.3, 0.6, 1.0)

    @override
    def direction(self, deltas_TP: Tensor, seed: int) -> Tensor:
        return task_arithmetic(deltas_TP)


def task_arithmetic(deltas_TP: Tensor) -> Tensor:
    """Return Σ_t delta_t."""
    return deltas_TP.sum(0)
