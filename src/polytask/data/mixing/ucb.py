"""Upper confidence bounds.

Auer, Cesa-Bianchi and Fischer, "Finite-time Analysis of the Multiarmed Bandit Problem", Machine
Learning 47, 2002, figure 1 (UCB1). https://doi.org/10.1023/A:1013689704352
Garivier and Moulines, "On Upper-Confidence Bound Policies for Switching Bandit Problems", ALT 2011,
section 3.1: old rewards count less. https://arxiv.org/abs/0805.3415
Guo, Pasunuru and Bansal, "AutoSeM", NAACL 2019, section 4: tasks as the arms of a bandit.
https://arxiv.org/abs/1904.04153
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from pydantic import Field, NonNegativeFloat
from typing_extensions import override

from polytask.data.mixing.base import Floats, mixtures
from polytask.data.mixing.dynamic import EPSILON, DynamicMixture, Round, measure_progress

Discount = Annotated[float, Field(ge=0, lt=1)]


@final
@mixtures.register("ucb")
class UpperConfidence(DynamicMixture):
    """Draws from the pools whose losses fall most per batch, and from rarely drawn pools.

    The reward is the relative decrease of the loss, divided by the largest mean reward. Deviations:
    the batches of a window are planned together, with the means held fixed. AutoSeM rewards
    validation scores and uses Thompson sampling.

    :param exploration: Factor of the confidence radius; the square root of 2 in UCB1.
    :param discount: Factor of past rewards and counts per round.
    """

    favours: ClassVar[Literal["fast", "slow"]] = "fast"

    def __init__(
        self, *, exploration: NonNegativeFloat = 0.5, discount: Discount = 0.9, **options: Any
    ) -> None:
        super().__init__(**options)
        self.exploration, self.discount = exploration, discount

    @override
    def learn(self, seen: Round) -> Floats:
        progress_P = measure_progress(self, seen.ratios_P)
        known_P = np.isfinite(progress_P)
        gains_P = np.where(known_P, progress_P, 0.0).clip(min=0.0)
        batches_P = np.where(known_P, seen.shares_P * self.window, 0.0)
        gains_P += self.discount * np.nan_to_num(self.recall("gains"))
        batches_P += self.discount * np.nan_to_num(self.recall("batches"))
        self.keep("gains", gains_P)
        self.keep("batches", batches_P)
        means_P = gains_P / np.maximum(batches_P, EPSILON)
        means_P /= max(float(means_P.max()), EPSILON)
        return plan(means_P, batches_P, self.exploration, self.window)


def plan(means_P: Floats, counts_P: Floats, exploration: float, draws: int) -> Floats:
    """Return how often each of P arms has the highest bound in a number of draws (UCB1).

    :param means_P: Mean rewards, 0 to 1.
    :param counts_P: How often each arm was drawn before.
    """
    now_P = counts_P.copy()
    for _ in range(draws):
        radius_P = np.sqrt(np.log(max(now_P.sum(), np.e)) / np.maximum(now_P, EPSILON))
        now_P[int(np.argmax(means_P + exploration * radius_P))] += 1
    return now_P - counts_P
