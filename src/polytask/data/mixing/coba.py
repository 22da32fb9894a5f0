"""Convergence balancing of draws.

Gong et al., "CoBa: Convergence Balancer for Multitask Finetuning of Large Language Models",
EMNLP 2024, section 3. https://arxiv.org/abs/2410.06741
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from pydantic import Field, PositiveFloat
from typing_extensions import override

from polytask.data.mixing.base import Floats, mixtures
from polytask.data.mixing.dynamic import EPSILON, DynamicMixture, Round, as_json, softmax


@final
@mixtures.register("coba")
class Convergence(DynamicMixture):
    """Draws less from pools that converge faster than others, and from pools that begin to diverge.

    Deviations: the weights are shares of the draws. The paper weights losses; the balancer ``coba``
    does that. Slopes are fitted to training losses of rounds, not to validation losses. The
    divergence factor uses as many rounds as the slopes.

    :param rounds: Number of rounds that a slope is fitted to, and of slopes it is compared with.
    :param temperature: Sharpness of the divergence factor; 5 in the paper.
    """

    favours: ClassVar[Literal["fast", "slow"]] = "slow"

    def __init__(
        self,
        *,
        rounds: Annotated[int, Field(ge=2)] = 8,
        temperature: PositiveFloat = 5.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.rounds, self.temperature = rounds, temperature

    @override
    def learn(self, seen: Round) -> Floats:
        last_P = self.recall("last")
        now_P = np.where(np.isnan(seen.ratios_P), last_P, seen.ratios_P)
        self.keep("last", now_P)
        ratios_NP = self._append("ratios", now_P)
        if len(ratios_NP) < 2:
            return np.ones_like(now_P)
        return convergence_weights(
            self._append("slopes", slopes(ratios_NP)), self.temperature, np.isfinite(now_P)
        )

    def _append(self, name: str, newest_P: Floats) -> Floats:
        """Store the values of this round under a name, and return the last ``rounds`` rounds."""
        self.memory[name] = [*self.memory.get(name, []), as_json(newest_P)][-self.rounds :]
        return np.array(self.memory[name], dtype=float)


def slopes(ratios_NP: Floats) -> Floats:
    """Return the least-squares slope of each pool over N rounds; 0 if a value is NaN."""
    at_N = np.arange(len(ratios_NP)) - (len(ratios_NP) - 1) / 2
    return np.nan_to_num(at_N @ ratios_NP / (at_N @ at_N))


def convergence_weights(slope_NP: Floats, temperature: float, known_P: Any) -> Floats:
    """Return DF RCS + (1 - DF) ACS per pool (section 3); 0 for pools that were never seen."""
    rounds, latest_P = len(slope_NP), slope_NP[-1]
    among_pools_P = len(latest_P) * latest_P / max(np.abs(latest_P).sum(), EPSILON)
    among_rounds_P = -rounds * latest_P / np.maximum(np.abs(slope_NP).sum(0), EPSILON)
    factor = divergence_factor(slope_NP.max(1), temperature)
    relative_P, absolute_P = softmax(among_pools_P), softmax(among_rounds_P)
    weights_P: Floats = (factor * relative_P + (1 - factor) * absolute_P) * known_P
    return weights_P


def divergence_factor(worst_N: Floats, temperature: float) -> float:
    """Return DF: 1 while the slowest pool converges as before, near 0 when it diverges."""
    size = max(np.abs(worst_N).sum(), EPSILON)
    logits_N = -temperature * len(worst_N) * worst_N / size
    return min(1.0, len(worst_N) * float(softmax(logits_N)[-1]))
