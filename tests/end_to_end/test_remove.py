"""Runs without one of their tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from polytask import api
from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from polytask.core.tensors import read_tensors
from polytask.recipe import load
from tests.end_to_end.files import RECIPE, polytask
from tests.end_to_end.test_start import answers, experiment, grown


def removed(run: RunFolder, task: str) -> RunFolder:
    new = RunFolder(run.path.with_name("smaller"))
    result = polytask("remove", run.path, task, "--run", new.path)
    assert result.exit_code == 0, result.stderr
    assert str(new.path) in result.stdout
    return new


@pytest.mark.parametrize("sharing", ["hard", "independent"])
def test_the_other_tasks_answer_as_before(tmp_path: Path, sharing: str) -> None:
    recipe = RECIPE.replace("epochs: 2,", "epochs: 2, select: stars.rmse, task_best: true,")
    old = experiment(tmp_path, sharing, recipe)
    before = old.parameters.read_bytes()
    new = removed(old, "stars")
    assert answers(new) == answers(old, "mood")
    assert not [name for name in read_tensors(new.parameters) if "stars" in name]
    assert old.parameters.read_bytes() == before
    scores = [api.evaluate(run.path, "test")["tasks"]["mood"] for run in (old, new)]
    assert scores[0] == scores[1]
    described = api.describe(new.path)
    assert described["tasks"] == ["mood"]
    assert not any("stars" in layer["name"] for layer in described["layers"])
    best = [next(api.predict(run.path, [{"text": "fine"}], task_best=True)) for run in (old, new)]
    assert best[0]["mood"] == best[1]["mood"]
    facts = read_json(new.facts)
    assert facts["removed"] == [{"task": "stars", "from": str(old.path)}]
    numbers = sum(tensor.numel() for tensor in read_tensors(new.parameters).values())
    assert facts["parameters"] == numbers


def test_what_pooled_tasks_selected_by_goes_with_one_of_them(tmp_path: Path) -> None:
    tasks = "  side: {kind: classification, target: mood}\ntraining:"
    pooled = "pooled: {both: {tasks: [mood, side], metric: exact_match, by_row: true}}\n"
    recipe = RECIPE.replace("epochs: 2,", "epochs: 2, select: both.exact_match,") + pooled
    new = removed(experiment(tmp_path, "hard", recipe.replace("training:", tasks)), "side")
    assert load(new.recipe).training.select == "average"


def test_growing_and_removing_gives_the_run_there_was(tmp_path: Path) -> None:
    old = experiment(tmp_path)
    new = removed(grown(tmp_path), "tone")
    assert new.parameters.read_bytes() == old.parameters.read_bytes()
    assert answers(new) == answers(old)
    result = polytask("evaluate", new.path)
    assert result.exit_code == 2
    assert "have no data here" in result.stderr


def test_mistakes_are_named_before_anything_is_written(tmp_path: Path) -> None:
    old = experiment(tmp_path)

    def refusal(*arguments: str | Path) -> str:
        result = polytask("remove", *arguments)
        assert result.exit_code == 2
        return result.stderr

    assert "no task called 'mod'. Did you mean 'mood'?" in refusal(old.path, "mod")
    assert "no such run folder" in refusal(tmp_path / "nowhere", "mood")
    assert "is there already" in refusal(old.path, "mood", "--run", old.path)
    alone = removed(old, "stars")
    assert "is its only task" in refusal(alone.path, "mood")
    assert not list(tmp_path.glob("*-without-*"))
