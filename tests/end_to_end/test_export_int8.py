"""``polytask export --int8``: both scores are shown, and too large a loss is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import polytask
from polytask.core.errors import RecipeError, RunError
from polytask.core.files import read_json
from polytask.exports.int8 import require_small_losses
from tests.end_to_end.exported import rows, train
from tests.end_to_end.files import polytask as command

pytestmark = pytest.mark.slow


def test_losses_are_measured_on_the_rows_of_the_run(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    run, out = train(tmp_path, "transformer"), tmp_path / "out"
    done = command("export", run, out, "--to", "onnx", "--int8", "--max-loss", "100")
    assert done.exit_code == 0, done.stderr
    facts = read_json(out / "export.json")
    assert facts["int8"]["split"] == "validation"
    mood = facts["int8"]["tasks"]["mood"]
    scores = polytask.evaluate(run, "validation")["tasks"]
    assert mood["fp32"] == pytest.approx(scores["mood"]["accuracy"]["value"])
    assert mood["loss"] == pytest.approx(100 * (mood["fp32"] - mood["int8"]))
    card = (out / "README.md").read_text("utf-8")
    assert f"| validation | mood | 8 | accuracy | {mood['fp32']:.4f} | {mood['int8']:.4f} |" in card
    loaded, given = polytask.load(out), rows(6, 500)
    assert loaded.describe()["precision"] == "int8"
    for record, expected in zip(loaded.predict(given), polytask.predict(run, given), strict=True):
        found = record["mood"]["probabilities"]["good"]
        assert found == pytest.approx(expected["mood"]["probabilities"]["good"], abs=0.1)
        assert found != expected["mood"]["probabilities"]["good"]

    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(RunError, match=r"(?s)--int8: the rows .* cannot be read.* without --int8"):
        polytask.export(run, tmp_path / "other", "onnx", ["mood"], int8=True)
    assert not list(tmp_path.glob("*other*"))
    with pytest.raises(RecipeError, match="expected --to onnx"):
        polytask.export(run, tmp_path / "other", "huggingface", int8=True)


def test_a_large_loss_of_one_task_is_refused() -> None:
    tasks = {
        "mood": {"metric": "accuracy", "fp32": 0.91, "int8": 0.9, "loss": 1.0},
        "stars": {"metric": "pearson", "fp32": 0.5, "int8": 0.51, "loss": -1.0},
    }
    require_small_losses(tasks, 1.0)
    with pytest.raises(RunError) as refused:
        require_small_losses(tasks, 0.5)
    assert "mood loses 1.00 points of accuracy (0.9100 in fp32, 0.9000 in int8)" in str(
        refused.value
    )
    assert "stars loses -1.00 points of pearson" in str(refused.value)
    assert "At most 0.5 points" in str(refused.value)
