"""A loaded run predicts lazily, in order, from several threads, and changes nothing around it."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import polytask
from polytask.assembly.run import prediction
from polytask.core.batch import Inputs
from polytask.core.errors import DataError, RecipeError

RECIPE = """
data: {shop: {kind: jsonl, train: train.jsonl, validation: train.jsonl}}
encoder: {kind: transformer, vocabulary: 300, layers: 1, width: 16, heads: 2, feed_forward: 32}
tasks:
  mood: {kind: classification, input: text, target: mood}
  size: {kind: regression, input: text, target: size}
  tags: {kind: tagging, input: tokens, target: tags}
SHARING
training: {steps: 4, batch_rows: 8, precision: fp32, task_best: true, evaluate_every: 0.5, device: cpu}
"""
WINDOW = 8


def row(number: int) -> dict[str, Any]:
    words = ["t", str(number), *(number % 7) * ["very"], "good"]
    return {"text": " ".join(words), "tokens": words}


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [row(number) for number in range(first, first + count)]


def train(folder: Path, sharing: str) -> Path:
    labels = [
        {**one, "mood": "abc"[n % 3], "size": n / 7, "tags": len(one["tokens"]) * ["XO"[n % 2]]}
        for n, one in enumerate(rows(24))
    ]
    lines = "".join(json.dumps(one) + "\n" for one in labels)
    (folder / "train.jsonl").write_text(lines, encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE.replace("SHARING", sharing), encoding="utf-8")
    return polytask.train(folder / "recipe.yaml", folder / "run").path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose architecture keeps what belongs to a pass in attributes of its modules."""
    return train(tmp_path_factory.mktemp("loaded"), "sharing: {kind: task_lora, rank: 2}")


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "WINDOWS", (WINDOW,))


def close(one: list[Any], other: list[Any]) -> bool:
    """Compare records whose rows were in other batches: numbers within 1e-5, all else equal."""
    if len(one) != len(other):
        return False
    return all(_close(first, second) for first, second in zip(one, other, strict=True))


