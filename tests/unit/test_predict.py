"""Predictions of new rows: the same in any batches, as much as was asked for, and no row ends all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import polytask
from polytask.assembly.data.new_rows import new_views
from polytask.assembly.data.pools import evaluation_pool, new_pool
from polytask.assembly.data.views import views_of_any
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.cli import app
from polytask.core.errors import RecipeError
from polytask.core.run_folder import RunFolder
from polytask.data.rows import LateRows
from polytask.data.sources import sources
from polytask.recipe import load

RECIPE = """
data: {reviews: {kind: synthetic, size: 60, validation: 20, test: 20}}
encoder: {kind: transformer, vocabulary: 300, layers: 1, width: 16, heads: 2, feed_forward: 32}
tasks:
  sentiment: {kind: classification, target: sentiment}
  stars: {kind: regression, target: stars}
training: {epochs: 1, batch_rows: 16, precision: fp32}
"""
TEXTS = ["good", "the coat is warm but the delivery was slow", "bad and late", "fine " * 12]


def test_batches_change_no_prediction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    run = polytask.train(recipe, tmp_path / "run")
    rows = [{"text": text} for text in TEXTS]
    together = polytask.predict(run.path, rows)
    monkeypatch.setattr("polytask.evaluation.predict._CACHED", 1)
    for one, other in zip(together, polytask.predict(run.path, rows), strict=True):
        assert one["sentiment"]["label"] == other["sentiment"]["label"]
        assert one["stars"]["label"] == pytest.approx(other["stars"]["label"], abs=1e-5)


def test_vectors_are_the_means_of_tokens_of_rows_alone(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    run = polytask.train(path, tmp_path / "run")
    recipe = load(run.recipe)
    trained = LoadedRun.load(run)
    rows = sources.build({"kind": "rows", "rows": [{"text": text} for text in TEXTS]}, ()).load()
    [view] = views_of_any(recipe, "new")
    pool = evaluation_pool(view, rows["all"], trained.encoder, tmp_path)
    vectors_ND = np.array(trained.predictor.vectors([pool])["stars"].labels)
    assert vectors_ND.shape == (len(TEXTS), 16)
    model = trained.predictor.model.eval()
    for text, vector_D in zip(TEXTS, vectors_ND, strict=True):
        inputs = trained.encoder.collate(trained.encoder.prepare([(text,)]))
        with torch.no_grad():
            features = model.sharing(inputs, {"stars": torch.tensor([0])})["stars"]
        mean_D = features.tokens_BLD[0][features.mask_BL[0]].numpy().mean(0)
        np.testing.assert_allclose(vector_D, mean_D, rtol=1e-4, atol=1e-5)


WORDS = """
data: {shop: {kind: jsonl, train: train.jsonl, test: train.jsonl}}
encoder: {kind: transformer, vocabulary: 300, layers: 1, width: 16, heads: 2, feed_forward: 32}
tasks:
  mood: {kind: classification, input: text, target: mood}
  tags: {kind: tagging, input: tokens, target: tags}
training: {epochs: 1, batch_rows: 8, precision: fp32}
"""
Predict = Callable[..., Result]


@pytest.fixture(scope="module")
def words_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one task on texts and one on words, of which some training rows have no label."""
    folder = tmp_path_factory.mktemp("words")
    rows: list[dict[str, Any]] = [
        {"text": f"t {n}", "mood": "abc"[n % 3], "tokens": ["t", str(n)], "tags": ["X", "O"]}
        for n in range(18)
    ]
    rows[4]["mood"] = rows[7]["mood"] = None
    write(folder / "train.jsonl", rows)
    (folder / "recipe.yaml").write_text(WORDS)
    return polytask.train(folder / "recipe.yaml", folder / "run").path


@pytest.fixture
def predict(words_run: Path, tmp_path: Path) -> Predict:
    def called(rows: list[Any], *options: str) -> Result:
        write(tmp_path / "new.jsonl", rows)
        arguments = ["predict", str(words_run), str(tmp_path / "new.jsonl"), *options]
        return CliRunner().invoke(app, arguments)

    return called


