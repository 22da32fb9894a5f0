"""Task vectors trimmed and merged where their signs agree."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from polytask.analysis.strategies.base import strategies
from polytask.analysis.strategies.merging import MergingStrategy

_KEPT = 0.2

_BLOCK = 2**20
"""Numbers per task that are merged at a time; copies of all would need too much memory."""


@strategies.register("merge_ties")
class MergeTiesStrategy(MergingStrategy):
    """The largest changes of each task, averaged where they agree with the elected sign.

    Yadav et al., "TIES-Merging: Resolving Interference When Merging Models", NeurIPS 2023,
    algorithm 1, with k = 20 %. https://arxiv.org/abs/2306.01708

    Deviation: the coefficient is one of six.
    """

    coefficients: ClassVar[tuple[float, ...]] = (1.0, 0.3, 0.6, 1.5, 2.0, 3.0)

    @override
    def direction(self, deltas_TP: Tensor, seed: int) -> Tensor:
        for delta_P in deltas_TP:
            delta_P.copy_(trim(delta_P, _KEPT))
        blocks = deltas_TP.split(_BLOCK, dim=1)
        return torch.cat([disjoint_mean(block_TP, elect_signs(block_TP)) for block_TP in blocks])


def trim(delta_P: Tensor, kept: float) -> Tensor:
    """Keep the largest numbers of a task vector; set all others to 0.

    :param kept: The share that is kept, at least one number.
    """
    count = max(1, round(kept * len(delta_P)))
    places = delta_P.abs().topk(count, sorted=False).indices
    return torch.zeros_like(delta_P).scatter(0, places, delta_P[places])


def elect_signs(deltas_TP: Tensor) -> Tensor:
    """Return the sign of the sum over tasks, for each of P numbers: -1, 0 or 1."""
    return deltas_TP.sum(0).sign()


def disjoint_mean(deltas_TP: Tensor, signs_P: Tensor) -> Tensor:
    """Return the mean over tasks of the numbers with the elected sign; 0 where there are none."""
    agreeing_TP = (deltas_TP.sign() == signs_P) & (signs_P != 0)
    sums_P = (deltas_TP * agreeing_TP).sum(0)
    return sums_P / agreeing_TP.sum(0).clamp(min=1)
