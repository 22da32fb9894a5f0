"""The interface of a strategy: a way to obtain answers to all tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from polytask.analysis.comparison import Comparison
from polytask.analysis.costs import Costs
from polytask.core.registry import Registry
from polytask.evaluation.score import Entry, Outcome
from polytask.recipe import Recipe


@dataclass(frozen=True)
class Answered:
    """The answers of a strategy on the held-out rows, and their cost.

    :param costs: One number, or None, for each of ``COSTS``.
    :param outcomes: Answers by task, all rows in the order of the comparison.
    :param notes: Settings that were chosen, for the record.
    :param entries: The scores of tasks that have been scored already.
    """

    costs: Costs
    outcomes: Mapping[str, Outcome]
    notes: Mapping[str, Any] = field(default_factory=dict)
    entries: Mapping[str, Entry] = field(default_factory=dict)


class Strategy(ABC):
    """A way to obtain answers to all tasks of a recipe.

    :param name: The registered name.
    """

    seeded: ClassVar[bool] = True
    """Whether the result depends on the seed; if not, the strategy runs once for all seeds."""

    shares: ClassVar[bool] = False
    """Whether one encoder answers all tasks; only then the verdict may recommend sharing."""

    def __init__(self, name: str, /) -> None:
        self.name = name

    def mistakes(self, recipe: Recipe) -> list[str]:
        """Return why the strategy cannot answer a recipe; checked before any training."""
        return []

    def chooses(self, recipe: Recipe) -> bool:
        """Return whether settings are chosen by their scores on validation rows."""
        return False

    def settings(self, recipe: Recipe) -> dict[str, Any]:
        """Return the options, as JSON, that a result depends on besides the recipe."""
        return {}

    @abstractmethod
    def answer(self, comparison: Comparison, seed: int) -> Answered:
        """Train the models that are not trained yet, and predict the held-out rows."""


strategies: Registry[Strategy] = Registry("compare.strategies", Strategy)
