"""Do groupings that are predicted to be good turn out to be so? Trained groups of real tasks.

The low-resource tasks of TweetEval, or the three granularities of GoEmotions, with some training
rows of each, and all-MiniLM-L6-v2. From looks at the gradients of joint trainings, one per seed,
``analyse`` predicts the mean gain over tasks of a grouping. Trained are all tasks together, and for
two and for three models the groupings that are predicted to be best, those predicted to be worst,
and one drawn at random; of three tasks all groupings that there are. Each task alone is what gains
are over, in per cent of its test score. All models see their rows equally often. A training that is
done is not repeated.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy import stats

from benchmarks.low_resource import few
from polytask.analysis.analyse import AnalysisOptions, analyse
from polytask.analysis.grouping import Group, best_groupings, value_of
from polytask.analysis.trainings import Trainer, relative_gain
from polytask.analysis.uncertainty import Floats, mean_and_error
from polytask.assembly.data.loading import Data, load_data
from polytask.assembly.run.training import train
from polytask.recipe import Recipe

MODELS = (2, 3)
PAIRS = {2: (0, 1), 1: (0, 2), 0: (1, 2)}
"""Of three tasks, the one left alone, and the others."""
Groups = tuple[Group, ...]


def predicted(recipe: Recipe, data: Data, folder: Path, seeds: Sequence[int]) -> Floats:
    """How much tasks help each other: the mean over joint trainings of what analyse prefers."""
    quiet, found = Console(quiet=True), []
    for seed in seeds:
        training = recipe.training.model_copy(update={"seed": seed, "interference": 8})
        seeded = recipe.model_copy(update={"training": training})
        run = train(seeded, folder / f"joint-{seed}", resume=True, data=data, console=quiet)
        record = analyse(run, AnalysisOptions(steps=10), quiet)["transference"]
        found.append(np.array(record["methods"][record["preferred"]]["mean"], dtype=float))
    mean_TT: Floats = np.nan_to_num(np.mean(found, axis=0))
    return mean_TT


def drawn(tasks: int, models: int) -> Groups:
    """A partition at random."""
    rng = random.Random(models)
    while True:
        model_of = [rng.randrange(models) for _ in range(tasks)]
        if len({*model_of}) == models:
            return tuple(
                tuple(task for task in range(tasks) if model_of[task] == model)
                for model in range(models)
            )


def chosen(gains_TT: Floats) -> dict[str, Groups]:
    """The groupings that are trained."""
    count = len(gains_TT)
    found: dict[str, Groups] = {"all together": (tuple(range(count)),)}
    if count == len(PAIRS):
        return found | {f"{alone + 1} alone": (pair, (alone,)) for alone, pair in PAIRS.items()}
    for models in MODELS:
        found[f"best of {models}"] = best_groupings(gains_TT, models)[-1].groups
        found[f"worst of {models}"] = best_groupings(-gains_TT, models)[-1].groups
        found[f"random {models}"] = drawn(count, models)
    return found


def gained(trainer: Trainer, groups: Groups) -> list[float]:
    """The mean gain over tasks, one for each seed."""
    tasks = [*trainer.recipe.tasks]
    gains = []
    for group in groups:
        together = trainer.scores([tasks[task] for task in group], "held out")
        for name in (tasks[task] for task in group):
            alone = trainer.scores([name], "held out")
            gains.append(
                [
                    100 * relative_gain(a[name], b[name])
                    for a, b in zip(together, alone, strict=True)
                ]
            )
    return [statistics.fmean(by_seed) for by_seed in zip(*gains, strict=True)]


def main() -> None:
    """Print what was predicted beside what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", choices=["tweeteval", "goemotions"], default="tweeteval")
    parser.add_argument("--limit", type=int, default=100, help="training rows of a task")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], help="changes to the recipe")
    parser.add_argument("--out", type=Path, required=True, help="keeps what is done")
    args = parser.parse_args()
    recipe, seeds = few(args.tasks, args.limit, args.set), range(args.seeds)
    data = load_data(recipe)
    gains_TT = predicted(recipe, data, args.out, seeds)
    trainer = Trainer(recipe, data, args.out / "trainings", seeds)
    tasks = [*recipe.tasks]
    print("| | groups | predicted | measured | by seed |\n|---|---|---:|---:|---|")
    expected, measured = [], []
    for name, groups in chosen(gains_TT).items():
        expected.append(100 * value_of(gains_TT, groups, groups) / len(tasks))
        by_seed = gained(trainer, groups)
        _, error = mean_and_error(by_seed)
        measured.append(statistics.fmean(by_seed))
        shown = " · ".join(", ".join(tasks[task] for task in group) for group in groups)
        each = ", ".join(f"{value:+.1f}" for value in by_seed)
        spread = "" if error is None else f" ± {error:.2f}"
        row = f"{expected[-1]:+.3f} | {measured[-1]:+.2f}{spread} | {each}"
        print(f"| {name} | {shown} | {row} |", flush=True)
    found = stats.spearmanr(expected, measured)
    print(f"\nSpearman's rank correlation {found.statistic:.2f} (p {found.pvalue:.2f})")


if __name__ == "__main__":
    main()
