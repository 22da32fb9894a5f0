"""Options that speak of tasks fit the tasks that are left."""

from __future__ import annotations

from typing import Any

import pytest

from polytask.analysis.subset_recipe import subset_balancing, subset_sharing
from polytask.analysis.trainings import part_of
from polytask.recipe import Recipe

TASKS = ["mood", "stars", "side"]


def recipe(**parts: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "data": {"reviews": {"kind": "jsonl", "path": "reviews.jsonl"}},
            "encoder": "bag",
            "tasks": {task: {"kind": "classification", "target": task} for task in TASKS},
            **parts,
        }
    )


def test_weights_go_with_their_tasks() -> None:
    whole = recipe(balancing={"kind": "fixed", "weights": [1, 2, 3]})
    assert subset_balancing(whole, ["mood", "side"]).model_dump()["weights"] == [1, 3]
    assert subset_balancing(whole, TASKS) == whole.balancing


def test_weights_of_an_inner_method_and_a_chosen_task_go_with_their_tasks() -> None:
    inner = {"kind": "fixed", "weights": {"stars": 2, "side": 3}}
    whole = recipe(balancing={"kind": "metabalance", "target": "side", "losses": inner})
    found = subset_balancing(whole, ["stars", "side"]).model_dump()
    assert (found["target"], found["losses"]["weights"]) == (1, [2, 3])
    assert subset_balancing(whole, ["mood", "stars"]).model_dump()["target"] == 0
    assert subset_balancing(whole, TASKS) == whole.balancing


def test_rates_go_with_their_tasks() -> None:
    whole = recipe(training={"task_learning_rates": {"mood": 1e-3, "side": 1e-2}})
    part = part_of(whole, ["stars", "side"])
    assert part.training.task_learning_rates == {"side": 1e-2}
    assert Recipe.model_validate(part.model_dump(mode="json", by_alias=True)) == part


def test_a_task_alone_is_not_balanced() -> None:
    whole = recipe(balancing={"kind": "fixed", "weights": [1, 2, 3]})
    assert subset_balancing(whole, ["stars"]).model_dump() == {"kind": "equal"}


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (TASKS, [["mood", "stars"], ["side"]]),
        (["mood", "side"], [["mood"], ["side"]]),
        (["mood", "stars"], [["mood", "stars"]]),
        (["side"], [["side"]]),
    ],
)
def test_branches_name_the_tasks_that_are_left(kept: list[str], expected: list[list[str]]) -> None:
    whole = recipe(sharing={"kind": "tree", "branches": {1: [["mood", "stars"], ["side"]]}})
    found = subset_sharing(whole, kept).model_dump()["branches"]
    assert [[*group] for group in found[1]] == expected


@pytest.mark.parametrize("kind", ["hard", "mmoe", "lora", "cross_stitch"])
def test_other_architectures_stay_as_they_are(kind: str) -> None:
    whole = recipe(sharing=kind)
    assert subset_sharing(whole, ["mood"]) == whole.sharing
