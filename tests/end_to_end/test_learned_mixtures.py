"""Mixtures that learn: recorded, saved, and the same after an interruption, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.resume import Outcome
from polytask import recipe
from polytask.assembly.run.training import train
from polytask.core.run_folder import RunFolder
from polytask.data.mixing import mixtures
from polytask.training.log import TrainingLog
from tests.end_to_end.files import polytask, reviews, write_experiment
from tests.thinning import pairs

DYNAMIC = [kind for kind in mixtures.kinds() if mixtures.part(kind).adapts]
LEARNED = """\
data:
  shop: {kind: jsonl, train: train.jsonl, validation: validation.jsonl}
  other: {kind: jsonl, train: more.jsonl, validation: test.jsonl}
encoder: {kind: bag, dimension: 8, hidden: [8], dropout: 0.2}
tasks:
  mood: {kind: classification, from: shop, target: mood}
  stars: {kind: regression, from: other, target: stars, metrics: [rmse]}
mixing: {kind: KIND, window: 4}
training:
  {epochs: 4, batch_rows: 8, learning_rate: 1e-2, precision: fp32, threads: 1, device: cpu,
   checkpoint_steps: 3}
evaluation: {bootstrap: 0}
"""


def write(folder: Path, kind: str) -> Path:
    text = LEARNED.replace("KIND", kind)
    return write_experiment(folder, text, {"more": reviews(72, 300)})


class CrashError(Exception):
    """Stands for a crash."""


def crash_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TrainingLog.step

    def crash(log: TrainingLog, record: Mapping[str, Any]) -> None:
        whole(log, record)
        if record["step"] == step:
            raise CrashError

    monkeypatch.setattr(TrainingLog, "step", crash)


@pytest.mark.parametrize(("kind", "step"), pairs(DYNAMIC, [7, 24]))
def test_interrupted_and_resumed(
    kind: str, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = recipe.load(write(tmp_path, kind))
    whole = Outcome.of(train(experiment, tmp_path / "whole").path)
    with monkeypatch.context() as patch:
        crash_after(step, patch)
        with pytest.raises(CrashError):
            train(experiment, tmp_path / "run")
    resumed = train(experiment, tmp_path / "run", resume=True)
    assert whole.difference(Outcome.of(resumed.path)) is None


@pytest.mark.parametrize("kind", DYNAMIC)
def test_shares_are_recorded_and_change(kind: str, tmp_path: Path) -> None:
    run = train(recipe.load(write(tmp_path, kind)), tmp_path / "run")
    found = [record["mixing"] for record in run.records() if "losses" in record]
    assert found[0] == {"shop[text]": 0.5, "other[text]": 0.5}
    assert all(sum(shares.values()) == pytest.approx(1, abs=1e-3) for shares in found)
    assert len({shares["shop[text]"] for shares in found}) > 2


def test_other_mixtures_leave_no_record(tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    assert polytask("train", path, "--run", tmp_path / "run").exit_code == 0
    assert not any("mixing" in record for record in RunFolder(tmp_path / "run").records())


def test_a_mixture_that_cannot_tell_the_sources_apart_is_named_before_training(
    tmp_path: Path,
) -> None:
    text = LEARNED.replace("KIND", "exp3_gradient").replace("from: other", "from: [shop, other]")
    path = write_experiment(tmp_path, text, {"more": reviews(72, 300)})
    result = polytask("check", path)
    assert result.exit_code != 0
    assert "exp3_gradient distinguishes pools by their tasks" in result.stdout + result.stderr


def test_a_reference_without_a_task_is_named_before_training(tmp_path: Path) -> None:
    text = LEARNED.replace("KIND", "doremi, reference: {mood: 0.1}")
    path = write_experiment(tmp_path, text, {"more": reviews(72, 300)})
    result = polytask("check", path)
    assert result.exit_code != 0
    assert "no loss for stars" in result.stdout + result.stderr
