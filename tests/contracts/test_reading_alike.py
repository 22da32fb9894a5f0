"""Prediction reads rows as training does, and all rows are accounted for: all sources, all tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import polytask
from polytask.core.accounting import records
from polytask.data.sources import sources
from polytask.data.sources.files import FileSource
from polytask.recipe import Recipe
from polytask.tasks import tasks
from tests.contracts import samples

SIZES = {"train": 14, "validation": 7, "test": 9}
ENCODER = {
    "kind": "huggingface", "vocabulary": 300, "max_length": 96, "chat_template": "chatml",
    "config": {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 96},
}  # fmt: skip
TRAINING = {"epochs": 1, "batch_rows": 8, "precision": "fp32", "device": "cpu", "threads": 1}


@dataclass(frozen=True)
class Case:
    """A trained run of tasks that a source can hold, and its test rows as users have them."""

    source: str
    tasks: Sequence[str]
    run: Path
    test: Path | list[dict[str, Any]]
    rows: dict[str, list[dict[str, Any]]]
    """The rows of every split, as they were written."""


def tasks_of(source: str, *, full: bool) -> Sequence[str]:
    """Return the task types to train; sources that can hold all divide them unless ``full``."""
    if source in samples.READ or full:
        return samples.READ.get(source, samples.EVERYTHING)
    others = [kind for kind in sources.kinds() if kind not in samples.READ]
    return samples.EVERYTHING[others.index(source) :: len(others)]


def recipe_of(source: str, data: dict[str, Any], chosen: Sequence[str]) -> Recipe:
    changed = samples.CHANGED.get(source, {})
    return Recipe.model_validate(
        {
            "data": {"d": {"kind": source, **data}},
            "encoder": ENCODER,
            "tasks": {
                kind: {"kind": kind, **samples.TASKS[kind], **changed.get(kind, {})}
                for kind in chosen
            },
            "training": TRAINING,
            "evaluation": {"bootstrap": 0},
        }
    )


def case_of(source: str, folder: Path, chosen: Sequence[str]) -> Case:
    starts = dict(zip(SIZES, (0, 100, 200), strict=True))
    rows = {split: samples.rows(size, starts[split]) for split, size in SIZES.items()}
    test: Path | list[dict[str, Any]] = rows["test"]
    if source == "synthetic":
        sizes = {"size": 14, "validation": 7, "test": 9}
        data: dict[str, Any] = sizes
        tables = sources.build({"kind": source, **sizes}, ()).load()
        columns = ["text", "tokens", "topic", "stars", "aspects"]
        rows = {s: table.rows.select_columns(columns).to_list() for s, table in tables.items()}
        test = rows["test"]
    elif source == "huggingface":
        data = {"path": samples.saved(rows, folder / "saved")}
    else:
        write = samples.WRITERS[source]
        data = {split: write(own, folder / split) for split, own in rows.items()}
        if issubclass(sources.part(source), FileSource):
            test = Path(data["test"])
        data = {**data, **samples.OPTIONS.get(source, {})}
    if source == "conll":
        rows = {split: samples.labelled(own) for split, own in rows.items()}
    recipe = recipe_of(source, data, chosen)
    run = polytask.train(recipe, folder / "run")
    return Case(source, chosen, run.path, test, rows)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_there_is_an_example_of_every_task_type() -> None:
    assert {*samples.TASKS} == {*tasks.kinds()}


@pytest.mark.parametrize("source", sources.kinds())
def test_a_source_for_its_tasks(
    source: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """One training of many task types, as trainings take most of the time."""
    case = case_of(source, tmp_path, tasks_of(source, full=request.config.getoption("full")))
    accounts = read(case.run / "run.json")["rows"]
    check_predictions(case)
    check_sums(case, accounts)
    check_missing_labels(case, accounts)
    check_of_the_recipe(case, accounts)


def check_predictions(case: Case) -> None:
    """``predict`` gives for the test rows what ``evaluate`` does, bit for bit."""
    found = [*polytask.predict(case.run, case.test)]
    assert {*found[0]} == {*case.tasks}
    for task in found[0]:
        lines = (case.run / "predictions" / "test" / f"{task}.jsonl").read_text(encoding="utf-8")
        expected = [*map(json.loads, lines.splitlines())]
        assert [one[task]["label"] for one in found] == [one["prediction"] for one in expected]
        probabilities = [one[task].get("probabilities") for one in found]
        assert probabilities == [one.get("probabilities") for one in expected]


def check_sums(case: Case, accounts: dict[str, Any]) -> None:
    """Rows are those of the files, each used or left out; scores are of the used ones."""
    scores = read(case.run / "scores.json")["test"]
    for task, splits in accounts.items():
        assert {*splits} == {*SIZES}
        for split, account in splits.items():
            left_out = account["left_out"].values()
            assert account["rows"] == len(case.rows[split]), (task, split)
            assert account["rows"] == account["used"] + sum(one["rows"] for one in left_out)
            assert all(one["rows"] > 0 and one["example"] for one in left_out)
        assert splits["test"]["used"] == scores["tasks"][task]["rows"]
        assert splits["test"] == scores["rows"][task]


def check_missing_labels(case: Case, accounts: dict[str, Any]) -> None:
    """Rows without a label are counted here from the rows themselves, where null stands for it."""
    for task, column in (("classification", "kind"), ("regression", "size"), ("tagging", "tags")):
        if task not in accounts or case.source in ("synthetic", "conllu"):
            continue
        for split, rows in case.rows.items():
            missing = sum(row[column] is None for row in rows)
            found = accounts[task][split]["left_out"].get("no label", {"rows": 0})["rows"]
            assert found == missing, (task, split)


def check_of_the_recipe(case: Case, accounts: dict[str, Any]) -> None:
    """``check`` shows the rows that a training then uses."""
    found = polytask.check(polytask.load_recipe(case.run / "recipe.yaml"))
    assert not found.mistakes
    assert records(found.accounts) == accounts
