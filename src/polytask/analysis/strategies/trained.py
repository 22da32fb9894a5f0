"""Strategies that train models: each names the recipes of its models, the rest is done here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.costs import together
from polytask.analysis.runs import costs_of, evaluate_model, train_model, with_seed
from polytask.analysis.settings import dimensions
from polytask.analysis.strategies.base import Answered, Strategy
from polytask.analysis.tuning import Chosen, SettingsSearch, TPESearch, choose
from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from polytask.evaluation.score import Entry, Outcome
from polytask.recipe import Recipe


@dataclass(frozen=True)
class Model:
    """One trained model of a strategy.

    :param recipe: What it was trained by.
    :param tuning: How its settings were found, or None.
    """

    run: RunFolder
    recipe: Recipe
    tuning: Mapping[str, Any] | None


class TrainedStrategy(Strategy):
    """Trains one model or several; the settings of each are tuned by themselves."""

    @abstractmethod
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        """The recipe of every model, by its name; a single one may be called ''."""

    def search(self, recipe: Recipe, trials: int) -> SettingsSearch | None:
        """How the settings of a model are chosen; None if they are those of the recipe."""
        return TPESearch(dimensions(recipe), trials, recipe.training.seed) if trials else None

    @override
    def chooses(self, recipe: Recipe) -> bool:
        return recipe.compare.trials > 0

    @override
    def answer(self, comparison: Comparison, seed: int) -> Answered:
        models = self.models(comparison, seed)
        outcomes: dict[str, Outcome] = {}
        entries: dict[str, Entry] = {}
        for model in models.values():
            found = evaluate_model(comparison, model.run, model.recipe)
            outcomes |= found.outcomes
            entries |= found.scores["tasks"]
        return Answered(
            self.costs(comparison, models), outcomes, self.notes(comparison, models), entries
        )

    def models(self, comparison: Comparison, seed: int) -> dict[str, Model]:
        """Train every model, as far as that has not been done."""
        return {
            name: self._model(comparison, recipe, name, seed)
            for name, recipe in self.recipes(comparison).items()
        }

    def costs(self, comparison: Comparison, models: Mapping[str, Model]) -> dict[str, float | None]:
        """What all models together have cost."""
        return together([costs_of(comparison, m.run, m.recipe) for m in models.values()])

    def notes(self, comparison: Comparison, models: Mapping[str, Model]) -> dict[str, Any]:
        """What a result says of its trainings: ``steps``, ``passes`` and ``tuning`` of ``compare``."""
        steps = min(read_json(model.run.facts)["steps"] for model in models.values())
        epochs = min(model.recipe.training.epochs for model in models.values())
        passes = epochs / comparison.recipe.training.epochs
        tuned = {name: dict(model.tuning) for name, model in models.items() if model.tuning}
        return {"steps": steps, "passes": passes} | ({"tuning": tuned} if tuned else {})

    def _model(self, comparison: Comparison, recipe: Recipe, name: str, seed: int) -> Model:
        search = self.search(recipe, comparison.recipe.compare.trials)
        tuned = Chosen(recipe)
        if search is not None:
            tuned = choose(comparison, recipe, Path(self.name, name), search)
        seeded = with_seed(tuned.recipe, seed)
        place = Path(self.name, f"seed-{seed}", name)
        if seed == comparison.recipe.training.seed and tuned.run is not None:
            _move(comparison.folder / tuned.run, comparison.folder / place)
        return Model(train_model(comparison, seeded, place), seeded, tuned.record)


def _move(trial: Path, place: Path) -> None:
    """Take the model of a trial for the one of the first seed, as they are the same."""
    if trial.is_dir() and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        trial.rename(place)
