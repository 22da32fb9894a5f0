"""Domain reweighting with minimax optimisation.

Xie et al., "DoReMi: Optimizing Data Mixtures Speeds Up Language Model Pretraining", NeurIPS 2023,
algorithm 1. https://arxiv.org/abs/2305.10429
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, final

import numpy as np
from pydantic import PositiveFloat
from typing_extensions import override

from polytask.core.errors import RecipeError
from polytask.data.mixing.base import Floats, mixtures
from polytask.data.mixing.dynamic import DynamicMixture, Round, softmax


@final
@mixtures.register("doremi")
class DoReMi(DynamicMixture):
    """Draws more and more from the pools with the largest excess loss, by exponentiated gradient.

    The excess is the loss minus the loss of a reference model, at least 0. Deviations: without a
    reference, the excess is the loss divided by the loss of the first round. The learned shares
    are used at once for this model; the paper uses their mean for another model. Shares change once
    per round. ``floor`` is the smoothing c of the paper (0.001 there).

    :param step_size: Factor of the excess; 1 in the paper, with an update per step.
    :param reference: Loss of each task in a reference model, such as the last losses of a
        proportional run.
    """

    favours: ClassVar[Literal["fast", "slow"]] = "slow"

    def __init__(
        self,
        *,
        step_size: PositiveFloat = 0.3,
        reference: Mapping[str, float] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.step_size = step_size
        self.reference = reference

    @override
    def set_pools(self, tasks_P: Sequence[Sequence[str]]) -> None:
        super().set_pools(tasks_P)
        known = self.reference
        missing = {task for tasks in tasks_P for task in tasks if known and task not in known}
        if missing:
            found = ", ".join(sorted(missing))
            raise RecipeError(
                [f"mixing.reference: no loss for {found}. Give a loss for every task."]
            )

    @override
    def learn(self, seen: Round) -> Floats:
        excess_P = seen.ratios_P
        if known := self.reference:
            excess_P = self.by_pool({t: max(0.0, v - known[t]) for t, v in seen.losses.items()})
        return softmax(np.log(seen.shares_P) + self.step_size * np.nan_to_num(excess_P))
