"""Balancers, architectures or augmentations on tasks of few rows: all-MiniLM-L6-v2, quality, cost.

Two sets of tasks: the three low-resource benchmarks of TweetEval (irony, emotion and the five
targets of stance, with some training rows of each), and the sixteen kinds of reviews of FDU-MTL,
leaks removed. All variants see the same rows, tokens, seeds and settings. Where several learning
rates are given, each variant takes the one with the best validation score of the first seed, and
keeps it for the other seeds. Scores are of the official test rows. The time is the processor time
of this process, over that of the base: other work on the machine lengthens it less than the clock.
A training that is done is not repeated.

Δm is the mean relative gain over ``independent``, an encoder for every task, of the same seed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from scipy import stats

from benchmarks.multi_mnist import interval
from polytask.assembly.data.loading import Data, load_data
from polytask.assembly.run.evaluation import evaluate
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.assembly.run.training import train
from polytask.core.files import read_json, write_json
from polytask.evaluation.significance import holm
from polytask.recipe import Recipe, load

RECIPES = Path(__file__).parents[1] / "recipes"
LOW = (
    "emotion",
    "irony",
    *(f"stance_{on}" for on in ["abortion", "atheism", "climate", "feminist", "hillary"]),
)
SHOWN = {"tweeteval": ("emotion", "irony", "stance"), "fdu_mtl": ()}
BASE = {"balancing": "equal", "sharing": "hard", "augment": "none"}
SINGLE = "independent"
Result = dict[str, Any]


def few(name: str, limit: int, settings: Sequence[str]) -> Recipe:
    """A recipe with some training rows of each task.

    :param settings: Changes, as for ``--set``.
    """
    whole = load(RECIPES / f"{name}.yaml", ["evaluation.bootstrap=0", *settings])
    chosen = LOW if name == "tweeteval" else tuple(whole.tasks)
    tasks = {task: whole.tasks[task].model_copy(update={"limit": limit}) for task in chosen}
    sources = {source for task in tasks.values() for source in task.sources}
    data = {source: section for source, section in whole.data.items() if source in sources}
    return whole.model_copy(update={"tasks": tasks, "data": data})


def varied(recipe: Recipe, part: str, value: str, seed: int, rate: float) -> Recipe:
    """The recipe with another balancer, architecture or augmentation, a seed and a learning rate.

    :param value: A kind, or ``kind:{option: value}``; ``none`` for no augmentation.
    """
    kind, _, options = value.partition(":")
    chosen: Any = {"kind": kind, **yaml.safe_load(options)} if options else kind
    if part == "augment":
        chosen = [] if kind == "none" else [chosen]
    changed = type(recipe).model_validate(
        {**recipe.model_dump(mode="json", by_alias=True), part: chosen}
    )
    training = recipe.training.model_copy(update={"seed": seed, "learning_rate": rate})
    return recipe.model_copy(update={part: getattr(changed, part), "training": training})


def scored(recipe: Recipe, data: Data, folder: Path, shown: Sequence[str]) -> Result:
    """Train, and score the test rows; from the file of an earlier call if there is one."""
    file = folder.parent / f"{folder.name}.json"
    if file.is_file():
        return dict(read_json(file))
    own = data.of(recipe)
    begun = time.process_time()
    run = train(recipe, folder, resume=True, data=own, console=Console(stderr=True))
    spent = time.process_time() - begun
    scores = evaluate(LoadedRun.load(run), "test", data=own).scores
    firsts = {
        name: next(entry["value"] for key, entry in metrics.items() if key != "rows")
        for section in ("tasks", "pooled")
        for name, metrics in scores[section].items()
    }
    facts = read_json(run.facts)
    chosen = {name: 100 * firsts[name] for name in shown or recipe.tasks}
    result = {
        "scores": chosen,
        "selection": facts["best_selection"],
        "seconds": spent,
        **{k: facts[k] for k in ("tokens", "trained_parameters")},
    }
    write_json(file, result)
    shutil.rmtree(folder)
    return result


def results(args: argparse.Namespace) -> dict[str, list[Result]]:
    """The results of every variant and seed; seeds outermost, so that all are paired early."""
    recipe = few(args.tasks, args.limit, args.set)
    data = load_data(recipe)
    found: dict[str, list[Result]] = {value: [] for value in args.variants}

    def result(variant: str, seed: int, rate: float) -> Result:
        value, _, _ = variant.partition("@")
        name = re.sub(r"\W+", "-", value).strip("-")
        one = varied(recipe, args.part, value, seed, rate)
        place = args.out / f"{name}-{rate:g}-{seed}"
        return {"rate": rate, **scored(one, data, place, SHOWN[args.tasks])}

    for value in args.variants:
        _, _, own = value.partition("@")
        rates = [float(own)] if own else args.rates
        tried = [result(value, 0, rate) for rate in rates]
        found[value].append(max(tried, key=lambda one: one["selection"]))
    for seed in range(1, args.seeds):
        for value in args.variants:
            found[value].append(result(value, seed, found[value][0]["rate"]))
    return found


def gain(rounds: Sequence[Result], singles: Sequence[Result]) -> list[float]:
    """Δm in per cent, one per seed."""
    return [
        statistics.fmean(100 * (ours[task] / theirs[task] - 1) for task in theirs)
        for ours, theirs in zip(
            (one["scores"] for one in rounds), (one["scores"] for one in singles), strict=True
        )
    ]


def report(found: Mapping[str, list[Result]], base: str) -> None:
    """A row per variant, in the order of the mean score; differences are paired by seed."""
    means = {
        name: [statistics.fmean(one["scores"].values()) for one in rounds]
        for name, rounds in found.items()
    }
    apart = {
        name: [a - b for a, b in zip(values, means[base], strict=True)]
        for name, values in means.items()
        if name != base
    }
    chances = {name: float(stats.ttest_1samp(values, 0.0).pvalue) for name, values in apart.items()}
    adjusted = holm(chances)
    tasks = [*next(iter(found.values()))[0]["scores"]]
    tasks = tasks if len(tasks) <= 4 else []
    head = [*tasks, "mean", "Δm %", f"minus {base}", "p", "p, Holm", "rate", "trained", "time"]
    print(f"| | {' | '.join(head)} |\n|---|{'---:|' * len(head)}")
    seconds = statistics.fmean(one["seconds"] for one in found[base])
    for name in sorted(found, key=lambda name: -statistics.fmean(means[name])):
        rounds = found[name]
        cells = [interval([one["scores"][task] for one in rounds]) for task in tasks]
        cells.append(interval(means[name]))
        cells.append(interval(gain(rounds, found[SINGLE])) if SINGLE in found else "")
        cells += (
            [interval(apart[name]), f"{chances[name]:.3f}", f"{adjusted[name]:.3f}"]
            if name in apart
            else [""] * 3
        )
        spent = statistics.fmean(one["seconds"] for one in rounds) / seconds
        trained = rounds[0]["trained_parameters"] / 1e6
        cells += [f"{rounds[0]['rate']:g}", f"{trained:.2f} M", f"{spent:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    """Train what is missing in the folder, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", choices=[*SHOWN], default="tweeteval")
    parser.add_argument("--part", choices=[*BASE], default="balancing")
    parser.add_argument(
        "--variants",
        nargs="+",
        required=True,
        help="kinds, or kind:{option: value}, with @rate if it is to have a learning rate of its own",
    )
    parser.add_argument("--limit", type=int, default=400, help="training rows of a task")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4], help="learning rates")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], help="changes to the recipe")
    parser.add_argument("--out", type=Path, required=True, help="keeps what is done")
    args = parser.parse_args()
    report(results(args), BASE[args.part])


if __name__ == "__main__":
    main()
