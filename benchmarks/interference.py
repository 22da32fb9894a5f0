"""What looks at the gradients of tasks cost during a training, with ``training.interference: auto``.

Recipes are trained, and the processor time of every look and of every step is taken: that of looks must be 5 % of that of steps at most. Given are the median look in median steps, and
all looks, the first among them, over the steps of this training.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

from rich.console import Console

from benchmarks.low_resource import RECIPES
from polytask.assembly.run.training import train
from polytask.recipe import load
from polytask.training.interference import Observer
from polytask.training.step import Stepper


def timed(method: Callable[..., object], spent: list[float]) -> Callable[..., object]:
    """The method, adding seconds of processor time to a list."""

    def call(*args: object) -> object:
        begun = time.process_time()
        result = method(*args)
        spent.append(time.process_time() - begun)
        return result

    return call


def measure(name: str, settings: Sequence[str]) -> None:
    """Print a row of the table."""
    recipe = load(RECIPES / f"{name}.yaml", ["training.interference=auto", *settings])
    looks: list[float] = []
    steps: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(Observer, "look", timed(Observer.look, looks)),
        patch.object(Stepper, "step", timed(Stepper.step, steps)),
    ):
        train(recipe, Path(folder) / "run", console=Console(quiet=True))
    every = len(steps) / len(looks)
    in_steps = statistics.median(looks) / statistics.median(steps)
    share = 100 * sum(looks) / sum(steps)
    print(
        f"| {name} | {len(steps)} | {len(looks)} | {in_steps:.1f} | {100 * in_steps / every:.1f} | "
        f"{share:.1f} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--set", nargs="*", default=[], help="changes to the recipes")
    args = parser.parse_args()
    print("| recipe | steps | looks | a look in steps | % | % with the first |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in args.recipes:
        measure(name, args.set)


if __name__ == "__main__":
    main()
