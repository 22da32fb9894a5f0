"""How well a language model follows preferences between answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from typing_extensions import override

from polytask.tasks.metrics.auc import RankedScores, area_under, rank_scores
from polytask.tasks.metrics.base import Floats, Metric, RowMeanMetric, Rows, metrics, one_label


@final
@metrics.register("preference_accuracy")
class PreferenceAccuracy(RowMeanMetric):
    """The share of pairs whose chosen answer is the more probable one; equal ones count half.

    Answers are compared by their mean log-probability per token.
    """

    forms = ("preference",)
    name = "preference_accuracy"

    @override
    def row_score(self, reference: Any, prediction: Any) -> float:
        margin = prediction["chosen"] - prediction["rejected"]
        return 0.5 if margin == 0 else float(margin > 0)


@final
@metrics.register("chosen_nats")
class ChosenNats(RowMeanMetric):
    """The cost of chosen answers: their mean negative log-probability per token, in nats.

    Losses that only compare answers may raise it (Razin et al., "Unintentional Unalignment:
    Likelihood Displacement in Direct Preference Optimization", ICLR 2025).
    https://arxiv.org/abs/2410.08847
    """

    forms = ("preference",)
    name = "chosen_nats"
    higher_is_better = False
    beside = True

    @override
    def row_score(self, reference: Any, prediction: Any) -> float:
        return -float(prediction["chosen"])


@final
@metrics.register("liked_auc")
class LikedAUC(Metric):
    """The probability that a liked answer is more probable per token than one that is not liked."""

    forms = ("approval",)
    name = "liked_auc"

    @override
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> RankedScores:
        liked_N = np.array([*map(bool, references)])
        return rank_scores(np.array(predictions, np.float64), liked_N)

    @override
    def value(self, evidence: RankedScores, weights_N: Floats) -> float:
        return area_under(evidence, weights_N)

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        return super().why_uninformative(references) or one_label(references)
