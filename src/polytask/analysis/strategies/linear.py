"""Baselines without a shared encoder; see ``analysis.linear``."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.linear_strategies import linear_answers
from polytask.analysis.strategies.base import Answered, Strategy, strategies


class BaselineStrategy(Strategy):
    """Linear models, or trees, that learn each task from its rows; their strength is always tuned."""

    seeded: ClassVar[bool] = False

    @override
    def answer(self, comparison: Comparison, seed: int) -> Answered:
        comparison.console.print(self.name, style="bold")
        with comparison.console.status("fitting linear models"):
            found, outcomes = linear_answers(
                self.name, comparison.counted, comparison.data, comparison.tasks
            )
        costs = {
            "parameters": found.parameters,
            "trained_parameters": found.parameters,
            "seconds": found.seconds,
            "tokens": None,
            "flops": None,
            "peak_memory_mb": None,
            "inference_parameters": found.parameters,
            "inference_flops_per_row": None,
        }
        notes = {"strengths": found.strengths, "no_model": found.without}
        return Answered(costs, outcomes, notes)


@strategies.register("linear")
class LinearStrategy(BaselineStrategy):
    """A linear model per task."""


@strategies.register("linear_pooled")
class LinearPooledStrategy(BaselineStrategy):
    """One linear model for all tasks with the same labels."""


@strategies.register("linear_shared_private")
class LinearSharedPrivateStrategy(BaselineStrategy):
    """One linear model with coefficients for all tasks and for each: Daumé III, ACL 2007.

    https://aclanthology.org/P07-1033
    """


@strategies.register("trees")
class TreesStrategy(BaselineStrategy):
    """Boosted trees over numbers and categories, a model per task.

    https://papers.nips.cc/paper/6907-lightgbm-a-highly-efficient-gradient-boosting-decision-tree
    """
