"""Do the transfer matrix and the grouping recover which tasks are related? Synthetic tasks, a knob.

Six tasks in two families of three; each has its own rows, texts of words drawn at random. A task
asks whether the weights of the words of a text add up to more than usual. The knob is the cosine
between the weights of two tasks of a family; across families it is 0. The encoder, a mean of word
vectors, is so narrow that unrelated tasks take room from each other: they harm, related ones help.

Truth is planted: pairs within a family are to be above pairs across, and with two models the groups
are to be the families. At 0 nothing is related, and hits are chance: 0.5 for pairs, 0.1 for groups.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from polytask.analysis.analyse import Wanted, analyse
from polytask.analysis.grouping import best_grouping
from polytask.build.training import train
from polytask.recipe import load

FAMILIES = ((0, 1, 2), (3, 4, 5))
TASKS = [f"task{number}" for number in range(6)]
WORDS, LENGTH, WIDTH = 120, 12, 1
TRAIN, HELD_OUT = 150, 100
METHODS = ("training", "lookahead", "first_order", "pairwise")


def weights(rng: random.Random, relatedness: float) -> list[list[float]]:
    """The word weights of every task."""
    found = []
    for family in FAMILIES:
        common = [rng.gauss(0, 1) for _ in range(WORDS)]
        for _ in family:
            rest = (1 - relatedness**2) ** 0.5
            found.append([relatedness * c + rest * rng.gauss(0, 1) for c in common])
    return found


def rows(rng: random.Random, weights_W: Sequence[float], count: int) -> list[dict[str, str]]:
    """Texts and whether they are above the middle."""
    found = []
    for _ in range(count):
        words = [rng.randrange(WORDS) for _ in range(LENGTH)]
        label = "above" if sum(weights_W[word] for word in words) > 0 else "below"
        found.append({"text": " ".join(f"w{word}" for word in words), "label": label})
    return found


def write(folder: Path, seed: int, relatedness: float) -> Path:
    """A recipe and its data."""
    rng = random.Random(f"{seed}/{relatedness}")
    for task, weights_W in zip(TASKS, weights(rng, relatedness), strict=True):
        for split, count in (("train", TRAIN), ("validation", HELD_OUT), ("test", HELD_OUT)):
            lines = [json.dumps(row) + "\n" for row in rows(rng, weights_W, count)]
            (folder / f"{task}-{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    recipe: dict[str, Any] = {
        "data": {
            task: {"kind": "jsonl"}
            | {split: f"{task}-{split}.jsonl" for split in ("train", "validation", "test")}
            for task in TASKS
        },
        "encoder": {"kind": "bag", "dimension": WIDTH, "hidden": []},
        "tasks": {
            task: {"kind": "classification", "from": task, "target": "label"} for task in TASKS
        },
        "training": {
            "epochs": 16, "batch_rows": 120, "learning_rate": 0.05, "interference": 2,
            "seed": seed, "threads": 1, "device": "cpu", "precision": "fp32", "evaluate_every": 8,
        },
        "evaluation": {"bootstrap": 0},
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    return path


def hits(gains_TT: Sequence[Sequence[float]]) -> dict[str, float]:
    """The share of pairs of pairs in the right order, and whether the groups are the families."""
    found_TT = np.array(gains_TT, dtype=float)
    same_TT = np.kron(np.eye(2), np.ones((3, 3))).astype(bool)
    within = found_TT[same_TT & ~np.eye(6, dtype=bool)]
    across = found_TT[~same_TT]
    groups = best_grouping(np.nan_to_num(found_TT), 2).groups
    return {
        "pairs": float((within[:, None] > across).mean()),
        "groups": float(set(groups) == set(FAMILIES)),
    }


def draw(seed: int, relatedness: float, *, pairwise: bool) -> dict[str, dict[str, float]]:
    """Hits of one draw, by method."""
    with tempfile.TemporaryDirectory() as name:
        folder, quiet = Path(name), Console(quiet=True)
        run = train(load(write(folder, seed, relatedness)), folder / "run", console=quiet)
        found = analyse(run, Wanted(steps=10, pairwise=pairwise), quiet)
    methods = found["transference"]["methods"]
    return {method: hits(methods[method]["mean"]) for method in METHODS if method in methods}


def main() -> None:
    """Print hit rates by relatedness and method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--relatedness", type=float, nargs="+", default=[0.0, 0.5, 0.8, 1.0])
    parser.add_argument("--pairwise", action="store_true", help="21 trainings more a draw")
    args = parser.parse_args()
    print("| relatedness | method | pairs in the right order | groups right | seconds a draw |")
    print("|---:|---|---:|---:|---:|")
    for relatedness in args.relatedness:
        start = time.perf_counter()
        found = [draw(seed, relatedness, pairwise=args.pairwise) for seed in range(args.draws)]
        seconds = (time.perf_counter() - start) / args.draws
        for method in found[0]:
            pairs, groups = (
                statistics.fmean(each[method][what] for each in found)
                for what in ("pairs", "groups")
            )
            print(f"| {relatedness} | {method} | {pairs:.2f} | {groups:.2f} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
