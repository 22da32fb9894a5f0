"""A run on a named model stores what was trained, and takes the rest from that model again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import transformers

from polytask import api
from polytask.core.errors import RunError
from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from polytask.core.tensors import read_tensors
from polytask.encoders.huggingface import HuggingFaceEncoder
from tests.end_to_end.files import polytask, reviews, write_experiment

RECIPE = """\
data:
  shop: {kind: jsonl, train: train.jsonl, validation: validation.jsonl}
encoder: {kind: huggingface, path: base, max_length: 32, ENCODER}
sharing: SHARING
tasks:
  mood: {kind: classification, target: mood}
  stars: {kind: regression, target: stars}
training: {steps: 4, batch_rows: 16, precision: fp32, threads: 1, device: cpu, task_best: true}
evaluation: {bootstrap: 0}
"""
HEAD = ("scorer.1.weight", "scorer.1.bias")
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
CONFIG = {"model_type": "bert", **SIZES, "intermediate_size": 32}


def write_base(folder: Path, seed: int = 0) -> None:
    torch.manual_seed(seed)
    encoder = HuggingFaceEncoder(config=CONFIG, vocabulary=300)
    encoder.fit([(row["text"],) for row in reviews(20)])
    encoder.save(folder)
    encoder.model.save_pretrained(folder)


def prepared(folder: Path, encoder: str, sharing: str = "hard") -> Path:
    write_base(folder / "base")
    recipe = RECIPE.replace("ENCODER", encoder).replace("SHARING", sharing)
    return write_experiment(folder, recipe)


def trained(recipe: Path, *options: str) -> RunFolder:
    run = RunFolder(recipe.parent / "run")
    result = polytask("train", recipe, "--run", run.path, *options)
    assert result.exit_code == 0, result.stderr
    return run


def stored_names(run: RunFolder) -> set[str]:
    files = [run.parameters, *run.task_best.glob("*.safetensors")]
    found = [set(read_tensors(file)) for file in files]
    assert all(names == found[0] for names in found)
    return found[0]


@pytest.mark.parametrize("sharing", ["hard", "independent"])
def test_what_is_frozen_is_not_stored(tmp_path: Path, sharing: str) -> None:
    run = trained(prepared(tmp_path, "freeze: true", sharing))
    assert not [name for name in stored_names(run) if not name.startswith("heads.")]
    base = (tmp_path / "base" / "model.safetensors").stat().st_size
    whole = [run.parameters, *run.checkpoints.glob("step-*/tensors.safetensors")]
    assert all(file.stat().st_size < base / 4 for file in whole)
    assert [*api.predict(run.path, reviews(4))] == [*api.predict(run.path, reviews(4))]


def test_part_of_an_encoder_may_be_frozen(tmp_path: Path) -> None:
    run = trained(prepared(tmp_path, "freeze_layers: 1"))
    names = stored_names(run)
    left_out = set(read_json(run.base)["tensors"])
    assert any("layer.1." in name for name in names)
    assert any("layer.0." in name for name in left_out)
    assert not names & left_out


def test_the_model_is_the_one_that_was_validated(tmp_path: Path) -> None:
    run = trained(prepared(tmp_path, "freeze_layers: 1"))
    record = [record for record in run.records() if "validation" in record][-1]
    scores = api.evaluate(run.path, "validation")["tasks"]
    assert scores["stars"]["rmse"]["value"] == pytest.approx(record["validation"]["stars"]["rmse"])


def test_a_training_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    recipe = prepared(tmp_path, "freeze_layers: 1")
    whole = trained(recipe, "--set", "training.checkpoint_steps=2", "--set", "training.keep=9")
    expected = whole.parameters.read_bytes()
    shutil.rmtree(whole.checkpoints / "step-00000004")
    facts = whole.facts.read_text("utf-8").replace('"finished": true', '"finished": false')
    whole.facts.write_text(facts, encoding="utf-8")
    again = trained(
        recipe, "--set", "training.checkpoint_steps=2", "--set", "training.keep=9", "--resume"
    )
    assert again.parameters.read_bytes() == expected


GROWN = """\
data:
  shop: {kind: jsonl, train: train.jsonl, validation: validation.jsonl}
encoder: {kind: huggingface, path: base, max_length: 32, ENCODER}
start: {run: RUN, keep: true}
tasks:
  tone: {kind: classification, target: mood}
training: {steps: 4, batch_rows: 16, precision: fp32, threads: 1, device: cpu}
evaluation: {bootstrap: 0}
"""


@pytest.mark.parametrize("option", ["freeze: true", "freeze_layers: 1", "dropout: 0"])
def test_a_run_that_starts_from_one_stores_as_little(tmp_path: Path, option: str) -> None:
    """What the older run has trained is frozen now, and stored, as the base has other numbers."""
    old = trained(prepared(tmp_path, option))
    path = tmp_path / "grown.yaml"
    path.write_text(GROWN.replace("RUN", str(old.path)).replace("ENCODER", option))
    new = RunFolder(tmp_path / "new")
    result = polytask("train", path, "--run", new.path)
    assert result.exit_code == 0, result.stderr
    before = [*api.predict(old.path, reviews(8))]
    names = set(read_tensors(old.parameters))
    assert new.base.exists() == old.base.exists()
    assert {*read_tensors(new.parameters)} - names == {f"heads.tone.{n}" for n in HEAD}
    shutil.rmtree(old.path)
    for record, expected in zip(api.predict(new.path, reviews(8)), before, strict=True):
        assert {task: record[task] for task in expected} == expected


def test_everything_is_stored_where_everything_is_trained(tmp_path: Path) -> None:
    run = trained(prepared(tmp_path, "dropout: 0"))
    assert not run.base.exists()
    shutil.rmtree(tmp_path / "base")
    assert len([*api.predict(run.path, reviews(4))]) == 4


def test_a_missing_base_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(prepared(tmp_path, "freeze: true"))
    shutil.rmtree(tmp_path / "base")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RunError, match=r"'base', which cannot be loaded. Bring that model back"):
        list(api.predict(run.path, reviews(4)))


@pytest.mark.parametrize("commands", [["evaluate"], ["predict", "train.jsonl"]])
def test_another_base_is_refused(tmp_path: Path, commands: Sequence[str]) -> None:
    run = trained(prepared(tmp_path, "freeze: true"))
    write_base(tmp_path / "base", seed=1)
    command, *files = commands
    result = polytask(command, run.path, *(tmp_path / file for file in files))
    assert result.exit_code == 2
    assert "'base' with SHA-256" in result.stderr
    assert read_json(run.base)["sha256"] in result.stderr


def test_a_base_of_another_size_is_refused(tmp_path: Path) -> None:
    run = trained(prepared(tmp_path, "freeze: true"))
    config = transformers.AutoConfig.from_pretrained(tmp_path / "base")
    config.intermediate_size = 64
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path / "base")
    with pytest.raises(RunError, match=r"is another model: .*intermediate"):
        list(api.predict(run.path, reviews(4)))
