"""A masked language model beside tasks with few labels: what the tasks' own unlabelled texts are worth.

The three low-resource benchmarks of TweetEval with some labelled rows of each task, all-MiniLM-L6-v2,
hard sharing, as in ``benchmarks.low_resource``. ``masked`` has one task more: hidden words of all
training texts of the same sources, also those whose labels are not used. Every second row drawn is
one of these, so it takes twice as many updates for as many labels as ``alone`` sees; ``longer`` is
``alone`` with as many updates. The model after the last update is scored on the official test rows.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from scipy import stats

from benchmarks.low_resource import SHOWN, Result, few, scored
from benchmarks.multi_mnist import interval
from polytask.assembly.data.loading import load_data
from polytask.evaluation.significance import holm
from polytask.recipe import Recipe

BASE = "alone"
LM = "texts"


def masked(recipe: Recipe, weight: float) -> Recipe:
    """The recipe with a masked language model of all its training texts.

    :param weight: Of its loss; that of every other task is 1.
    """
    content = recipe.model_dump(mode="json", by_alias=True)
    content["tasks"][LM] = {
        "kind": "language_model",
        "from": [*recipe.data],
        "input": "text",
        "target": "text",
        "objective": "masked",
    }
    content["balancing"] = {"kind": "fixed", "weights": [1.0] * len(recipe.tasks) + [weight]}
    return type(recipe).model_validate(content)


def variants(recipe: Recipe, weights: Sequence[float]) -> dict[str, Recipe]:
    """What is compared, by name."""
    twice = recipe.training.model_copy(update={"steps": 2 * (recipe.training.steps or 0)})
    longer = recipe.model_copy(update={"training": twice})
    aided = {f"masked, weight {weight:g}": masked(longer, weight) for weight in weights}
    return {BASE: recipe, "longer": longer, **aided}


def seeded(recipe: Recipe, seed: int) -> Recipe:
    """The recipe with another seed."""
    training = recipe.training.model_copy(update={"seed": seed})
    return recipe.model_copy(update={"training": training})


def report(found: Mapping[str, list[Result]]) -> None:
    """A row per variant; differences are paired by seed."""
    means = {
        name: [statistics.fmean(one["scores"].values()) for one in rounds]
        for name, rounds in found.items()
    }
    apart = {
        name: [a - b for a, b in zip(values, means[BASE], strict=True)]
        for name, values in means.items()
        if name != BASE
    }
    adjusted = holm({n: float(stats.ttest_1samp(v, 0.0).pvalue) for n, v in apart.items()})
    tasks = [*found[BASE][0]["scores"]]
    head = [*tasks, "mean", f"minus {BASE}", "p, Holm", "time"]
    print(f"| | {' | '.join(head)} |\n|---|{'---:|' * len(head)}")
    seconds = statistics.fmean(one["seconds"] for one in found[BASE])
    for name, rounds in found.items():
        cells = [interval([one["scores"][task] for one in rounds]) for task in tasks]
        cells.append(interval(means[name]))
        other = name in apart
        cells += [interval(apart[name]), f"{adjusted[name]:.3f}"] if other else ["", ""]
        cells.append(f"{statistics.fmean(one['seconds'] for one in rounds) / seconds:.2f}")
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    """Train what is missing in the folder, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=100, help="labelled rows of a task")
    parser.add_argument("--steps", type=int, default=60, help="updates of the tasks alone")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.1], help="of the auxiliary")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], help="changes to the recipe")
    parser.add_argument("--out", type=Path, required=True, help="keeps what is done")
    args = parser.parse_args()
    settings = [
        f"training.steps={args.steps}",
        "training.batch_tokens=1024",
        "training.evaluate_every=1000",
        "mixing=uniform",
        *args.set,
    ]
    compared = variants(few("tweeteval", args.limit, settings), args.weights)
    data = load_data(compared[BASE])
    found: dict[str, list[Result]] = {name: [] for name in compared}
    for seed in range(args.seeds):
        for name, recipe in compared.items():
            place = args.out / f"{name.replace(', weight ', '-')}-{seed}"
            one = scored(seeded(recipe, seed), data, place, SHOWN["tweeteval"])
            found[name].append(one)
    report(found)


if __name__ == "__main__":
    main()
