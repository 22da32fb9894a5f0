"""Do transference and grouping recover which tasks help and which harm? Synthetic tasks, a knob.

Six tasks in two families of three. Each has few rows of its own, texts of words drawn at random,
and asks whether the weights of the words of a text add up to more than nothing. Within a family the
weights are the same. The knob is the cosine between the weights of the two families: at 1 all six
tasks are one, at 0 the families have nothing to do with each other, at -1 what is above for one is
below for the other. All tasks read one head, so tasks of other weights contradict each other: with
heads of their own, -1 would be as good as 1. The encoder is a mean of word vectors.

A task gains by the tasks of its family, for it has few rows, and by the other family at 1; at 0 and
below that one harms. So at 1 all belong together, at 0 and below the groups are the families: this
is what proposed groups, and the verdict of a comparison of single-task models, one model and a
model for each family, are to say. Gains are over single-task models, in per cent.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from polytask.analysis.analyse import AnalysisOptions, analyse
from polytask.analysis.compare import compare
from polytask.analysis.grouping import best_groupings
from polytask.assembly.run.training import train
from polytask.recipe import Recipe, load

FAMILIES = ((0, 1, 2), (3, 4, 5))
TASKS = [f"task{number}" for number in range(6)]
WORDS, LENGTH, WIDTH = 40, 8, 4
TRAIN, HELD_OUT = 200, 400
DECISIONS = ("share", "groups", "other groups", "separate", "undecided")
METHODS = ("training", "lookahead", "first_order", "pairwise")
SPLITS = (("train", TRAIN), ("validation", HELD_OUT), ("test", HELD_OUT))


def weights(rng: random.Random, cosine: float) -> list[list[float]]:
    """The word weights of both families."""
    first, other = ([rng.gauss(0, 1) for _ in range(WORDS)] for _ in FAMILIES)
    rest = (1 - cosine**2) ** 0.5
    return [first, [cosine * a + rest * b for a, b in zip(first, other, strict=True)]]


def rows(rng: random.Random, weights_W: Sequence[float], count: int) -> list[dict[str, str]]:
    """Texts and whether they are above the middle."""
    found = []
    for _ in range(count):
        words = [rng.randrange(WORDS) for _ in range(LENGTH)]
        label = "above" if sum(weights_W[word] for word in words) > 0 else "below"
        found.append({"text": " ".join(f"w{word}" for word in words), "label": label})
    return found


def write(folder: Path, seed: int, cosine: float) -> Path:
    """A recipe and its data."""
    rng = random.Random(f"{seed}/{cosine}")
    for family, weights_W in zip(FAMILIES, weights(rng, cosine), strict=True):
        for task in family:
            for split, count in SPLITS:
                lines = [json.dumps(row) + "\n" for row in rows(rng, weights_W, count)]
                file = folder / f"{TASKS[task]}-{split}.jsonl"
                file.write_text("".join(lines), encoding="utf-8")
    recipe: dict[str, Any] = {
        "data": {
            task: {"kind": "jsonl"} | {split: f"{task}-{split}.jsonl" for split, _ in SPLITS}
            for task in TASKS
        },
        "encoder": {"kind": "bag", "dimension": WIDTH, "hidden": []},
        "tasks": {
            task: {"kind": "classification", "from": task, "target": "label", "head": "one"}
            for task in TASKS
        },
        "training": {
            "epochs": 20, "batch_rows": 120, "learning_rate": 0.03, "interference": 4,
            "seed": seed, "threads": 1, "device": "cpu", "precision": "fp32", "evaluate_every": 5,
        },
        "evaluation": {"bootstrap": 200},
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    return path


def hits(gains_TT: Sequence[Sequence[float]]) -> dict[str, float]:
    """Shares of entries of the matrix, and whether two groups are the families."""
    found_TT = np.array(gains_TT, dtype=float)
    same_TT = np.kron(np.eye(2), np.ones((3, 3))).astype(bool)
    within, across = found_TT[same_TT & ~np.eye(6, dtype=bool)], found_TT[~same_TT]
    return {
        "within above across": float((within[:, None] > across).mean()),
        "within > 0": float((within > 0).mean()),
        "across > 0": float((across > 0).mean()),
        "two groups": float(
            {*best_groupings(np.nan_to_num(found_TT), 2)[-1].groups} == {*FAMILIES}
        ),
    }


def compared(recipe: Recipe, folder: Path, seeds: int) -> dict[str, dict[str, float]]:
    """What trainings gain, and the shares of verdicts."""
    ways = ["single", "joint", "grouped"]
    families = [[TASKS[task] for task in family] for family in FAMILIES]
    asked = recipe.compare.model_copy(
        update={"strategies": ways, "seeds": seeds, "groups": families}
    )
    training = recipe.training.model_copy(update={"interference": 0})
    update = {"compare": asked, "training": training}
    record = compare(recipe.model_copy(update=update), folder, Console(quiet=True))
    said = record["verdict"]
    right = "groups" if said["groups"] in (None, families) else "other groups"
    decision = right if said["decision"] == "groups" else said["decision"]
    gains = record["statistics"]["gains"]
    return {
        "gains": {way: gains[way]["difference"] for way in ways[1:]},
        "verdict": {known: float(decision == known) for known in DECISIONS},
    }


def draw(seed: int, cosine: float, seeds: int, *, pairwise: bool) -> dict[str, dict[str, float]]:
    """What was found in one draw, by method."""
    with tempfile.TemporaryDirectory() as name:
        folder, quiet = Path(name), Console(quiet=True)
        recipe = load(write(folder, seed, cosine))
        found = analyse(
            train(recipe, folder / "run", console=quiet),
            AnalysisOptions(steps=10, pairwise=pairwise),
            quiet,
        )
        verdicts = compared(recipe, folder / "compared", seeds)
    methods = found["transference"]["methods"]
    proposed = {tuple(map(TASKS.index, group)) for group in found["groups"]["proposed"]["groups"]}
    shape = {
        "all": float(proposed == {tuple(range(6))}),
        "the families": float(proposed == {*FAMILIES}),
        "other": float(proposed not in ({tuple(range(6))}, {*FAMILIES})),
    }
    own = {method: hits(methods[method]["mean"]) for method in METHODS if method in methods}
    return {**own, "proposed": shape, **verdicts}


def main() -> None:
    """Print what was found by the knob and method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--cosines", type=float, nargs="+", default=[1.0, 0.5, 0.0, -0.5, -1.0])
    parser.add_argument("--seeds", type=int, default=3, help="of the comparison")
    parser.add_argument("--pairwise", action="store_true", help="15 trainings more a draw")
    args = parser.parse_args()
    for cosine in args.cosines:
        found = [
            draw(seed, cosine, args.seeds, pairwise=args.pairwise) for seed in range(args.draws)
        ]
        for method, columns in found[0].items():
            means = {what: statistics.fmean(one[method][what] for one in found) for what in columns}
            shown = ", ".join(f"{what} {mean:.2f}" for what, mean in means.items())
            print(f"{cosine:g} {method}: {shown}", flush=True)


if __name__ == "__main__":
    main()
