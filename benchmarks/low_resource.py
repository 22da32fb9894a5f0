"""Balancing methods or architectures on tasks with few rows: all-MiniLM-L6-v2, quality and cost.

Two sets of tasks: the three low-resource benchmarks of TweetEval (irony, emotion and the five
targets of stance, with some training rows of each), and the sixteen kinds of reviews of FDU-MTL,
leaks removed. All variants see the same rows, tokens, seeds and settings; nothing is tuned for any
of them. The checkpoint is chosen on validation rows, scores are of the official test rows. A
training that is done is not repeated.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from scipy import stats

from benchmarks.multi_mnist import holm, interval
from polytask.build.data import Data, load_data
from polytask.build.evaluation import evaluate
from polytask.build.training import train
from polytask.core.files import read_json, write_json
from polytask.recipe import Recipe, load

RECIPES = Path(__file__).parents[1] / "recipes"
LOW = (
    "emotion",
    "irony",
    *(f"stance_{on}" for on in ["abortion", "atheism", "climate", "feminist", "hillary"]),
)
SHOWN = {"tweeteval": ("emotion", "irony", "stance"), "fdu_mtl": ()}
BASE = {"balancing": "equal", "sharing": "hard"}
Result = dict[str, Any]


def few(name: str, limit: int, settings: Sequence[str]) -> Recipe:
    """A recipe with some training rows of each task.

    :param settings: Changes, as for ``--set``.
    """
    whole = load(RECIPES / f"{name}.yaml", ["evaluation.bootstrap=0", *settings])
    chosen = LOW if name == "tweeteval" else tuple(whole.tasks)
    tasks = {task: whole.tasks[task].model_copy(update={"limit": limit}) for task in chosen}
    data = {source: section for source, section in whole.data.items() if source in chosen}
    return whole.model_copy(update={"tasks": tasks, "data": data})


def varied(recipe: Recipe, part: str, value: str, seed: int) -> Recipe:
    """The recipe with another balancing method or architecture, and a seed."""
    options = type(recipe).model_validate(
        {**recipe.model_dump(mode="json", by_alias=True), part: _parsed(value)}
    )
    training = recipe.training.model_copy(update={"seed": seed})
    return recipe.model_copy(update={part: getattr(options, part), "training": training})


def _parsed(value: str) -> dict[str, Any] | str:
    """``kind`` or ``kind:option=number``, as a recipe has it."""
    kind, _, options = value.partition(":")
    pairs = [pair.split("=") for pair in options.split(",") if pair]
    return {"kind": kind, **{name: float(number) for name, number in pairs}} if pairs else kind


def scored(recipe: Recipe, data: Data, folder: Path, shown: Sequence[str]) -> Result:
    """Train, and score the test rows; from the file of an earlier call if there is one."""
    file = folder.with_suffix(".json")
    if file.is_file():
        return dict(read_json(file))
    own = data.of(recipe)
    run = train(recipe, folder, resume=True, data=own, console=Console(stderr=True))
    scores = evaluate(run, "test", data=own).scores
    firsts = {
        name: next(entry["value"] for key, entry in metrics.items() if key != "rows")
        for section in ("tasks", "pooled")
        for name, metrics in scores[section].items()
    }
    facts = read_json(run.facts)
    chosen = {name: 100 * firsts[name] for name in shown or recipe.tasks}
    result = {
        "scores": chosen,
        **{k: facts[k] for k in ("seconds", "tokens", "trained_parameters")},
    }
    write_json(file, result)
    shutil.rmtree(folder)
    return result


def results(args: argparse.Namespace) -> dict[str, list[Result]]:
    """The results of every variant and seed; seeds outermost, so that all are paired early."""
    recipe = few(args.tasks, args.limit, args.set)
    data = load_data(recipe)
    found: dict[str, list[Result]] = {value: [] for value in args.variants}
    for seed in range(args.seeds):
        for value in args.variants:
            folder = args.out / f"{value.replace(':', '-')}-{seed}"
            one = varied(recipe, args.part, value, seed)
            found[value].append(scored(one, data, folder, SHOWN[args.tasks]))
    return found


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
    columns = [*next(iter(found.values()))[0]["scores"]]
    columns = columns if len(columns) <= 4 else []
    seconds = statistics.fmean(one["seconds"] for one in found[base])
    print(
        f"| | {''.join(f'{c} | ' for c in columns)}mean | minus {base} | p | p, Holm "
        "| trained parameters | time |"
    )
    print("|---|" + "---:|" * (len(columns) + 6))
    for name in sorted(found, key=lambda name: -statistics.fmean(means[name])):
        cells = [interval([one["scores"][c] for one in found[name]]) for c in columns]
        cells.append(interval(means[name]))
        cells += (
            [interval(apart[name]), f"{chances[name]:.3f}", f"{adjusted[name]:.3f}"]
            if name in apart
            else [""] * 3
        )
        trained = found[name][0]["trained_parameters"] / 1e6
        spent = statistics.fmean(one["seconds"] for one in found[name]) / seconds
        print(f"| {name} | {' | '.join(cells)} | {trained:.2f} M | {spent:.2f} |")


def main() -> None:
    """Train what is missing in the folder, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", choices=[*SHOWN], default="tweeteval")
    parser.add_argument("--part", choices=[*BASE], default="balancing")
    parser.add_argument("--variants", nargs="+", required=True, help="kinds, or kind:option=number")
    parser.add_argument("--limit", type=int, default=400, help="training rows of a task")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], help="changes to the recipe")
    parser.add_argument("--out", type=Path, required=True, help="keeps what is done")
    args = parser.parse_args()
    report(results(args), BASE[args.part])


if __name__ == "__main__":
    main()
