"""Two recipes, and where they say something else."""

from __future__ import annotations

import pytest

from polytask.recipe.difference import find_differences

KEPT = """\
data: {shop: {kind: jsonl, split: null}}
training: {epochs: 3.0, betas: [0.9, 0.999]}
pooled: {}
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", []),
        ("3.0", "5.0", ["training.epochs"]),
        ("0.999", "0.99", ["training.betas"]),
        ("jsonl", "csv, path: a.csv", ["data.shop.kind", "data.shop.path"]),
        ("split: null", "split: {test: 0.1}", ["data.shop.split", "data.shop.split.test"]),
        ("pooled: {}", "pooled: {all: {tasks: [a]}}", ["pooled", "pooled.all.tasks"]),
        ("pooled: {}", "", ["pooled"]),
        ("training: {epochs: 3.0, betas: [0.9, 0.999]}\npooled: {}", "pooled: {}\ntraining: {betas: [0.9, 0.999], epochs: 3.0}", []),
    ],
)  # fmt: skip
def test_the_keys_that_differ_are_named(old: str, new: str, expected: list[str]) -> None:
    other = KEPT.replace(old, new)
    assert find_differences(KEPT, other) == expected
    assert sorted(find_differences(other, KEPT)) == sorted(expected)
