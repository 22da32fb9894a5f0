"""Settings of a model chosen on validation rows, by as many trainings for every strategy.

Trials are drawn by a tree-structured Parzen estimator: Bergstra et al., "Algorithms for
Hyper-Parameter Optimization", NeurIPS 2011.
https://proceedings.neurips.cc/paper/2011/hash/86e8f7ab32cfd12577bc2619bc635690-Abstract.html
The first trial is the recipe as it is. Results of trials are files. A resumed search replays them,
so it draws the same settings as an uninterrupted search.
"""

from __future__ import annotations

import math
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.runs import train_model, with_seed
from polytask.analysis.settings import Dimension, Settings, with_settings
from polytask.assembly.data.loading import VALIDATION
from polytask.core.errors import InterruptedTrainingError, RecipeError, TrainingError
from polytask.core.files import read_json, write_json
from polytask.core.optional import require
from polytask.recipe import Recipe

_TRIALS = Path("trials")
_UNDEFINED = (
    "no metric is defined on validation rows. Give these rows labels, or compare without --trials."
)


@dataclass(frozen=True)
class Chosen:
    """The settings of a model.

    :param recipe: The recipe with these settings.
    :param record: How they were found: ``trials``, ``settings``, ``validation`` (their score; None
        if first metrics are undefined), ``seconds`` and ``tokens`` of all trials; None if nothing
        was tuned.
    :param run: Where the model of the first seed has been trained with them already, in the
        folder of the comparison; None if nothing was tuned.
    """

    recipe: Recipe
    record: dict[str, Any] | None = None
    run: Path | None = None


class SettingsSearch(ABC):
    """A search for the settings of a model."""

    def __init__(self, trials: int) -> None:
        self.trials = trials

    @abstractmethod
    def ask(self, number: int) -> Settings:
        """Return the settings of a trial; ``ask`` and ``tell`` alternate."""

    @abstractmethod
    def tell(self, value: float | None) -> None:
        """Record the validation score of the last trial; None if it has none."""


class GridSearch(SettingsSearch):
    """A search through a list of settings."""

    def __init__(self, points: Sequence[Settings]) -> None:
        super().__init__(len(points))
        self._points = points

    @override
    def ask(self, number: int) -> Settings:
        return self._points[number]

    @override
    def tell(self, value: float | None) -> None:
        """Ignore the score: the list is fixed."""


class TPESearch(SettingsSearch):
    """A search by Optuna's tree-structured Parzen estimator.

    :param seed: The seed of the draws.
    """

    def __init__(self, dimensions: Sequence[Dimension], trials: int, seed: int) -> None:
        super().__init__(trials)
        self._optuna = require("optuna", part="compare.trials", extra="tuning")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        sampler = self._optuna.samplers.TPESampler(seed=seed)
        self._study = self._optuna.create_study(direction="maximize", sampler=sampler)
        self._study.enqueue_trial({each.name: each.value for each in dimensions})
        self._dimensions = dimensions
        self._trial: Any = None

    @override
    def ask(self, number: int) -> Settings:
        self._trial = self._study.ask()
        return {each.name: self._draw(each) for each in self._dimensions}

    @override
    def tell(self, value: float | None) -> None:
        state = self._optuna.trial.TrialState
        self._study.tell(self._trial, value, state.FAIL if value is None else state.COMPLETE)

    def _draw(self, dimension: Dimension) -> float:
        if dimension.whole:
            whole = math.ceil(dimension.low), math.floor(dimension.high)
            return int(self._trial.suggest_int(dimension.name, *whole, log=True))
        low, high = dimension.low, dimension.high
        return float(self._trial.suggest_float(dimension.name, low, high, log=True))


def choose(comparison: Comparison, recipe: Recipe, place: Path, search: SettingsSearch) -> Chosen:
    """Try settings with the first seed, and choose the settings with the best validation score.

    :param recipe: Of the model.
    :param place: Name of the model, as a relative path.
    :raises RecipeError: If there are no validation rows of its tasks, or every trial has failed.
    """
    best = 0
    tried: list[dict[str, Any]] = []
    for number in range(search.trials):
        settings = search.ask(number)
        tried.append(_trial(comparison, recipe, _TRIALS / place, number, settings))
        search.tell(tried[-1]["validation"])
        best = max(best, number, key=lambda each: tried[each]["merit"])
        for other in range(number + 1):  # only the best model is kept, to save disk space
            if other != best:
                folder = comparison.folder / _run(_TRIALS / place, other)
                shutil.rmtree(folder, ignore_errors=True)
    if not tried[best]["merit"]:
        raise RecipeError(
            [
                f"compare.trials: all {search.trials} trials of {place} have failed: "
                f"{tried[0]['error']}"
            ]
        )
    settings = tried[best]["settings"]
    record = {
        "trials": search.trials,
        "settings": settings,
        "validation": tried[best]["validation"],
        "seconds": round(sum(trial["seconds"] for trial in tried), 3),
        "tokens": sum(trial["tokens"] for trial in tried),
    }
    return Chosen(with_settings(recipe, settings), record, _run(_TRIALS / place, best))


def _trial(
    comparison: Comparison, recipe: Recipe, place: Path, number: int, settings: Settings
) -> dict[str, Any]:
    """Return the result of a trial, from its file if these settings were tried before."""
    path = comparison.folder / place / f"{number}.json"
    if path.is_file():
        kept = {"merit": [], **read_json(path)}
        if kept["settings"] == settings:
            return kept
        shutil.rmtree(comparison.folder / _run(place, number), ignore_errors=True)
    tried = ", ".join(f"{name} {value:.3g}" for name, value in settings.items())
    comparison.console.print(f"{place}: trial {number + 1} with {tried}", style="bold")
    result = {"settings": dict(settings), **_try(comparison, recipe, place, number, settings)}
    write_json(path, result)
    return result


def _try(
    comparison: Comparison, recipe: Recipe, place: Path, number: int, settings: Settings
) -> dict[str, Any]:
    """Train with some settings; a failed training, such as by a high rate, has the worst score."""
    started = time.monotonic()
    try:
        seeded = with_seed(with_settings(recipe, settings), comparison.recipe.training.seed)
        run = train_model(comparison, seeded, _run(place, number))
    except InterruptedTrainingError:
        raise
    except TrainingError as error:
        seconds = round(time.monotonic() - started, 3)
        failed: dict[str, Any] = {"validation": None, "merit": [], "error": str(error)}
        return {**failed, "seconds": seconds, "tokens": 0}
    if not comparison.data_of(recipe).split(VALIDATION):
        raise RecipeError(
            [
                f"compare: settings of {place} are chosen on validation rows, and its tasks have "
                "none. Give their data a validation file, or split: {validation: 0.1}."
            ]
        )
    facts = read_json(run.facts)
    found = {"validation": facts["best_selection"], "merit": facts["best_merit"]}
    undefined = {} if found["merit"] else {"error": _UNDEFINED}
    return {**found, **undefined, "seconds": facts["seconds"], "tokens": facts["tokens"]}


def _run(place: Path, number: int) -> Path:
    return place / f"run-{number}"
