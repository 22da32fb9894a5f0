"""Same seed, same losses: a refactoring that changes them changes what people measured.

The first losses of small trainings, one for every mixture and every balancer, are kept in
``losses.json``. After a change that is meant to change them, write them anew, look at the
difference and say in the change log why::

    POLYTASK_WRITE_GOLDEN=1 python -m pytest tests/golden
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from polytask.assembly.data.loading import Data, load_data
from polytask.assembly.run.training import train
from polytask.balancing import balancers
from polytask.core.files import read_json, write_json
from polytask.core.registry import Registry
from polytask.data.mixing import mixtures
from polytask.recipe import load

FILE = Path(__file__).with_name("losses.json")
WRITE = "POLYTASK_WRITE_GOLDEN"
TOLERANCE = 1e-4
"""Kinds of CPUs add numbers up in different orders; ten steps make little of that."""

RECIPE = """\
data:
  shop: {kind: synthetic, size: 70, validation: 10, test: 10, languages: [zh], relatedness: 0.6}
  abroad: {kind: synthetic, size: 30, validation: 10, test: 10, languages: [en], seed: 1, missing: 0.3, relatedness: 0.6}
encoder: {kind: bag, dimension: 16, hidden: [16], dropout: 0.2}
tasks:
  sentiment: {kind: classification, from: [shop, abroad], input: tokens, target: sentiment}
  topic: {kind: classification, from: shop, input: tokens, target: topic}
  stars: {kind: regression, from: abroad, input: tokens, target: stars}
training:
  {steps: 10, batch_rows: 16, accumulate: 2, learning_rate: 1e-2, precision: fp32, threads: 1,
   device: cpu}
evaluation: {bootstrap: 0}
"""
Losses = list[dict[str, float]]


def own(registry: Registry[Any]) -> list[str]:
    """The parts of this package, without those that other tests have registered."""
    kinds = registry.kinds()
    return [kind for kind in kinds if registry.part(kind).__module__.startswith("polytask.")]


CASES = [f"mixing={kind}" for kind in own(mixtures)] + [f"balancing={k}" for k in own(balancers)]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("golden") / "golden.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(recipe: Path) -> Data:
    return load_data(load(recipe))


def first_losses(recipe: Path, data: Data, case: str) -> Losses:
    run = train(load(recipe, [case]), recipe.parent / case, data=data, console=Console(quiet=True))
    return [
        {task: float(f"{loss:.7g}") for task, loss in record["losses"].items()}
        for record in run.records()
        if "losses" in record
    ]


@pytest.mark.parametrize("case", CASES)
def test_losses_are_what_they_were(case: str, recipe: Path, data: Data) -> None:
    found = first_losses(recipe, data, case)
    kept: dict[str, Losses] = read_json(FILE) if FILE.is_file() else {}
    if os.environ.get(WRITE):
        write_json(FILE, {**{c: kept[c] for c in CASES if c in kept}, case: found})
        return
    assert case in kept, f"no losses are kept for it; write them: {WRITE}=1"
    assert len(found) == len(kept[case]) == 10
    for step, (now, before) in enumerate(zip(found, kept[case], strict=True), start=1):
        assert now == pytest.approx(before, rel=TOLERANCE), f"step {step}"


def test_every_kept_sequence_is_tested() -> None:
    assert set(read_json(FILE)) == set(CASES)


def test_every_part_changes_what_happens() -> None:
    kept = read_json(FILE)
    usual = {case for case, losses in kept.items() if losses == kept["balancing=equal"]}
    slow = {"balancing=coba"}  # looks at more steps than these before it weighs
    assert usual - slow == {"mixing=proportional", "balancing=equal", "balancing=fixed"}
