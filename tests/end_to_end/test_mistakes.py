"""Mistakes of people end in messages that name file and line, and in exit code 2; no tracebacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polytask.assembly.run.training_parts import training_parts
from tests.end_to_end.files import RECIPE, polytask, reviews, write_experiment

FIVE_MISTAKES = """\
data:
  shop: {kind: jsonl, train: train.jsonl}
encoder: {kind: bag, dimensions: 8}
tasks:
  mood: {kind: clasification, from: shop}
  stars: {kind: regression, from: shops, target: stars}
balancing: uncertain
training: {epochs: -1}
"""
BOTH = pytest.mark.parametrize("command", ["check", "train"])


def refused(command: str, recipe: Path) -> list[str]:
    """Lines of the message with which a recipe is refused; nothing has been written then."""
    folder = recipe.parent / "run"
    run = ["--run", str(folder)] if command == "train" else []
    result = polytask(command, recipe, *run)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert not folder.exists()
    return result.stderr.splitlines()


@BOTH
def test_five_mistakes_give_five_messages_with_their_lines(command: str, tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, FIVE_MISTAKES)
    messages = refused(command, recipe)
    assert [message.split(": ")[0] for message in messages] == [
        f"{recipe}:{line}" for line in (3, 5, 6, 7, 8)
    ]
    for message, nearest in zip(messages, ("dimension", "classification", "shop"), strict=False):
        assert f"{nearest!r}" in message or f"{nearest}?" in message


@BOTH
def test_a_missing_recipe(command: str, tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path)
    [message] = refused(command, tmp_path / "shpo.yaml")
    assert f"{tmp_path / 'shpo.yaml'}: no such file" in message
    assert recipe.name in message


@BOTH
def test_a_missing_data_file(command: str, tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path)
    (tmp_path / "train.jsonl").unlink()
    [message] = refused(command, recipe)
    assert "train.jsonl: no such file" in message
    assert str(tmp_path) in message


@BOTH
def test_an_empty_data_file(command: str, tmp_path: Path) -> None:
    [message] = refused(command, write_experiment(tmp_path, rows={"train": []}))
    assert f"{tmp_path / 'train.jsonl'}: the file holds no rows" in message


@BOTH
def test_broken_json(command: str, tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path)
    path = tmp_path / "train.jsonl"
    lines = path.read_text("utf-8").splitlines()
    lines[16] = '{"text": "half a'
    path.write_text("\n".join(lines), encoding="utf-8")
    [message] = refused(command, recipe)
    assert f"{path}:17: not valid JSON" in message


@BOTH
@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("row", [{"text": None}, {}], ids=["null", "no column"])
def test_a_row_without_text(command: str, split: str, row: dict[str, None], tmp_path: Path) -> None:
    rows = [*reviews(20, 300), {**row, "mood": "good", "stars": 3.0}, *reviews(5, 350)]
    messages = refused(command, write_experiment(tmp_path, rows={split: rows}))
    assert len(messages) == 1
    assert f"{tmp_path / split}.jsonl:21: " in messages[0]


@BOTH
def test_a_label_of_the_wrong_kind(command: str, tmp_path: Path) -> None:
    rows = [*reviews(20), {**reviews(1, 20)[0], "stars": "many"}, *reviews(5, 21)]
    [message] = refused(command, write_experiment(tmp_path, rows={"train": rows}))
    assert f"{tmp_path / 'train.jsonl'}:21: " in message
    assert "expected a finite number, found 'many'" in message


@BOTH
def test_a_column_that_is_not_there(command: str, tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, RECIPE.replace("target: mood", "input: txt, target: mood"))
    message = refused(command, recipe)[0]
    assert "no column 'txt'" in message
    assert "Did you mean 'text'?" in message


def test_check_finds_the_mistakes_of_all_files_at_once(tmp_path: Path) -> None:
    train = [*reviews(20), {**reviews(1, 20)[0], "stars": "many"}]
    validation = [{**reviews(1, 30)[0], "text": None}]
    rows = {"train": train, "validation": validation}
    messages = refused("check", write_experiment(tmp_path, rows=rows))
    assert any("train.jsonl:21: " in message for message in messages)
    assert any("validation.jsonl:1: " in message for message in messages)


@BOTH
def test_rows_that_drop_leaks_leaves_nothing_of(command: str, tmp_path: Path) -> None:
    same = dict.fromkeys(("train", "validation", "test"), reviews(12))
    recipe = write_experiment(tmp_path, f"drop_leaks: true\n{RECIPE}", same)
    [message] = refused(command, recipe)
    assert (
        f"{tmp_path / 'train.jsonl'}:1: drop_leaks leaves no training row of data.shop" in message
    )


TAGS = """\
data: {d: {kind: jsonl, train: train.jsonl, validation: validation.jsonl, test: test.jsonl}}
encoder: {kind: cnn, dimension: 8, filters: 8, widths: [3], min_count: 1}
tasks: {t: tagging}
training: {epochs: 1, threads: 1, device: cpu}
"""


@BOTH
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_labels_that_do_not_fit_their_words_are_found_before_training(
    command: str, split: str, tmp_path: Path
) -> None:
    good = [{"tokens": ["a", "b"], "tags": ["X", "Y"]}] * 6
    rows = {name: [*good] for name in ("train", "validation", "test")}
    rows[split] = [*good, *[{"tokens": ["a", "b", "c"], "tags": ["X", "Y"]}] * 5]
    messages = refused(command, write_experiment(tmp_path, TAGS, rows))
    expected = "task t: 2 tags in column 'tags', but 3 words. Expected one tag per word."
    lines = [f"{tmp_path / split}.jsonl:{line}: {expected}" for line in (7, 8, 9)]
    assert messages == [*lines, "... and 2 more like these."]


def test_check_accepts_tasks_that_share_a_decoder(tmp_path: Path) -> None:
    """Their subwords are learned from the texts of both, as in training."""
    rows = [{"en": f"one {n}", "de": f"eins {n}", "fr": f"un {7 * n}"} for n in range(12)]
    recipe = (
        "data: {d: {kind: jsonl, path: train.jsonl}}\n"
        "encoder: {kind: transformer, layers: 1, width: 16, feed_forward: 16}\n"
        "tasks:\n"
        "  de: {kind: generation, input: en, target: de, head: writer}\n"
        "  fr: {kind: generation, input: en, target: fr, head: writer}\n"
    )
    checked = polytask("check", write_experiment(tmp_path, recipe, {"train": rows}))
    assert checked.exit_code == 0, checked.stderr
    assert "de  train 11 of 11, validation 1 of 1" in checked.stdout


def test_check_says_once_what_is_wrong_in_all_rows(tmp_path: Path) -> None:
    rows = [{key: row[key] for key in ("text", "mood")} for row in reviews(20)]
    splits = dict.fromkeys(("train", "validation", "test"), rows)
    [message] = refused("check", write_experiment(tmp_path, rows=splits))
    assert "train.jsonl:1: task stars: no column 'stars'" in message
    assert message.endswith("Columns: text, mood.")


def test_a_label_only_in_test_is_named_and_training_goes_on(tmp_path: Path) -> None:
    odd = {"text": "a parcel of sand", "mood": "amused", "stars": 3.0}
    recipe = write_experiment(tmp_path, rows={"test": [*reviews(9, 200), odd]})
    expected = f"{tmp_path / 'test.jsonl'}:10: tasks.mood: label 'amused' occurs in test"
    checked = polytask("check", recipe)
    assert checked.exit_code == 0
    assert expected in checked.stderr
    run = tmp_path / "run"
    trained = polytask("train", recipe, "--run", run)
    assert trained.exit_code == 0, trained.stderr
    assert expected in trained.stderr
    evaluated = polytask("evaluate", run)
    assert evaluated.exit_code == 0, evaluated.stderr
    scores = json.loads((run / "scores.json").read_text("utf-8"))["test"]
    assert scores["tasks"]["mood"]["rows"] == 10
    assert scores["tasks"]["mood"]["accuracy"]["value"] <= 0.9  # it counts as wrong


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path)
    run = tmp_path / "run"
    assert polytask("train", recipe, "--run", run).exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    result = polytask("train", recipe, "--run", run)
    assert result.exit_code == 2
    assert f"{run}: the folder is not empty" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.parametrize("inside", ["", "run"])
def test_a_file_is_no_place_for_a_run(inside: str, tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path)
    result = polytask("train", recipe, "--run", recipe / inside)
    assert result.exit_code == 2
    assert result.stderr == f"{recipe}: is a file. Choose a folder for the run with --run.\n"


@BOTH
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_null_text_is_refused_in_the_same_words(command: str, split: str, tmp_path: Path) -> None:
    rows = [*reviews(20, 300), {"text": None, "mood": "good", "stars": 3.0}]
    [message] = refused(command, write_experiment(tmp_path, rows={split: rows}))
    assert message == (
        f"{tmp_path / split}.jsonl:21: column 'text' is null; expected something to read. Remove "
        "the row, or name another column: input: NAME."
    )


def test_texts_of_white_space_are_named_by_check(tmp_path: Path) -> None:
    rows = [*reviews(20, 300), {"text": " \u3000\n", "mood": "good", "stars": 3.0}]
    result = polytask("check", write_experiment(tmp_path, rows={"train": rows}))
    assert result.exit_code == 0
    assert f"{tmp_path / 'train'}.jsonl:21: column 'text' is empty" in result.output


def test_a_training_without_any_validation_row_is_announced(tmp_path: Path) -> None:
    rows = reviews(8, 300)
    recipe = write_experiment(tmp_path, rows={"validation": rows, "test": rows})
    for command in (["check"], ["train", "--run", str(tmp_path / "run")]):
        result = polytask(command[0], recipe, *command[1:], "--set", "drop_leaks=true")
        assert result.exit_code == 0, result.output
        assert "there are no validation rows, so the model after the last step is kept" in (
            result.output
        )


def test_of_two_trainings_into_one_folder_the_second_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, other = write_experiment(tmp_path), tmp_path / "run" / "recipe.yaml"

    def slowly(*arguments: Any) -> Any:
        other.parent.mkdir()
        other.write_text("of the other training")
        return training_parts(*arguments)

    monkeypatch.setattr("polytask.assembly.run.training.training_parts", slowly)
    result = polytask("train", recipe, "--run", other.parent)
    assert result.exit_code == 2
    assert "another training has begun in this folder" in result.stderr
    assert [path.read_text() for path in other.parent.iterdir()] == ["of the other training"]


def test_a_folder_that_holds_something_else_cannot_be_resumed(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("precious")
    result = polytask("train", recipe, "--run", tmp_path / "run", "--resume")
    assert result.exit_code == 2
    assert "not a run folder" in result.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("command", [["evaluate"], ["predict", "rows.jsonl"]], ids=str)
def test_what_is_no_run(command: list[str], tmp_path: Path) -> None:
    verb, *rest = command
    result = polytask(verb, tmp_path / "nothing", *rest)
    assert result.exit_code == 2
    assert f"{tmp_path / 'nothing'}: no such run folder" in result.stderr


UNVALIDATED = """\
data:
  shop: {kind: jsonl, train: train.jsonl, validation: validation.jsonl, test: test.jsonl}
  other: {kind: jsonl, train: more.jsonl, split: {validation: 0}}
