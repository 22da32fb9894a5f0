"""The base of strategies that train models from recipes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.costs import together
from polytask.analysis.runs import costs_of, train_model, with_seed
from polytask.analysis.settings import dimensions
from polytask.analysis.strategies.base import Answered, Strategy
from polytask.analysis.tuning import Chosen, SettingsSearch, TPESearch, choose
from polytask.assembly.run.evaluation import evaluate
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from polytask.evaluation.score import Entry, Outcome
from polytask.recipe import Recipe


@dataclass(frozen=True)
class Model:
    """One trained model of a strategy.

    :param recipe: The recipe that it was trained with.
    :param tuning: How its settings were found, or None.
    """

    run: RunFolder
    recipe: Recipe
    tuning: Mapping[str, Any] | None


class TrainedStrategy(Strategy):
    """Trains one model or several; the settings of each are tuned by themselves."""

    @abstractmethod
    def recipes(self, comparison: Comparison) -> dict[str, Recipe]:
        """Return the recipes of all models by name; the name of a single model may be empty."""

    def search(self, recipe: Recipe, trials: int) -> SettingsSearch | None:
        """Return how to search the settings of a model; None to keep the settings of the recipe."""
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
            data = comparison.data_of(model.recipe)
            found = evaluate(LoadedRun.load(model.run), comparison.held_out, data=data)
            outcomes |= found.outcomes
            entries |= found.scores["tasks"]
        return Answered(
            self.costs(comparison, models), outcomes, self.notes(comparison, models), entries
        )

    def models(self, comparison: Comparison, seed: int) -> dict[str, Model]:
        """Train every model that is not trained yet."""
        return {
            name: self._model(comparison, recipe, name, seed)
            for name, recipe in self.recipes(comparison).items()
        }

    def costs(self, comparison: Comparison, models: Mapping[str, Model]) -> dict[str, float | None]:
        """Return the costs of all models together."""
        return together([costs_of(comparison, m.run, m.recipe) for m in models.values()])

    def notes(self, comparison: Comparison, models: Mapping[str, Model]) -> dict[str, Any]:
        """Return ``steps``, ``passes`` and ``tuning`` of a result; see ``compare``."""
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
            # The best trial was trained with the first seed, so it is the model of that seed.
            trial, folder = comparison.folder / tuned.run, comparison.folder / place
            if trial.is_dir() and not folder.exists():
                folder.parent.mkdir(parents=True, exist_ok=True)
                trial.rename(folder)
        return Model(train_model(comparison, seeded, place), seeded, tuned.record)
