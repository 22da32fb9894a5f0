"""A metric may be undefined anywhere, in every command, without harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polytask.core.errors import TrainingError
from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from polytask.core.tensors import read_tensors
from polytask.training.session import Session
from tests.end_to_end.files import RECIPE, polytask, reviews, write_experiment

RARE = RECIPE.replace("epochs: 2", "epochs: 3, checkpoint_steps: 1, task_best: true").replace(
    "bootstrap: 0", "bootstrap: 20"
)
TIMES = {"seconds", "tokens_per_second"}


def rare(count: int, first: int, labelled: int) -> list[dict[str, Any]]:
    """Rows of which only some have stars."""
    rows = reviews(count, first)
    return [
        {**row, "stars": row["stars"] if at < labelled else None} for at, row in enumerate(rows)
    ]


def experiment(folder: Path, labelled: int) -> Path:
    """One task has so many labelled rows in validation, and none in test."""
    split = {"validation": rare(16, 100, labelled), "test": rare(16, 200, 0)}
    return write_experiment(folder, RARE, split)


def records(run: Path) -> list[dict[str, Any]]:
    found = RunFolder(run).records()
    return [{k: v for k, v in record.items() if k not in TIMES} for record in found]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return experiment(tmp_path_factory.mktemp("rare"), labelled=1)


@pytest.fixture(scope="module")
def whole(recipe: Path) -> Path:
    result = polytask("train", recipe, "--run", recipe.parent / "whole")
    assert result.exit_code == 0, result.stderr
    assert "stars: pearson, spearman cannot tell good predictions from bad ones" in result.stderr
    assert "only one row has a label. Give it more validation rows" in result.stderr
    assert "stars pearson –" in result.stderr
    return recipe.parent / "whole"


def test_a_task_that_is_undefined_has_no_part_in_the_mean(whole: Path) -> None:
    validations = [record for record in records(whole) if "validation" in record]
    assert len(validations) == 3
    for record in validations:
        assert record["validation"]["stars"]["pearson"] is None
        assert record["selection"] == record["validation"]["mood"]["accuracy"]
    facts = read_json(RunFolder(whole).facts)
    assert facts["best_selection"] == max(record["selection"] for record in validations)
    assert set(read_json(RunFolder(whole).task_best / "steps.json")) == {"mood", "stars"}


def test_all_commands_take_its_run(whole: Path) -> None:
    commands: list[list[str | Path]] = [
        ["evaluate", whole],
        ["evaluate", whole, "--task-best"],
        ["evaluate", whole, "--split", "validation"],
        ["report", whole],
        ["analyse", whole, "--steps", "2", "--pairwise", "--verify", "--curve", "20"],
        ["report", whole],
    ]
    for command in commands:
        result = polytask(*command)
        assert result.exit_code == 0, result.stderr
    scores = read_json(RunFolder(whole).scores)
    assert scores["test"]["tasks"]["stars"]["rows"] == 0
    for split in ("test", "validation"):
        assert scores[split]["average"] == scores[split]["tasks"]["mood"]["accuracy"]["value"]
        assert scores[split]["average_over"] == ["mood"]
        assert scores[split]["average_without"] == ["stars"]
    text = (whole / "report.html").read_text("utf-8")
    assert "Average, test rows: mood" in text


def test_a_resumed_training_repeats_it(
    recipe: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, validate, calls = recipe.parent / "resumed", Session.validate, []

    def killed(session: Session) -> Any:
        calls.append(session)
        if len(calls) == 2:
            raise TrainingError("killed")
        return validate(session)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "validate", killed)
        polytask("train", recipe, "--run", run)
    assert len([record for record in records(run) if "validation" in record]) == 1
    result = polytask("train", recipe, "--run", run, "--resume")
    assert result.exit_code == 0, result.stderr
    assert records(run) == records(whole)
    ours, theirs = (read_tensors(RunFolder(one).parameters) for one in (run, whole))
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)


def test_the_newest_model_is_kept_while_nothing_is_defined(tmp_path: Path) -> None:
    """No task has a labelled validation row, so no model is better than another."""
    tasks = "  mood: {kind: classification, target: mood}\n"
    recipe = experiment(tmp_path, labelled=0)
    recipe.write_text(RARE.replace(tasks, ""), "utf-8")
    result = polytask("train", recipe, "--run", tmp_path / "run", "--set", "training.patience=1")
    assert result.exit_code == 0, result.stderr
    assert "stars: no validation row has a label" in result.stderr
    assert "best so far" not in result.stderr
    run = RunFolder(tmp_path / "run")
    validations = [record for record in run.records() if "validation" in record]
    assert [record["best"] for record in validations] == [False] * 3  # nor has patience run out
    newest = max(run.checkpoints.glob("step-*"))
    last = read_tensors(newest / "tensors.safetensors")
    for name, tensor in read_tensors(run.parameters).items():
        assert bool((last[f"model/{name}"] == tensor).all())


def test_a_comparison_says_over_which_tasks_its_verdict_is(tmp_path: Path) -> None:
    recipe, run = experiment(tmp_path, labelled=16), tmp_path / "run"
    options = ["--strategies", "majority,linear,single,joint", "--seeds", "2"]
    result = polytask("compare", recipe, "--run", run, *options)
    assert result.exit_code == 0, result.stderr
    record = json.loads((run / "comparison.json").read_text("utf-8"))
    assert record["means"] == {"over": ["mood"], "without": {"stars": "no_rows"}}
    assert record["verdict"]["tasks"] == ["mood"]
    assert record["verdict"]["without"] == {"stars": "no_rows"}
    missing = "stars (no labelled test rows)"
    for text in (result.stdout, (run / "comparison.md").read_text("utf-8")):
        assert "means over 1 of 2 tasks" in text
        assert f"Means are over mood, not over {missing}." in text
        assert f"Δm is over mood; the verdict says nothing about {missing}." in text
    page = (run / "report.html").read_text("utf-8")
    assert page.count(missing) >= 2
