"""The linear baselines inside a comparison: which rows they learn from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from polytask.analysis.linear import STRATEGIES
from polytask.analysis.linear_strategies import count_rows, linear_answers
from polytask.assembly.data.labels import fit_tasks
from polytask.assembly.data.loading import TRAIN, load_data
from polytask.assembly.data.scoring import metrics_of, poolings_of
from polytask.assembly.model.assemble import new_tasks
from polytask.evaluation.score import score
from polytask.recipe import load

ROWS = [{"text": "good film", "label": "yes"}, {"text": "bad film", "label": "no"}]
CONTRARY = [{"text": "good film", "label": "no"}, {"text": "bad film", "label": "yes"}]


def results(folder: Path, splits: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """The results of all linear strategies on a recipe with one task and these rows."""
    files = ""
    for split, rows in splits.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
        files += f", {split}: {split}.jsonl"
    (folder / "recipe.yaml").write_text(
        f"data: {{films: {{kind: jsonl{files}}}}}\n"
        "encoder: bag\n"
        "tasks: {films: {kind: classification, from: films, input: text, target: label}}\n"
        "pooled: {everything: {tasks: [films, films], metric: accuracy}}\n"
        "evaluation: {bootstrap: 0}\n",
        encoding="utf-8",
    )
    recipe = load(folder / "recipe.yaml")
    data, tasks = load_data(recipe), new_tasks(recipe)
    counted = count_rows(recipe, data, tasks, fit_tasks(recipe, tasks, data.split(TRAIN)))
    pooled = poolings_of(recipe, tasks)
    found = {}
    for name in (name for name, own in STRATEGIES.items() if not own.trees):
        result, outcomes = linear_answers(name, counted, data, tasks)
        scores = score(outcomes, metrics_of(recipe, tasks), pooled, recipe.evaluation)
        found[name] = {
            "parameters": result.parameters,
            "scores": {**scores["tasks"], **scores["pooled"]},
        }
    return found


def accuracy(result: Mapping[str, Any]) -> float:
    return float(result["scores"]["films"]["accuracy"]["value"])


def test_test_rows_are_scored_and_their_labels_not_learned(tmp_path: Path) -> None:
    splits = {"train": ROWS * 3, "validation": ROWS, "test": CONTRARY * 20}
    for result in results(tmp_path, splits).values():
        assert accuracy(result) == 0
        assert result["parameters"] > 0
        everything = result["scores"]["everything"]
        assert (everything["rows"], everything["accuracy"]["value"]) == (80, 0)


def test_validation_rows_are_not_learned_where_results_are_reported_on_them(tmp_path: Path) -> None:
    splits = {"train": ROWS * 3, "validation": CONTRARY * 20}
    for result in results(tmp_path, splits).values():
        assert accuracy(result) == 0


def test_validation_rows_are_learned_where_there_are_test_rows(tmp_path: Path) -> None:
    splits = {"train": ROWS * 3, "validation": CONTRARY * 20, "test": CONTRARY}
    for result in results(tmp_path, splits).values():
        assert accuracy(result) == pytest.approx(1)
