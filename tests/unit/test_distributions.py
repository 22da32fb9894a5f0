"""Label distributions and their distances: known values of the Jensen-Shannon divergence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from polytask.analysis.distributions import divergence, label_facts, shares_of
from polytask.assembly.data.labels import fit_tasks
from polytask.assembly.data.loading import TRAIN, load_data
from polytask.assembly.model.assemble import new_tasks
from polytask.recipe import load
from tests.end_to_end.files import Files, write_experiment

RECIPE = """\
data:
  shop: {kind: jsonl, train: train.jsonl, validation: validation.jsonl, test: test.jsonl}
encoder: bag
tasks:
  one: {kind: classification, target: one}
  other: {kind: classification, target: other}
  tags: {kind: multilabel, target: tags}
  number: {kind: regression, target: number}
"""
TRAINING: list[dict[str, Any]] = [
    {"text": "a", "one": "yes", "other": "no", "tags": ["x", "y"], "number": 1.0},
    {"text": "b", "one": "no", "other": "yes", "tags": ["x"], "number": 2.0},
    {"text": "c", "one": "no", "other": None, "tags": [], "number": 3.0},
    {"text": "d", "one": "no", "other": "no", "tags": ["x"], "number": 4.0},
]
TEST: list[dict[str, Any]] = [
    {"text": "e", "one": "yes", "other": "no", "tags": ["x"], "number": 1.0}
]


@pytest.mark.parametrize(
    ("one", "other", "bits"),
    [
        ({"a": 0.3, "b": 0.7}, {"a": 0.3, "b": 0.7}, 0.0),
        ({"a": 1.0}, {"b": 1.0}, 1.0),
        # The mean is (3/4, 1/4): 0.811278 bits, less half the bit of the even one.
        ({"a": 0.5, "b": 0.5}, {"a": 1.0}, 0.311278),
        # Half in common: the mean is (1/4, 1/2, 1/4), 1.5 bits, less the bit of both.
        ({"a": 0.5, "b": 0.5}, {"b": 0.5, "c": 0.5}, 0.5),
    ],
)
def test_known_divergences(one: dict[str, float], other: dict[str, float], bits: float) -> None:
    assert divergence(one, other) == pytest.approx(bits, abs=1e-6)


counts = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), min_size=1)


@given(counts, counts)
def test_a_divergence_is_symmetric_and_between_0_and_1(
    one: dict[str, int], other: dict[str, int]
) -> None:
    shares = [{k: n / sum(each.values()) for k, n in each.items()} for each in (one, other)]
    found = divergence(*shares)
    assert found == divergence(*reversed(shares))
    assert 0.0 <= found <= 1.0
    distance = math.sqrt(found)  # Endres and Schindelin 2003: the root is a metric
    middle = dict.fromkeys("abcd", 0.25)
    assert (
        distance
        <= math.sqrt(divergence(shares[0], middle))
        + math.sqrt(divergence(middle, shares[1]))
        + 1e-3
    )


def test_shares_are_of_all_labels_most_frequent_first() -> None:
    assert shares_of(["b", "a", "b", "b"]) == {"b": 0.75, "a": 0.25}
    assert shares_of([]) == {}


def test_facts_of_a_recipe(tmp_path: Path) -> None:
    rows: Files = {"train": TRAINING, "validation": TRAINING[:2], "test": TEST}
    recipe = load(write_experiment(tmp_path, RECIPE, rows))
    data, tasks = load_data(recipe), new_tasks(recipe)
    facts = label_facts(data, tasks, fit_tasks(recipe, tasks, data.split(TRAIN)))
    assert facts["tasks"].keys() == {"one", "other", "tags"}  # numbers have no labels
    one = facts["tasks"]["one"]
    assert one["splits"] == {
        "train": {"no": 0.75, "yes": 0.25},
        "validation": {"yes": 0.5, "no": 0.5},
        "test": {"yes": 1.0},
    }
    # Of (1/4, 3/4) and (1, 0) the mean is (5/8, 3/8).
    mean, train = (
        -sum(share * math.log2(share) for share in shares)
        for shares in ((5 / 8, 3 / 8), (1 / 4, 3 / 4))
    )
    assert one["train_test"] == pytest.approx(mean - train / 2, abs=1e-6)
    assert facts["tasks"]["other"]["splits"]["train"] == pytest.approx(
        {"no": 2 / 3, "yes": 1 / 3}, abs=1e-6
    )
    assert facts["tasks"]["tags"]["splits"]["train"] == {"x": 0.75, "y": 0.25}
    assert [pair["tasks"] for pair in facts["pairs"]] == [["one", "other"]]
    assert 0 < facts["pairs"][0]["train"] < 0.01