def _close(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return close(one, other)
    return bool(one == (pytest.approx(other, abs=1e-5) if isinstance(other, float) else other))


def test_rows_of_any_iterable_have_the_records_of_each_row_alone_in_order(folder: Path) -> None:
    run = polytask.load(folder)
    given = rows(3 * WINDOW + 3)
    found = [*run.predict(given)]
    assert [*run.predict(iter(given))] == found
    assert [*run.predict(one for one in given)] == found
    assert [*polytask.predict(run, given)] == found
    assert close([one for each in given for one in run.predict([each])], found)
    assert [*found[0]] == ["mood", "size", "tags"]


def test_an_endless_generator_is_consumed_a_window_at_a_time(folder: Path) -> None:
    consumed: list[int] = []

    def endless() -> Iterator[dict[str, Any]]:
        number = 0
        while True:
            consumed.append(number)
            yield row(number)
            number += 1

    found = polytask.load(folder).predict(endless())
    assert consumed == []
    for seen in range(2 * WINDOW + 1):
        next(found)
        assert len(consumed) == WINDOW * (seen // WINDOW + 1)


def test_windows_grow(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(prediction, "WINDOWS", (2, 3))
    consumed: list[int] = []

    def given() -> Iterator[dict[str, Any]]:
        for number in range(9):
            consumed.append(number)
            yield row(number)

    seen = [len(consumed) for _ in polytask.load(folder).predict(given())]
    assert seen == [2, 2, 5, 5, 5, 8, 8, 8, 9]


def test_threads_get_the_records_of_one_thread(folder: Path) -> None:
    run = polytask.load(folder, task_best=True)
    assert len(run.predictors) > 1  # tasks were best at different steps
    parts = [rows(2 * WINDOW + 1, 50 * part) for part in range(8)]
    expected = [[*run.predict(part)] for part in parts]
    start = threading.Barrier(len(parts))

    def predict(part: list[dict[str, Any]]) -> list[Any]:
        start.wait()
        return [[*run.predict(part)] for _ in range(3)]

    with ThreadPoolExecutor(len(parts)) as pool:
        found = [*pool.map(predict, parts)]
    assert found == [[own] * 3 for own in expected]


def test_task_best_models_are_those_that_are_evaluated(folder: Path) -> None:
    run = polytask.load(folder, task_best=True)
    scores = polytask.evaluate(run, "train")["models"]
    assert scores == {task: each["model"] for task, each in run.describe()["tasks"].items()}
    lines = (folder / "predictions" / "train" / "size.jsonl").read_text("utf-8").splitlines()
    scored = [json.loads(line)["prediction"] for line in lines]
    found = [one["size"]["label"] for one in run.predict(rows(24))]
    assert found == pytest.approx(scored, abs=1e-5)
    with pytest.raises(RecipeError, match="the run is loaded already"):
        polytask.predict(run, rows(1), task_best=True)


def test_random_states_and_modes_stay_as_they_are(folder: Path) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)

    def state() -> list[Any]:
        return [
            torch.get_rng_state().tolist(),
            str(np.random.get_state()),
            random.getstate(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
        ]

    before = state()
    run = polytask.load(folder)
    [*run.predict(rows(3))]
    [*run.embed(rows(3))]
    assert state() == before
    assert not any(module.training for module in run.predictor.model.modules())


def test_a_row_that_cannot_be_read_has_an_error_and_others_go_on(folder: Path) -> None:
    run = polytask.load(folder)
    given = rows(WINDOW + 2)
    given[1] = {**given[1], "text": None}
    given[2] = {"tokens": ["t"]}
    given[WINDOW + 1] = {**given[1], "text": {"no": "text"}, "tokens": 5}
    notes: list[str] = []
    found = [*run.predict(given, left_out=notes.append)]
    unread = [at for at, one in enumerate(found) if one["mood"]["label"] is None]
    assert unread == [1, 2, WINDOW + 1]
    assert found[1]["size"]["error"].startswith("rows[1]: column 'text' is null")
    error = found[WINDOW + 1]["mood"]["error"]
    assert (
        error
        == f"rows[{WINDOW + 1}]: column 'text': found dict, expected a text or a list of words"
    )
    error = found[WINDOW + 1]["tags"]["error"]
    assert error == f"rows[{WINDOW + 1}]: column 'tokens': found int, expected a list of words"
    assert all(one["tags"]["label"] for one in found[: WINDOW + 1])
    assert [note.partition(" could")[0] for note in notes] == ["3 of 10 rows"]
    assert [*run.predict([])] == []


def test_a_row_that_cannot_be_decoded_for_a_batch_has_an_error(folder: Path) -> None:
    def read(inputs: Inputs, rng: np.random.Generator | None) -> Inputs:
        if len(inputs["ids"]) == length:
            raise ValueError("truncated image")
        return inputs

    run = polytask.load(folder)
    given = rows(WINDOW + 3)
    texts = {at: one["text"] for at, one in enumerate(given)}
    length = len(run.encoder.prepare([(texts[WINDOW],)])[0]["ids"])
    broken = [at for at in texts if len(run.encoder.prepare([(texts[at],)])[0]["ids"]) == length]
    file, predictor = next(iter(run.predictors.items()))
    changed = replace(predictor, collation=replace(predictor.collation, read=read))
    found = [*replace(run, predictors={file: changed}).predict(given, ["mood"])]
    for at, (one, expected) in enumerate(zip(found, run.predict(given, ["mood"]), strict=True)):
        error = (
            f"rows[{at}]: cannot be read: ValueError: truncated image. Repair the row or remove it."
        )
        assert (
            one == {"mood": {"label": None, "error": error}}
            if at in broken
            else close([one], [expected])
        )


def test_tasks_that_rows_lack_columns_for_are_left_out(folder: Path) -> None:
    run = polytask.load(folder)
    notes: list[str] = []
    given = [{"text": "good"}, {"text": "bad"}]
    assert [[*one] for one in run.predict(given, left_out=notes.append)] == 2 * [["mood", "size"]]
    assert notes == ["not predicted, as the rows have no tokens: tags."]
    assert [[*one] for one in run.predict(rows(1), ["tags"])] == [["tags"]]
    with pytest.raises(RecipeError, match=r"tasks: .*'moods'.*mood"):
        run.predict(rows(1), ["moods"])
    with pytest.raises(DataError, match="rows: no task can read these rows: found columns review"):
        next(run.predict([{"review": "good"}]))
    with pytest.raises(DataError, match=r"rows: found str, expected mappings of columns to values"):
        next(run.predict(["good"]))  # type: ignore[list-item]


def test_values_are_read_as_the_columns_of_the_training_were(folder: Path) -> None:
    run = polytask.load(folder)
    [one, other] = run.predict(
        [{"text": 5, "tokens": ("t", 5)}, {"text": "5", "tokens": ["t", "5"]}]
    )
    assert close([one], [other])


def test_a_file_has_the_records_of_its_rows(folder: Path, tmp_path: Path) -> None:
    run = polytask.load(folder)
    given = rows(2 * WINDOW + 1)
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in given), encoding="utf-8")
    assert [*run.predict(path)] == [*run.predict(str(path))] == [*run.predict(given)]
    assert [*polytask.predict(run, path, tasks=["tags"])] == [*run.predict(given, ["tags"])]
    with pytest.raises(RecipeError, match="changes how a file is read, found rows"):
        run.predict(given, overrides=["data.shop.encoding=utf-16"])


def test_a_loaded_run_knows_itself(folder: Path) -> None:
    run = polytask.load(folder, device="cpu", precision="bf16")
    assert list(run.tasks["mood"].labels) == ["a", "b", "c"]
    assert run.recipe.tasks.keys() == run.tasks.keys()
    described = run.describe()
    assert (described["device"], described["precision"]) == ("cpu", "bf16")
    assert described["tasks"]["tags"]["input"] == ["tokens"]
    assert json.loads(json.dumps(described)) == described
    with pytest.raises(RecipeError, match="device: cannot use 'cuda:77'"):
        polytask.load(folder, device="cuda:77")
    with pytest.raises(RecipeError, match="precision: fp16 needs a CUDA device"):
        polytask.load(folder, device="cpu", precision="fp16")
