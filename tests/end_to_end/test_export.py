"""``polytask export``: other libraries give the answers of the run, or the reason why they cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import polytask
from polytask.core.errors import RunError
from polytask.core.files import read_json
from tests.end_to_end.exported import ALL, TEXT, train
from tests.end_to_end.files import polytask as command
from tests.thinning import only

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "sharing", "pool", "exported"),
    [
        ("bert", "lora", "first", ALL - {"stars"}),
        ("bert", "hard", "mean", {"words"}),
        ("roberta", "hard", "first", ALL - {"stars"}),
        ("electra", "hard", "first", ALL),
        ("deberta-v2", "hard", "first", ALL - {"stars"}),
        ("eurobert", "hard", "mean", ALL),
        ("distilbert", "hard", "first", ALL - {"stars"}),
        ("gpt2", "hard", "first", {"words"}),
    ],
)
def test_transformers_gives_the_same_answers(
    name: str, sharing: str, pool: str, exported: set[str], tmp_path: Path
) -> None:
    run, notes = train(tmp_path, name, sharing, pool), list[str]()
    out = polytask.export(run, tmp_path / "out", "huggingface", note=notes.append)
    assert {path.name for path in (out / "tasks").glob("*")} == exported
    assert len(notes) == len(ALL - exported)
    assert all("--to onnx" in text for text in notes)
    assert max(read_json(out / "export.json")["largest_difference"].values()) < 1e-5
    assert not list(tmp_path.glob(".out*"))


def test_the_folders_are_what_plain_libraries_load(tmp_path: Path) -> None:
    """Other texts than the stored ones, through the command line."""
    transformers = pytest.importorskip("transformers")
    sentences = pytest.importorskip("sentence_transformers")
    run, out = train(tmp_path, "electra", "lora"), tmp_path / "out"
    done = command("export", run, out, "--to", "huggingface")
    assert done.exit_code == 0, done.stderr
    row = {"text": TEXT, "tokens": TEXT.split()}
    [expected] = polytask.predict(run, [row])
    [vectors] = polytask.predict(run, [row], vectors=True)
    pipes = {
        task: transformers.pipeline(model=str(out / "tasks" / task), task=f"{kind}-classification")
        for task, kind in [
            ("mood", "text"),
            ("moods", "text"),
            ("stars", "text"),
            ("words", "token"),
        ]
    }
    for task in ("mood", "moods"):
        found = {one["label"]: one["score"] for one in pipes[task](TEXT, top_k=None)}
        assert found == pytest.approx(expected[task]["probabilities"], abs=1e-5)
    [star] = pipes["stars"](TEXT)
    assert star["score"] == pytest.approx(expected["stars"]["label"], abs=1e-4)
    tags = pipes["words"](TEXT, ignore_labels=[])
    starts = [0, *(place + 1 for place, letter in enumerate(TEXT) if letter == " ")]
    # a space belongs to the token of the word after it
    first = [next(t for t in tags if t["end"] > start)["entity"] for start in starts]
    assert first == expected["words"]["label"]
    model = sentences.SentenceTransformer(str(out / "encoder"), device="cpu")
    np.testing.assert_allclose(model.encode([TEXT])[0], vectors["mood"]["vector"], atol=1e-4)
    card = (out / "README.md").read_text("utf-8")
    facts = json.loads((run / "run.json").read_text("utf-8"))
    assert facts["data"]["shop"]["train"]["sha256"] in card
    assert "license: FILL-IN" in card
    assert "| test | mood | 8 | accuracy |" in card
    again = command("export", run, out, "--to", "huggingface")
    assert again.exit_code == 2
    assert "exists. Name a new folder" in again.stderr


@pytest.mark.parametrize(
    ("name", "sharing", "reason"),
    [
        ("transformer", "hard", "expected 'huggingface'"),
        ("bert", "mmoe", "expected 'hard' or 'lora'"),
        ("bert", "{kind: hard, shared_layers: 0}", "with shared_layers"),
    ],
)
def test_what_transformers_has_no_class_for_is_refused(
    name: str, sharing: str, reason: str, tmp_path: Path
) -> None:
    run = train(tmp_path, name, sharing)
    with pytest.raises(RunError, match=reason) as refused:
        polytask.export(run, tmp_path / "out", "huggingface")
    assert "--to onnx" in str(refused.value)
    assert not list(tmp_path.glob("*out*"))


def test_a_task_that_is_asked_for_is_not_left_out(tmp_path: Path) -> None:
    run = train(tmp_path, "bert", pool="mean")
    with pytest.raises(RunError, match=r"tasks.mood: found pool: mean.* Train with pool: first"):
        polytask.export(run, tmp_path / "out", "huggingface", ["mood", "words"])
    with pytest.raises(polytask.PolytaskError, match="no task called 'moood'"):
        polytask.export(run, tmp_path / "out", "huggingface", ["moood"])
    with pytest.raises(
        polytask.PolytaskError, match="found 'tflite', expected onnx or huggingface"
    ):
        polytask.export(run, tmp_path / "out", "tflite")


@pytest.mark.parametrize(
    ("name", "sharing"),
    only([("distilbert", "lora")], [("distilbert", "lora"), ("transformer", "mmoe")]),
)
def test_onnxruntime_gives_the_same_answers(name: str, sharing: str, tmp_path: Path) -> None:
    """For one row that is longer than all stored ones; its scores are decoded by the run."""
    runtime = pytest.importorskip("onnxruntime")
    run = train(tmp_path, name, sharing, pool="mean")
    out = polytask.export(run, tmp_path / "out", "onnx", ["mood", "words"])
    facts = read_json(out / "export.json")
    assert facts["largest_difference"] <= 1e-4
    assert facts["outputs"] == ["mood", "words.tags_bWC", "words.kept_bW"]
    loaded = polytask.load(run)
    text = f"{TEXT} and {TEXT}"
    row = {"text": text, "tokens": text.split()}
    [expected] = loaded.predict([row])
    batch = loaded.encoder.collate(loaded.encoder.prepare([(row["tokens"],)]))
    session = runtime.InferenceSession(out / "model.onnx")
    found = session.run(None, {one: batch[one].numpy() for one in facts["inputs"]})
    scores = dict(zip(facts["outputs"], map(torch.from_numpy, found), strict=True))
    mood = scores["mood"].softmax(-1)[0].tolist()
    assert mood == pytest.approx([*expected["mood"]["probabilities"].values()], abs=1e-4)
    best = scores["words.tags_bWC"][0].argmax(-1).tolist()
    assert [facts["tasks"]["words"]["labels"][tag] for tag in best] == expected["words"]["label"]
