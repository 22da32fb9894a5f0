"""A loss that is not a number is named before it can do harm, then handled by policy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from polytask.core.run_folder import RunFolder
from polytask.core.tensors import read_tensors
from tests.end_to_end.files import RECIPE, polytask, reviews, write_experiment

RARE = 24
"""The one training row whose label weighs more than a float can hold."""

FRAGILE = RECIPE.replace(
    "target: mood}", "target: mood, class_weights: {rare: 1e39}, labels: [good, bad, rare]}"
)


def fragile(folder: Path, **options: Any) -> Path:
    rows = reviews(48)
    rows[RARE]["mood"] = "rare"
    return write_experiment(folder, FRAGILE, {"train": rows})


def steps(run: Path) -> list[dict[str, Any]]:
    return [record for record in RunFolder(run).records() if "losses" in record]


def test_it_stops_and_the_broken_step_is_not_taken(tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--set", "training.checkpoint_steps=1"]
    result = polytask("train", fragile(tmp_path), "--run", run, *options)
    assert result.exit_code == 1
    assert "the loss is not finite: mood (inf)" in result.stderr
    assert "not_finite: skip" in result.stderr
    taken = steps(run)
    assert len(taken) < 6  # the rare row is in the first epoch
    for record in taken:
        assert all(math.isfinite(loss) for loss in record["losses"].values())
    for checkpoint in RunFolder(run).checkpoints.glob("step-*"):
        assert int(checkpoint.name.removeprefix("step-")) <= len(taken)
        for name, tensor in read_tensors(checkpoint / "tensors.safetensors").items():
            if tensor.is_floating_point():
                assert tensor.isfinite().all(), name


def test_it_goes_on_without_that_task_in_that_batch(tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--set", "training.not_finite=skip"]
    result = polytask("train", fragile(tmp_path), "--run", run, *options)
    assert result.exit_code == 0, result.stderr
    taken = steps(run)
    skipped = [record for record in taken if "skipped" in record]
    assert len(taken) == 12
    assert [record["skipped"] for record in skipped] == [["mood"], ["mood"]]  # once an epoch
    for record in skipped:
        assert set(record["losses"]) == {"stars"}
        assert record["gradient_norm"] > 0
    model = read_tensors(RunFolder(run).model / "model.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in model.values())


def test_a_step_in_which_every_task_is_skipped_changes_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    recipe = fragile(tmp_path)
    text = recipe.read_text("utf-8")
    recipe.write_text(
        text.replace("  stars: {kind: regression, target: stars}\n", ""), encoding="utf-8"
    )
    options = ["training.not_finite=skip", "training.checkpoint_steps=1", "training.keep=20"]
    sets = [part for option in options for part in ("--set", option)]
    result = polytask("train", recipe, "--run", run, *sets)
    assert result.exit_code == 0, result.stderr
    [empty, *_] = [record["step"] for record in steps(run) if not record["losses"]]
    before, after = (
        read_tensors(RunFolder(run).checkpoints / f"step-{step:08d}" / "tensors.safetensors")
        for step in (empty - 1, empty)
    )
    for name, tensor in before.items():
        if name.startswith(("model", "optimiser")):
            assert torch.equal(after[name], tensor), name
