"""Errors of the linear baselines on the sixteen kinds of reviews of FDU-MTL.

The expected means over the tasks, in percent: one model per task 14.4 ± 0.4, shared and private
terms 11.1 ± 0.4 on the official files; 16.7 ± 0.5 and 12.1 ± 0.5 without the training rows that
occur in a test file.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from polytask.analysis.compare import compare
from polytask.analysis.linear import STRATEGIES
from polytask.recipe import load

RECIPE = Path(__file__).parents[1] / "recipes" / "fdu_mtl.yaml"


def main() -> None:
    """Print the errors of all linear strategies, with leaks and without, and what they cost."""
    print(f"{'rows':14} {'strategy':22} {'error %':>8} {'C':>6} {'parameters':>11} {'seconds':>8}")
    for rows, drop_leaks in (("official", False), ("leaks removed", True)):
        began = time.perf_counter()
        for result in results(drop_leaks=drop_leaks):
            print(
                f"{rows:14} {result['strategy']:22} {error(result['scores']):8.2f} "
                f"{max(result['strengths'].values()):6g} {result['parameters']:11,} "
                f"{result['seconds']:8.1f}"
            )
        print(f"{rows:14} all of it, reading included: {time.perf_counter() - began:.0f} s")


def results(*, drop_leaks: bool) -> list[dict[str, Any]]:
    """Run ``compare`` with the linear strategies."""
    chosen = [
        f"drop_leaks={str(drop_leaks).lower()}",
        f"compare.strategies=[{','.join(STRATEGIES)}]",
        "compare.seeds=1",
        "evaluation.bootstrap=0",
    ]
    with tempfile.TemporaryDirectory() as folder:
        record = compare(load(RECIPE, chosen), Path(folder) / "run", Console(quiet=True))
    return list(record["results"])


def error(scores: Mapping[str, Any]) -> float:
    """The mean over tasks, in percent."""
    return 100 * (1 - statistics.fmean(entry["accuracy"]["value"] for entry in scores.values()))


if __name__ == "__main__":
    main()
