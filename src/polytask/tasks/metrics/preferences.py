"""How well a language model follows preferences between answers."""

from __future__ import annotations

import math
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
        if "chosen" not in prediction:
            return math.nan
        margin = prediction["chosen"] - prediction["rejected"]
        return 0.5 if margin == 0 else float(margin > 0)


@final
@metrics.register("chosen_likelihood")
class ChosenLikelihood(RowMeanMetric):
    """The mean log-probability per token of chosen or liked answers, in nats.

    Losses that only compare answers may lower it (Razin et al., "Unintentional Unalignment:
    Likelihood Displacement in Direct Preference Optimization", ICLR 2025).
    https://arxiv.org/abs/2410.08847
    """

    forms = ("preference",)
    name = "chosen_likelihood"
    beside = True

    @override
    def row_score(self, reference: Any, prediction: Any) -> float:
        found = prediction.get("chosen", prediction.get("answer"))
        return float(found) if reference else math.nan


@final
@metrics.register("liked_auc")
class LikedAUC(Metric):
    """The probability that a liked answer is more probable per token than one that is not."""

    forms = ("preference",)
    name = "liked_auc"

    @override
    def evidence(self, references: Rows, predictions: Rows, probabilities: Rows) -> RankedScores:
        scores_N = np.array([next(iter(own.values())) for own in predictions], np.float64)
        return rank_scores(scores_N, np.array([*map(bool, references)]))

    @override
    def value(self, evidence: RankedScores, weights_N: Floats) -> float:
        return area_under(evidence, weights_N)

    @override
    def why_uninformative(self, references: Sequence[Any]) -> str | None:
        return super().why_uninformative(references) or one_label(references)
