"""What a run remembers of how it was begun, and what may change when it is gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import Result

from polytask.core.files import read_json, write_json
from polytask.core.run_folder import RunFolder
from polytask.data.text import text_steps
from polytask.recipe import load, plugins
from tests.end_to_end.files import RECIPE, polytask, reviews, write_experiment


def train(recipe: Path, *changes: str, name: str = "run") -> RunFolder:
    run = RunFolder(recipe.parent / name)
    result = polytask("train", recipe, "--run", run.path, *setting(*changes))
    assert result.exit_code == 0, result.stderr
    return run


def setting(*changes: str) -> list[str]:
    return [part for change in changes for part in ("--set", change)]


def unfinished(run: RunFolder) -> RunFolder:
    """A run as it is when its training is killed after the last step."""
    write_json(run.facts, {**read_json(run.facts), "finished": False})
    return run


def test_settings_that_no_finished_step_depends_on_may_change_on_resume(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path)
    run = unfinished(train(recipe))
    before = list(run.records())
    sets = setting("training.not_finite=skip", "training.keep=1", "compare.seeds=2")
    result = polytask("train", recipe, "--run", run.path, "--resume", *sets)
    assert result.exit_code == 0, result.stderr
    assert list(run.records()) == before
    assert read_json(run.facts)["finished"]
    kept = load(run.recipe)
    assert (kept.training.not_finite, kept.training.keep, kept.compare.seeds) == ("skip", 1, 2)


def test_other_settings_are_named_when_they_change_on_resume(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path)
    run = unfinished(train(recipe))
    before = run.recipe.read_text("utf-8")
    sets = setting("training.keep=1", "training.accumulate=5", "encoder.dropout=0.5")
    result = polytask("train", recipe, "--run", run.path, "--resume", *sets)
    assert result.exit_code == 2
    assert f"{run.recipe}: encoder.dropout, training.accumulate differ." in result.stderr
    assert run.recipe.read_text("utf-8") == before


def test_batches_of_one_row_are_noted_unless_asked_for(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path)
    few = ["training.batch_tokens=12", "training.epochs=1"]
    [note] = read_json(train(recipe, *few, name="few").facts)["notes"]
    assert "a batch holds 1.0 rows on average: training.batch_tokens is 12" in note
    asked = train(recipe, *few, "training.batch_rows=1", name="asked")
    assert read_json(asked.facts)["notes"] == []
    assert read_json(train(recipe, name="usual").facts)["notes"] == []


def test_rows_longer_than_a_batch_are_noted_with_the_place_of_the_longest(tmp_path: Path) -> None:
    rows = reviews(48)
    rows[4]["text"] = "word " * 30
    recipe = write_experiment(tmp_path, rows={"train": rows})
    [note] = read_json(train(recipe, "training.batch_tokens=20", "training.batch_rows=1").facts)[
        "notes"
    ]
    assert note.startswith(f"{tmp_path / 'train.jsonl'}:5: a row of 30 tokens is longer than")
    assert "has 1 such training rows" in note


def test_trainings_of_a_few_steps_are_noted_unless_asked_for(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path)
    large = ["training.batch_rows=1000", "training.epochs=2"]
    [note] = read_json(train(recipe, *large, name="large").facts)["notes"]
    assert note.startswith("about 2 steps in all: an epoch has ")
    asked = train(recipe, *large, "training.steps=2", name="asked")
    assert read_json(asked.facts)["notes"] == []


PLUGIN = '''\
from polytask.data.text import TextStep, text_steps

@text_steps.register("yell")
class Shout(TextStep):
    """Makes every letter a capital."""

    def __call__(self, text):
        return text.upper()
'''


def test_a_run_says_which_plugins_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = dict(text_steps._parts)
    recipe = write_experiment(tmp_path, f"text: [yell]\n{RECIPE}")
    plugin, run = tmp_path / "shouting.py", RunFolder(tmp_path / "run")
    plugin.write_text(PLUGIN, encoding="utf-8")
    training: list[str | Path] = ["train", recipe, "--run", run.path]
    evaluation: list[str | Path] = ["evaluate", run.path]

    def in_a_new_process(*arguments: str | Path) -> Result:
        monkeypatch.setattr(text_steps, "_parts", dict(parts))
        monkeypatch.setattr(plugins, "_loaded", {})
        return polytask(*arguments)

    trained = in_a_new_process(*training, "--plugin", plugin)
    assert trained.exit_code == 0, trained.output
    assert [used["path"] for used in read_json(run.facts)["plugins"]] == [str(plugin)]
    for command in (evaluation, [*training, "--resume"]):
        refused = in_a_new_process(*command)
        assert refused.exit_code == 2
        assert "no text step called 'yell'" in refused.stderr
        assert refused.stderr.endswith(f"Give them again: --plugin {plugin}\n")
        assert in_a_new_process(*command, "--plugin", plugin).exit_code == 0
