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
    :param notes: What was chosen on the way, for the record.
    :param entries: The scores of tasks that have been scored already.
    """

    costs: Costs
    outcomes: Mapping[str, Outcome]
    notes: Mapping[str, Any] = field(default_factory=dict)
    entries: Mapping[str, Entry] = field(default_factory=dict)


class Strategy(ABC):
    """A way to obtain answers to all tasks of a recipe.

    :param name: As it is registered.
    """

    seeded: ClassVar[bool] = True
    """Whether chance has a part in it; if not, it is run once for all seeds."""

    shares: ClassVar[bool] = False
    """Whether one encoder answers all tasks: then it counts for whether they should share one."""

    def __init__(self, name: str, /) -> None:
        self.name = name

    def mistakes(self, recipe: Recipe) -> list[str]:
        """Why a recipe cannot be answered so, known before anything is trained."""
        return []

    def chooses(self, recipe: Recipe) -> bool:
        """Whether settings are chosen by training with several and looking at validation rows."""
        return False

    def settings(self, recipe: Recipe) -> dict[str, Any]:
        """What a result depends on besides the recipe of a comparison, as JSON."""
        return {}

    @abstractmethod
    def answer(self, comparison: Comparison, seed: int) -> Answered:
        """Train what is to be trained, as far as that has not been done, and answer."""


strategies: Registry[Strategy] = Registry("compare.strategies", Strategy)
