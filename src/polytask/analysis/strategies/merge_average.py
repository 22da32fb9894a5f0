"""The mean of the single-task models."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from polytask.analysis.strategies.base import strategies
from polytask.analysis.strategies.merging import MergingStrategy


@strategies.register("merge_average")
class MergeAverageStrategy(MergingStrategy):
    """The mean of the encoders of the single-task models.

    Wortsman et al., "Model Soups: Averaging Weights of Multiple Fine-tuned Models Improves
    Accuracy without Increasing Inference Time", ICML 2022, the uniform soup.
    https://arxiv.org/abs/2203.05482

    Deviation: there the models are of one task; here they are of several.
    """

    coefficients: ClassVar[tuple[float, ...]] = (1.0,)

    @override
    def direction(self, deltas_TP: Tensor, seed: int) -> Tensor:
        return average(deltas_TP)


def average(deltas_TP: Tensor) -> Tensor:
    """Return (1 / T) Σ_t delta_t; the start plus this is the mean of the models."""
    return deltas_TP.mean(0)
