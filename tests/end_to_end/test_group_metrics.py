"""Answers to questions are ranked by question, from a file to the tables of a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import average_precision_score

from tests.end_to_end.files import polytask, write_rows

RECIPE = """\
data:
  qa: {kind: jsonl, train: train.jsonl, validation: validation.jsonl, test: test.jsonl}
encoder: {kind: bag, dimension: 8, hidden: [8]}
tasks:
  right:
    kind: classification
    input: [question, answer]
    target: label
    metrics: [{kind: group_map, group: meta.id, label: 1}, {kind: group_mrr, group: meta.id}]
  grade: {kind: regression, input: [question, answer], target: grade, metrics: [{kind: group_map, group: meta.id}]}
training:
  {epochs: 2, batch_rows: 8, learning_rate: 1e-2, precision: fp32, threads: 1, device: cpu}
evaluation: {bootstrap: 20}
"""


def answers(first: int, questions: int) -> list[dict[str, Any]]:
    """Four answers to each question, none of them right for every fifth one."""
    return [
        {
            "meta": {"id": number},
            "question": f"where is place {number}",
            "answer": f"{'in town' if place == number % 5 else 'no idea'} {number} number{place}",
            "label": int(place == number % 5),
            "grade": float(place == number % 5),
        }
        for number in range(first, first + questions)
        for place in range(4)
    ]


def write(folder: Path, recipe: str = RECIPE) -> Path:
    for name, first, count in (("train", 0, 10), ("validation", 20, 6), ("test", 40, 7)):
        write_rows(folder / f"{name}.jsonl", answers(first, count))
    path = folder / "qa.yaml"
    path.write_text(recipe, encoding="utf-8")
    return path


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def oracle(records: list[dict[str, Any]], scores: list[float]) -> float:
    """The mean of scikit-learn's average precision over questions with a right answer."""
    questions: dict[str, list[tuple[int, float]]] = {}
    for record, score in zip(records, scores, strict=True):
        relevant = int(float(record["reference"]))
        questions.setdefault(record["input"][0], []).append((relevant, score))
    own = [
        average_precision_score(*zip(*rows, strict=True))
        for rows in questions.values()
        if any(relevant for relevant, _ in rows)
    ]
    assert len(own) < len(questions)
    for rows in questions.values():  # scikit-learn breaks ties in another way
        assert len({score for _, score in rows}) == len(rows)
    return float(sum(own) / len(own))


def values(scores: Mapping[str, Any]) -> dict[str, float]:
    return {name: found["value"] for name, found in scores.items() if name != "rows"}


def test_a_run_is_selected_and_scored_by_question(tmp_path: Path) -> None:
    recipe, run = write(tmp_path), tmp_path / "run"
    checked = polytask("check", recipe)
    assert checked.exit_code == 0, checked.stderr
    trained = polytask("train", recipe, "--run", run)
    assert trained.exit_code == 0, trained.stderr
    scored = polytask("evaluate", run)
    assert scored.exit_code == 0, scored.stderr
    tasks = read(run / "scores.json")["test"]["tasks"]
    folder = run / "predictions" / "test"
    texts = {name: (folder / f"{name}.jsonl").read_text("utf-8") for name in tasks}
    lines = {name: [json.loads(line) for line in text.splitlines()] for name, text in texts.items()}
    chances = [record["probabilities"]["1"] for record in lines["right"]]
    numbers = [record["prediction"] for record in lines["grade"]]
    found = values(tasks["right"])
    assert found["group_map_1"] == pytest.approx(oracle(lines["right"], chances))
    assert found["group_mrr"] == found["group_map_1"]  # there is one right answer to a question
    assert values(tasks["grade"])["group_map"] == pytest.approx(oracle(lines["grade"], numbers))
    new = write_rows(tmp_path / "new.jsonl", [{"question": "where", "answer": "in town"}])
    assert polytask("predict", run, new).exit_code == 0  # questions need no id to be answered


@pytest.mark.slow
def test_strategies_are_compared_by_question(tmp_path: Path) -> None:
    recipe, folder = write(tmp_path), tmp_path / "compared"
    strategies = "linear,single,joint,majority"
    command: list[str | Path] = [
        "compare",
        recipe,
        "--run",
        folder,
        "--strategies",
        strategies,
        "--seeds",
        "1",
    ]
    first = polytask(*command)
    assert first.exit_code == 0, first.stderr
    record = read(folder / "comparison.json")
    assert set(record["tasks"]) == {"right", "grade"}
    (folder / "comparison.json").unlink()
    again = polytask(*command)
    assert again.exit_code == 0, again.stderr
    assert read(folder / "comparison.json")["results"] == record["results"]
    assert len(record["results"]) == 4
    for result in record["results"]:
        assert result["scores"]["right"]["group_map_1"]["value"] is not None


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("command", ["check", "train"])
def test_a_file_without_the_column(command: str, split: str, tmp_path: Path) -> None:
    recipe = write(tmp_path)
    rows = [{**row, "meta": {"idx": row["meta"]["id"]}} for row in answers(0, 3)]
    write_rows(tmp_path / f"{split}.jsonl", rows)
    run = ["--run", str(tmp_path / "run")] if command == "train" else []
    result = polytask(command, recipe, *run)
    assert result.exit_code == 2
    assert f"{split}.jsonl: no column 'meta.id', the group of metrics of right" in result.stderr
    assert "'meta.idx'" in result.stderr
    assert not (tmp_path / "run").exists()


def test_predictions_that_are_joined_by_row_have_no_order(tmp_path: Path) -> None:
    pooled = "pooled: {all: {tasks: [right, grade], metric: {kind: group_map, group: q}, by_row: true}}\n"
    result = polytask("check", write(tmp_path, RECIPE + pooled))
    assert result.exit_code == 2
    assert "qa.yaml:14: pooled.all.metric: group_map ranks rows by one prediction" in result.stderr
