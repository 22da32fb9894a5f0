"""How much every model of a comparison is trained: passes, steps and validations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from polytask.analysis.comparison import Comparison
from polytask.analysis.strategies import strategies
from polytask.analysis.strategies.trained import TrainedStrategy
from polytask.assembly.data.labels import fit_tasks
from polytask.assembly.data.loading import TRAIN, load_data
from polytask.assembly.model.assemble import new_tasks
from polytask.recipe import Recipe, load
from tests.end_to_end.files import write_rows

RECIPE = """\
data:
  both: {kind: jsonl, train: both.jsonl, validation: both.jsonl, test: both.jsonl}
  own: {kind: jsonl, train: own.jsonl, validation: own.jsonl, test: own.jsonl}
encoder: {kind: bag, dimension: 4, hidden: []}
tasks:
  one: {kind: classification, from: both, target: one}
  other: {kind: classification, from: both, target: other}
  third: {kind: classification, from: own, target: third}
compare: {groups: [[one], [other, third]]}
"""
# Tokens of a pass: one 4 rows × 2, other 2 of these rows, third 12 rows × 1; all 8 + 12 = 20.
TOKENS = {"one": 8, "other": 4, "third": 12, "other+third": 16}
BOTH = [
    {"text": "a b", "one": "xy"[n % 2], "other": "uv"[n % 2] if n < 2 else None} for n in range(4)
]
OWN = [{"text": "a", "third": "pq"[n % 2]} for n in range(12)]


def models(folder: Path, kind: str, *settings: str) -> Mapping[str, Recipe]:
    """The recipes of the models of a strategy."""
    write_rows(folder / "both.jsonl", BOTH)
    write_rows(folder / "own.jsonl", OWN)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    recipe = load(folder / "recipe.yaml", settings)
    data, tasks = load_data(recipe), new_tasks(recipe)
    labels = fit_tasks(recipe, tasks, data.split(TRAIN))
    comparison = Comparison(recipe, data, tasks, labels, folder, Console(quiet=True))
    strategy = strategies.build(kind, kind)
    assert isinstance(strategy, TrainedStrategy)
    return strategy.recipes(comparison)


def of(recipes: Mapping[str, Recipe], name: str) -> dict[str, Any]:
    return {model: getattr(recipe.training, name) for model, recipe in recipes.items()}


EPOCHS = "training={epochs: 6, evaluate_every: 2}"


@pytest.mark.parametrize(
    ("kind", "passes"),
    [
        ("joint", {"": 1.0}),
        ("sum", {"": 1.0}),
        # The models read 8, 4 and 12 tokens in a pass, 24 together.
        ("single", {"one": 20 / 24, "other": 20 / 24, "third": 20 / 24}),
        ("single_all", {"one": 20 / 8, "other": 20 / 4, "third": 20 / 12}),
        # The groups read 8 and 4 + 12 tokens in a pass, 24 together.
        ("grouped", {"one": 20 / 24, "other+third": 20 / 24}),
    ],
)
def test_passes_and_as_many_validations(
    tmp_path: Path, kind: str, passes: Mapping[str, float]
) -> None:
    found = models(tmp_path, kind, EPOCHS)
    assert of(found, "epochs") == pytest.approx({name: 6 * share for name, share in passes.items()})
    every = of(found, "evaluate_every")
    assert every == pytest.approx({name: 2 * share for name, share in passes.items()})


@pytest.mark.parametrize(
    ("kind", "batch", "steps"),
    [
        ("joint", "batch_tokens: 8", {"": 300}),
        ("single", "batch_tokens: 8", {"one": 100, "other": 50, "third": 150}),
        ("single_all", "batch_tokens: 8", {"one": 300, "other": 300, "third": 300}),
        ("grouped", "batch_tokens: 8", {"one": 100, "other+third": 200}),
        # Of 16 rows: 4, 2 and 12. Rows have 2, 2 and 1 tokens, those of the joint model 1.25.
        ("single", "batch_rows: 4", {"one": 62, "other": 31, "third": 188}),
        ("single_all", "batch_rows: 4", {"one": 188, "other": 188, "third": 375}),
    ],
)
def test_steps_are_shared_by_what_batches_are_filled_by(
    tmp_path: Path, kind: str, batch: str, steps: Mapping[str, int]
) -> None:
    settings = f"training={{steps: 300, evaluate_every: 2, {batch}}}"
    found = models(tmp_path, kind, settings)
    assert of(found, "steps") == steps
    by_passes = models(tmp_path, kind, EPOCHS)
    assert of(found, "evaluate_every") == of(by_passes, "evaluate_every")


def test_models_of_some_tasks_select_by_their_own_average(tmp_path: Path) -> None:
    select = "training.select=third.accuracy"
    assert of(models(tmp_path, "joint", select), "select") == {"": "third.accuracy"}
    assert set(of(models(tmp_path, "single", select), "select").values()) == {"average"}


def test_the_plain_sum_is_one_encoder_and_equal_weights(tmp_path: Path) -> None:
    [recipe] = models(tmp_path, "sum", "sharing=independent", "balancing=famo").values()
    assert (recipe.sharing.kind, recipe.balancing.kind) == ("hard", "equal")
    [joint] = models(tmp_path, "joint", "sharing=independent", "balancing=famo").values()
    assert (joint.sharing.kind, joint.balancing.kind) == ("independent", "famo")


def test_weights_go_with_their_tasks_and_one_task_needs_none(tmp_path: Path) -> None:
    weighted = "balancing={kind: fixed, weights: [1, 2, 3]}"
    found = models(tmp_path, "grouped", weighted)
    assert found["other+third"].balancing.model_dump()["weights"] == [2.0, 3.0]
    assert found["one"].balancing.kind == "equal"
    alone = models(tmp_path, "single", weighted)
    assert {recipe.balancing.kind for recipe in alone.values()} == {"equal"}
    [joint] = models(tmp_path, "joint", weighted).values()
    assert joint.balancing.model_dump()["weights"] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("kind", ["single", "grouped"])
@pytest.mark.parametrize("settings", ["training={epochs: 6}", "training={steps: 300}"])
def test_models_of_some_tasks_together_take_the_compute_of_the_joint_one(
    tmp_path: Path, kind: str, settings: str
) -> None:
    share = sum(
        recipe.training.steps / 300
        if recipe.training.steps
        else recipe.training.epochs / 6 * TOKENS[name] / 20
        for name, recipe in models(tmp_path, kind, settings).items()
    )
    assert share == pytest.approx(1, abs=0.01)