def write(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def records(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


ROW = {"text": "t 1", "tokens": ["t", "1"]}


def test_as_many_probabilities_as_were_asked_for(predict: Predict) -> None:
    [everything], [two], [none] = (
        records(predict([ROW], *options))
        for options in ((), ("--top-k", "2"), ("--no-probabilities",))
    )
    chances = everything["mood"]["probabilities"]
    best = sorted(chances.items(), key=lambda pair: -pair[1])
    assert list(chances) == ["a", "b", "c"]
    assert list(two["mood"]["probabilities"].items()) == best[:2]
    assert none["mood"] == {"label": best[0][0], "confidence": best[0][1]}
    assert everything["tags"] == two["tags"] == none["tags"]
    assert len(none["tags"]["confidence"]) == 2


def test_no_labels_are_no_number_of_labels(words_run: Path) -> None:
    with pytest.raises(RecipeError, match="top_k: found 0, expected 1 or more"):
        polytask.predict(words_run, [ROW], top_k=0)


@pytest.mark.parametrize("broken", [None, 0, 2])
def test_fields_are_those_of_the_rows_asked_for(words_run: Path, broken: int | None) -> None:
    run = polytask.load(words_run)
    given: list[Any] = [{"text": "t " * n, "tokens": ["t"] * n} for n in range(1, 6)]
    if broken is not None:
        given[broken]["tokens"] = None
    [view] = new_views(run.recipe, run.types, ["tags"])
    pool, refused = new_pool(view, given, str, run.encoder)
    assert [*refused] == [at for at in range(5) if at == broken]
    kept = [row["tokens"] for row in given if row["tokens"]]
    order_b = np.argsort(-pool.lengths_N, kind="stable")
    assert [fields for (fields,) in pool.fields(order_b)] == kept[::-1]


def test_late_rows_are_read_once_and_only_if_they_are_looked_at() -> None:
    reads: list[int] = []

    def read() -> list[str]:
        reads.append(1)
        return ["a", "b", "c"]

    rows = LateRows(3, read)
    assert (len(rows), reads) == (3, [])
    assert ([*rows], rows[2], reads) == (["a", "b", "c"], "c", [1])


@pytest.mark.parametrize("broken", [0, 2])
def test_a_row_that_cannot_be_read_is_counted_with_its_place(predict: Predict, broken: int) -> None:
    rows: list[Any] = [ROW, ROW, ROW]
    rows[broken] = {**ROW, "text": None}
    result = predict(rows)
    assert result.exit_code == 0
    found = records(result)
    assert [row["mood"]["label"] is None for row in found] == [at == broken for at in range(3)]
    assert all(row["tags"]["label"] for row in found)
    assert f"new.jsonl:{broken + 1}: column 'text' is null" in found[broken]["mood"]["error"]
    last = result.stderr.splitlines()[-1]
    assert last.startswith("note: 1 of 3 rows could not be read")
    assert f"new.jsonl:{broken + 1}: " in last


def test_rows_that_different_tasks_cannot_read_are_counted_once_each(words_run: Path) -> None:
    said: list[str] = []
    rows: list[dict[str, Any]] = [
        {**ROW, "text": None},
        {**ROW, "tokens": None},
        {"text": None, "tokens": None},
        ROW,
    ]
    found = [*polytask.predict(words_run, rows, left_out=said.append)]
    assert len(found) == 4
    assert [note.partition(".")[0] for note in said] == [
        "3 of 4 rows could not be read and have no label"
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no rows"),
        ([{"text": None}, {"text": None}], "none of 2 rows can be read, the first: "),
        ([{"text": "a"}, {"text": ["a"]}], "new.jsonl:2: column 'text': a list found where"),
        ([{"review": "a"}], "found columns review, expected 'text' or 'tokens'."),
    ],
)
def test_nothing_to_predict_ends_in_a_message(
    predict: Predict, tmp_path: Path, rows: list[Any], message: str
) -> None:
    result = predict(rows, "--output", str(tmp_path / "out" / "predicted.jsonl"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "out").iterdir())


def test_a_column_of_mixed_kinds_stops_only_the_tasks_that_read_it(predict: Predict) -> None:
    result = predict([ROW, {**ROW, "tokens": "t"}])
    assert result.exit_code == 0
    assert [set(row) for row in records(result)] == [{"mood"}] * 2
    assert "note: not predicted: tags. " in result.stderr
    assert "new.jsonl:2: column 'tokens'" in result.stderr


def test_an_interrupt_leaves_no_file(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("polytask.assembly.run.loaded_run.LoadedRun.predict_pools", interrupted)
    result = predict([ROW], "--output", str(tmp_path / "out" / "predicted.jsonl"))
    assert result.exit_code == 130
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_as_output_is_refused_before_any_row_is_read(
    predict: Predict, tmp_path: Path
) -> None:
    result = predict([{"text": None}], "--output", str(tmp_path))
    assert result.exit_code == 2
    assert result.stderr == (
        f"--output {tmp_path}: cannot be written: Is a directory. Name another file.\n"
    )


def test_vectors_are_means_of_the_features_of_tokens(words_run: Path) -> None:
    rows: list[dict[str, Any]] = [
        ROW,
        {"text": "t 2 and more", "tokens": ["x"]},
        {"text": None, "tokens": ["t"]},
    ]
    found = [*polytask.predict(words_run, rows, vectors=True)]
    from polytask.assembly.model.assemble import load_model
    from polytask.recipe import load

    folder = RunFolder.open(words_run)
    model, encoder = load_model(load(folder.recipe), folder)
    model.eval()
    for at, (task, field) in [
        (0, ("mood", "t 1")),
        (1, ("mood", "t 2 and more")),
        (1, ("tags", ["x"])),
    ]:
        inputs = encoder.collate(encoder.prepare([(field,)]))
        with torch.inference_mode():
            features = model.features(inputs, {task: torch.tensor([0])})[task]
        tokens_LD = features.tokens_BLD[0][features.mask_BL[0]]
        np.testing.assert_allclose(found[at][task]["vector"], tokens_LD.mean(0), atol=2e-6)
    assert found[2]["mood"]["vector"] is None
    assert "error" in found[2]["mood"]


def test_an_evaluation_accounts_for_its_rows(words_run: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", str(words_run), "--split", "test"])
    written = json.loads((words_run / "scores.json").read_text("utf-8"))["test"]["rows"]
    assert (written["mood"]["rows"], written["mood"]["used"]) == (18, 16)
    assert written["tags"] == {"rows": 18, "used": 18, "left_out": {}, "remarks": {}}
    [line] = [line for line in result.stdout.splitlines() if line.startswith("rows: ")]
    assert line.startswith("rows: mood: 2 left out, no label, as ")
    assert line.endswith("train.jsonl:5")
