"""Runs that start from other runs: what is taken, what is frozen, what is kept."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from polytask import api
from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from polytask.core.tensors import read_tensors
from tests.end_to_end.files import RECIPE, polytask, reviews, write_experiment, write_rows

GROWN = """\
data:
  more: {kind: jsonl, path: more.jsonl}
encoder: {kind: bag, dimension: 8, hidden: [8]}
start: {run: RUN, keep: true}
tasks:
  tone: {kind: classification, target: tone}
training:
  {epochs: 2, batch_rows: 8, learning_rate: 1e-2, precision: fp32, threads: 1, device: cpu}
evaluation: {bootstrap: 0}
"""


def experiment(folder: Path, sharing: str = "hard", recipe: str = RECIPE) -> RunFolder:
    """A trained run, and rows for another task."""
    path = write_experiment(folder, f"{recipe}sharing: {sharing}\n")
    rows = [
        {"text": row["text"] + " thanks", "tone": row["mood"], "mood": row["mood"]}
        for row in reviews(40, 300)
    ]
    write_rows(folder / "more.jsonl", rows)
    run = RunFolder(folder / "old")
    trained(path, run.path)
    return run


def trained(recipe: Path, run: Path, *options: str) -> str:
    result = polytask("train", recipe, "--run", run, *options)
    assert result.exit_code == 0, result.stderr
    return result.stderr


def grown(folder: Path, *changes: str, sharing: str = "hard", recipe: str = GROWN) -> RunFolder:
    path = folder / "grown.yaml"
    path.write_text(recipe.replace("RUN", str(folder / "old")) + f"sharing: {sharing}\n")
    run = RunFolder(folder / "new")
    trained(path, run.path, *(part for change in changes for part in ("--set", change)))
    return run


def answers(run: RunFolder, *tasks: str) -> list[dict[str, Any]]:
    found = api.predict(run.path, [{"text": row["text"]} for row in reviews(30, 500)])
    return [{task: record[task] for task in tasks or record} for record in found]


def refusal(folder: Path, *changes: str, recipe: str = GROWN) -> str:
    path = folder / "grown.yaml"
    path.write_text(recipe.replace("RUN", str(folder / "old")))
    sets = [part for change in changes for part in ("--set", change)]
    result = polytask("train", path, "--run", folder / "new", *sets)
    assert result.exit_code == 2, result.stdout
    assert not (folder / "new").exists()
    check = polytask("check", path, *sets)
    assert check.exit_code == 2
    return result.stderr


@pytest.mark.parametrize("sharing", ["hard", "independent"])
def test_old_tasks_answer_as_before_in_every_bit(tmp_path: Path, sharing: str) -> None:
    old = experiment(tmp_path, sharing)
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.jsonl").unlink()  # their data are not needed
    new = grown(tmp_path, sharing=sharing)
    assert answers(new, "mood", "stars") == answers(old)
    before, after = read_tensors(old.parameters), read_tensors(new.parameters)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert set(answers(new)[0]) == {"mood", "stars", "tone"}
    assert list(read_json(new.scores)["validation"]["tasks"]) == ["tone"]
    losses = [record["losses"] for record in new.records() if "losses" in record]
    assert all(list(step) == ["tone"] for step in losses)
    assert losses[-1]["tone"] < losses[0]["tone"]


def test_a_run_grows_twice(tmp_path: Path) -> None:
    old = experiment(tmp_path)
    first = grown(tmp_path)
    second = tmp_path / "again.yaml"
    again = GROWN.replace("RUN", str(first.path)).replace("tone:", "voice:", 1)
    second.write_text(again, encoding="utf-8")
    trained(second, tmp_path / "second")
    run = RunFolder(tmp_path / "second")
    assert answers(run, "mood", "stars", "tone") == answers(first)
    assert answers(run, "mood", "stars") == answers(old)
    shutil.rmtree(first.path)
    shutil.rmtree(old.path)
    assert set(answers(run)[0]) == {"mood", "stars", "tone", "voice"}


def test_files_are_read_for_a_kept_task_as_its_own_were(tmp_path: Path) -> None:
    """Also when the runs that trained it are gone, and for a run that has grown twice."""
    lines = [f"{row['mood']};{row['stars']};{row['text']}\n" for row in reviews(40)]
    (tmp_path / "train.csv").write_text("".join(["mood;stars;text\n", *lines]), encoding="utf-8")
    source = "{kind: csv, delimiter: ';', quotes: false, train: train.csv}"
    experiment(tmp_path, recipe=re.sub(r"shop: \{.*\}", f"shop: {source}", RECIPE))
    first = grown(tmp_path)
    again = tmp_path / "again.yaml"
    again.write_text(GROWN.replace("RUN", str(first.path)).replace("tone:", "voice:", 1))
    trained(again, tmp_path / "second")
    new = tmp_path / "new.csv"
    new.write_text('text;other\nfine "parcel";x\n"poor" shop;y\n', encoding="utf-8")
    expected = list(api.predict(tmp_path / "old", new))
    for folder in (tmp_path / "old", first.path):
        shutil.rmtree(folder)
    notes: list[str] = []
    found = list(api.predict(tmp_path / "second", new, left_out=notes.append))
    assert found == expected
    assert [note.split(". ")[0] for note in notes] == ["not predicted: tone, voice"]


def test_what_was_taken_is_said_and_recorded(tmp_path: Path) -> None:
    old = experiment(tmp_path)
    recipe = GROWN.replace(", keep: true", "")
    new = grown(tmp_path, recipe=recipe)
    facts = read_json(new.facts)
    taken = facts["start"]
    assert taken["run"] == str(old.path)
    assert list(taken["taken"]) == ["sharing.encoder"]
    assert list(taken["new"]) == ["heads.tone"]
    assert list(taken["left_over"]) == ["heads.mood", "heads.stars"]
    assert taken["frozen"] == []
    assert sum(taken["taken"].values()) + sum(taken["new"].values()) == facts["parameters"]
    notes = [note for note in facts["notes"] if note.startswith("start: ")]
    assert [note.split(" (")[0] for note in notes] == [
        f"start: taken from {old.path}: sharing.encoder",
        "start: new: heads.tone",
        f"start: left over in {old.path}: heads.mood",
    ]
    words = (new.model / "encoder").glob("*.json")
    for file in words:  # the vocabulary is that of the old run, not of the new rows
        assert file.read_bytes() == (old.model / "encoder" / file.name).read_bytes()


def test_a_task_of_the_same_name_and_labels_goes_on_with_its_head(tmp_path: Path) -> None:
    experiment(tmp_path)
    recipe = GROWN.replace(", keep: true", "").replace("tone", "mood")
    taken = read_json(grown(tmp_path, recipe=recipe).facts)["start"]
    assert list(taken["taken"]) == ["sharing.encoder", "heads.mood"]
    assert taken["new"] == {}
    others = [{"text": f"text {n}", "mood": f"other {n % 2}"} for n in range(40)]
    write_rows(tmp_path / "more.jsonl", others)
    shutil.rmtree(tmp_path / "new")
    taken = read_json(grown(tmp_path, recipe=recipe).facts)["start"]
    assert list(taken["new"]) == ["heads.mood"]


def test_a_kept_task_may_be_trained_again_beside_another(tmp_path: Path) -> None:
    """It then is not kept; with parameters of its own that hinders nobody."""
    old = experiment(tmp_path, "independent")
    new = grown(tmp_path, sharing="independent", recipe=GROWN.replace("tone", "mood"))
    assert answers(new, "stars") == answers(old, "stars")
    assert answers(new, "mood") != answers(old, "mood")


def test_a_recipe_that_keeps_tasks_can_be_compared(tmp_path: Path) -> None:
    """Also the one of a run, in which they are written out."""
    experiment(tmp_path)
    run = grown(tmp_path)
    shutil.copyfile(run.recipe, tmp_path / "resolved.yaml")
    options = ["--strategies", "linear,joint", "--seeds", "1"]
    result = polytask(
        "compare", tmp_path / "resolved.yaml", "--run", tmp_path / "compared", *options
    )
    assert result.exit_code == 0, result.stderr
    assert list(read_json(tmp_path / "compared" / "comparison.json")["tasks"]) == ["tone"]


LAYERED = RECIPE.replace(
    "{kind: bag, dimension: 8, hidden: [8]}",
    "{kind: transformer, width: 8, heads: 2, layers: 2, feed_forward: 8, vocabulary: 400}",
)
DEEP = GROWN.replace(
    "{kind: bag, dimension: 8, hidden: [8]}",
    "{kind: transformer, width: 8, heads: 2, layers: 2, feed_forward: 8, vocabulary: 400}",
)


def changed(old: RunFolder, new: RunFolder) -> set[str]:
    before, after = read_tensors(old.parameters), read_tensors(new.parameters)
    shared = before.keys() & after.keys()
    return {name for name in shared if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_layers_are_frozen_from_below(tmp_path: Path, layers: int) -> None:
    old = experiment(tmp_path, recipe=LAYERED)
    recipe = DEEP.replace("keep: true", f"freeze_layers: {layers}")
    names = changed(old, grown(tmp_path, recipe=recipe))
    assert any("stack.1." in name for name in names) == (layers < 2)
    assert any("stack.0." in name for name in names) == (layers < 1)
    assert any("table" in name for name in names) == (layers < 1)


@pytest.mark.parametrize(("frozen", "part"), [("freeze", "encoder"), ("freeze_heads", "heads")])
def test_the_encoder_or_a_head_is_frozen(tmp_path: Path, frozen: str, part: str) -> None:
    old = experiment(tmp_path)
    option = {"freeze": "true", "freeze_heads": "mood"}[frozen]
    recipe = GROWN.replace("keep: true", f"{frozen}: {option}").replace("tone", "mood")
    names = changed(old, grown(tmp_path, recipe=recipe))
    assert names
    assert not [name for name in names if part in name]


def test_a_run_resumes_without_the_one_it_started_from(tmp_path: Path) -> None:
    experiment(tmp_path)
    options = ["training.checkpoint_steps=2", "training.keep=99"]
    run = grown(tmp_path, *options)
    expected = run.parameters.read_bytes()
    shutil.rmtree(tmp_path / "old")
    for path in sorted(run.checkpoints.glob("step-*"))[1:]:
        shutil.rmtree(path)
    facts = read_json(run.facts)
    run.facts.write_text(json.dumps({**facts, "finished": False}), encoding="utf-8")
    sets = [part for option in options for part in ("--set", option)]
    trained(tmp_path / "grown.yaml", run.path, *sets, "--resume")
    assert run.parameters.read_bytes() == expected
    assert read_json(run.facts)["start"] == facts["start"]


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an experiment that nothing is written to any more."""
    folder = tmp_path_factory.mktemp("once")
    experiment(folder)
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["start.run=nowhere"], "nowhere: no such run folder"),
        (["encoder=cnn"], "encoder.kind: 'cnn' found, but"),
        (["encoder.hidden=[4]"], "encoder.hidden: [4] found, but"),
        (["text=[mask_tweets]"], "text: [{'kind': 'mask_tweets', "),
        (["training.precision=bf16"], "training.precision: 'bf16' found, but"),
        (["start.freeze_layers=3"], "start.freeze_layers: 3, but there are 0"),
        (["start.freeze_heads=mod"], "no head of task 'mod' was taken"),
        (["tasks.tone.head=mood"], "everything that tone reads is frozen"),
        (["sharing=independent", "start.keep=false"], "nothing but heads of"),
        (["tasks.odd={kind: classification, from: []}"], "tasks.odd.from: names no data, and"),
        (["tasks.tone.from=[]"], "tasks: none has data"),
        (["tasks.tone.from=[]", "start.keep=false"], "tasks.tone.from: found an empty list"),
        (["start.keep=perhaps"], "start.keep: found 'perhaps', expected true or false"),
        (["start.layers=1"], "start.layers: unknown key"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(
    trained_once: Path, changes: list[str], message: str
) -> None:
    assert message in refusal(trained_once, *changes)


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    run = experiment(tmp_path)
    run.facts.write_text(json.dumps({**read_json(run.facts), "finished": False}), encoding="utf-8")
    assert "its training has not finished" in refusal(tmp_path)
