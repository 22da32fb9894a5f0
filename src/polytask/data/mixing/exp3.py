"""Exponential weights for rewards that may change at any time.

Graves, Bellemare, Menick, Munos and Kavukcuoglu, "Automated Curriculum Learning for Neural
Networks", ICML 2017, sections 2 and 3: Exp3.S, rewards scaled by quantiles of past rewards,
prediction gain. https://arxiv.org/abs/1704.03003
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, final

import numpy as np
from pydantic import PositiveFloat
from typing_extensions import override

from polytask.data.mixing.base import Floats, mixtures
from polytask.data.mixing.dynamic import EPSILON, DynamicMixture, Round, measure_progress, softmax

_QUANTILES = (0.2, 0.8)
_HISTORY_ROUNDS = 50


class ExponentialWeights(DynamicMixture, ABC):
    """Base of Exp3.S over pools; subclasses define the gain of a batch of a pool.

    Deviations: one update per round. Each round draws from every pool in proportion to its share,
    so the importance weight (division of a reward by the probability of the draw) cancels. beta is
    0, as in the paper's experiments. Quantiles are taken over the last 50 rounds.

    :param learning_rate: Largest change of the logarithm of a weight per round.
    """

    favours: ClassVar[Literal["fast", "slow"]] = "fast"

    def __init__(self, *, learning_rate: PositiveFloat = 0.3, **options: Any) -> None:
        super().__init__(**options)
        self.learning_rate = learning_rate

    @abstractmethod
    def gains(self, seen: Round) -> Floats:
        """Return gains_P, the gain of a batch of each pool; NaN if unknown."""

    @override
    def learn(self, seen: Round) -> Floats:
        gains_P = self.gains(seen)
        new = [gain for gain in gains_P.tolist() if np.isfinite(gain)]
        history: list[float] = self.memory.get("history", []) + new
        self.memory["history"] = history[-_HISTORY_ROUNDS * len(gains_P) :]
        logits_P = np.nan_to_num(self.recall("logits"))
        if new:
            self.memory["rounds"] = rounds = self.memory.get("rounds", 0) + 1
            rewards_P = rescale_gains(gains_P, history)
            logits_P = share_weights(logits_P + self.learning_rate * rewards_P, 1 / (rounds + 1))
        self.keep("logits", logits_P)
        return softmax(logits_P)


def rescale_gains(gains_P: Floats, history: list[float]) -> Floats:
    """Scale gains linearly from the quantiles of past gains to -1 and 1, and clip (equation 3).

    Unknown gains (NaN) become 0.
    """
    low, high = np.quantile(history, _QUANTILES)
    if high - low < EPSILON:
        return np.zeros_like(gains_P)
    rewards_P: Floats = np.nan_to_num(2 * (gains_P - low) / (high - low) - 1, nan=0.0)
    return rewards_P.clip(-1, 1)


def share_weights(logits_P: Floats, share: float) -> Floats:
    """Return logits after each weight has given a share of itself to the others (section 2.1)."""
    if len(logits_P) == 1:
        return np.zeros(1)
    weights_P = softmax(logits_P)
    others_P = (weights_P.sum() - weights_P) / (len(weights_P) - 1)
    mixed_P: Floats = np.log((1 - share) * weights_P + share * others_P)
    return mixed_P


@final
@mixtures.register("exp3")
class Exp3(ExponentialWeights):
    """Draws from the pools whose losses fall most per batch, by exponential weights (Exp3.S).

    Deviation: the paper compares the loss before and after a batch. Here the gain is the relative
    decrease of the mean training loss from round to round, per batch of the pool.
    """

    @override
    def gains(self, seen: Round) -> Floats:
        return measure_progress(self, seen.ratios_P) / seen.shares_P
