"""Processor time of a step of every architecture, over that of ``hard`` on the same rows.

Mixed batches of the tasks of ``benchmarks.low_resource`` through all-MiniLM-L6-v2: forward and
backward passes, clipping and update, as ``polytask train`` does them. A step of ``hard`` is made
next to each, so that a busy machine slows both alike; the first two of each are not counted.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.low_resource import BASE, SHOWN, few, varied
from polytask.assembly.data.loading import Data, load_data
from polytask.assembly.run.training_parts import fit_parts, training_parts
from polytask.core.run_folder import RunFolder
from polytask.recipe import Recipe
from polytask.sharing import architectures
from polytask.training.session import Session

WARM_UP = 2


def begun(recipe: Recipe, data: Data, folder: Path) -> Session:
    """A training before its first step."""
    run, scratch = RunFolder(folder / "run"), folder / "rows"
    scratch.mkdir(parents=True)
    fitted = fit_parts(recipe, run, data, started=False)
    return Session(training_parts(recipe, data, fitted, scratch), recipe.training, run)


def timed(session: Session) -> Callable[[], float]:
    """Makes the next step and returns its seconds."""
    batches = iter(session.loader)

    def step() -> float:
        batch = next(batches)
        began = time.process_time()
        session.stepper.step([batch])
        return time.process_time() - began

    return step


def main() -> None:
    """Print a row for every architecture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", choices=[*SHOWN], default="tweeteval")
    parser.add_argument(
        "--variants",
        nargs="+",
        default=[kind for kind in architectures.kinds() if kind != "tree"],
        help="kinds, or kind:{option: value}; all but tree, which needs branches, if not given",
    )
    parser.add_argument("--tokens", type=int, default=1024, help="of a batch")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--set", nargs="*", default=[], help="changes to the recipe")
    args = parser.parse_args()
    recipe = few(args.tasks, 100, [f"training.batch_tokens={args.tokens}", *args.set])
    data = load_data(recipe)
    print("| | trained | seconds | over `hard` | range |\n|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        base = timed(
            begun(varied(recipe, "sharing", BASE["sharing"], 0, 1e-4), data, Path(name) / "base")
        )
        for number, variant in enumerate(args.variants):
            session = begun(
                varied(recipe, "sharing", variant, 0, 1e-4), data, Path(name) / str(number)
            )
            report(variant, session, base, args.steps)


def report(variant: str, session: Session, base: Callable[[], float], steps: int) -> None:
    """Steps in turns with the base, and what they took."""
    step = timed(session)
    own, other = zip(*[(step(), base()) for _ in range(WARM_UP + steps)][WARM_UP:], strict=True)
    ratios = [a / b for a, b in zip(own, other, strict=True)]
    trained = sum(p.numel() for p in session.model.parameters() if p.requires_grad)
    print(
        f"| {variant} | {trained / 1e6:.2f} M | {statistics.median(own):.2f} "
        f"| {statistics.median(ratios):.2f} | {min(ratios):.2f}-{max(ratios):.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