encoder: {kind: bag, dimension: 8, hidden: [8]}
tasks:
  mood: {kind: classification, from: shop, target: mood}
  other: {kind: classification, from: other, target: mood}
pooled: {moods: {tasks: [mood, other], metric: accuracy}}
training: {epochs: 1, batch_rows: 8, precision: fp32, threads: 1}
"""


@pytest.mark.parametrize("score", ["other.accuracy", "moods.accuracy"])
def test_a_task_without_validation_rows_is_trained_but_cannot_select(
    tmp_path: Path, score: str
) -> None:
    recipe = write_experiment(tmp_path, UNVALIDATED, {"more": reviews(20, 400)})
    select = ["--set", f"training.select={score}"]
    refusal = polytask("train", recipe, "--run", tmp_path / "selected", *select)
    assert refusal.exit_code == 2
    assert "training.select" in refusal.stderr
    trained = polytask("train", recipe, "--run", tmp_path / "run")
    assert trained.exit_code == 0, trained.stderr


@BOTH
@pytest.mark.parametrize(
    ("pooled", "message"),
    [
        ("tasks: [mood, stars], metric: accuracy", "accuracy measures label or"),
        ("tasks: [mood, stars], metric: rmse", "but task mood predicts label"),
        ("tasks: [mood, side], metric: auc", "needs tasks with the same labels"),
        ("tasks: [mood, side], metric: f1, by_row: true", "expected exact_match"),
        ("tasks: [mood, stars], metric: exact_match, by_row: true", "but task stars predicts"),
    ],
)
def test_a_pooled_metric_that_does_not_measure_its_tasks(
    command: str, pooled: str, message: str, tmp_path: Path
) -> None:
    rows = [{**row, "side": ("left", "right")[at % 2]} for at, row in enumerate(reviews(48))]
    side = "  side: {kind: classification, target: side}\ntraining:"
    recipe = RECIPE.replace("training:", side) + f"pooled: {{both: {{{pooled}}}}}\n"
    files = dict.fromkeys(("train", "validation", "test"), rows)
    [found] = refused(command, write_experiment(tmp_path, recipe, files))
    assert "pooled.both.metric: " in found
    assert message in found


def test_a_real_process_ends_the_same_way(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, FIVE_MISTAKES)
    command = [sys.executable, "-m", "polytask", "check", str(recipe)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 5
