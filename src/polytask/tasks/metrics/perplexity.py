"""The perplexity of language models."""

from __future__ import annotations

import math
import sys
from typing import final

import numpy as np
from typing_extensions import override

from polytask.tasks.metrics.base import Floats, Metric, Rows, metrics

_MOST_NATS = math.log(sys.float_info.max)


@final
@metrics.register("perplexity")
class Perplexity(Metric):
    """e to the mean cost of a predicted token in nats; lower is better, and 1 is the best.

    Jelinek et al., "Perplexity: a measure of the difficulty of speech recognition tasks", Journal
    of the Acoustical Society of America 1977. https://doi.org/10.1121/1.2016299
    """

    forms = ("surprisals",)
    name = "perplexity"
    higher_is_better = False
    beside = True

    @override
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> Floats:
        """Return the nats and the number of predicted tokens of each row, (N, 2)."""
        return np.array([(sum(nats), len(nats)) for nats in predictions], np.float64).reshape(-1, 2)

    @override
    def value(self, evidence: Floats, weights_N: Floats) -> float:
        nats, tokens = weights_N @ evidence
        mean = nats / tokens if tokens else float("nan")
        return math.exp(mean) if mean < _MOST_NATS else float("nan")
