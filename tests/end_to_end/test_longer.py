"""Options of how long and how fast training goes: more epochs, a frozen encoder, rates of tasks."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.resume import Training
from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from polytask.core.tensors import read_tensors
from polytask.training.checkpoint import Checkpoints
from tests.end_to_end.files import RECIPE, polytask, reviews, write_experiment, write_rows
from tests.end_to_end.processes import Moment, crashing, fork
from tests.thinning import every


def recipe_with(**options: Any) -> str:
    """The usual recipe with dropout and other options of training."""
    settings = ", ".join(f"{name}: {json.dumps(value)}" for name, value in options.items())
    return RECIPE.replace("hidden: [8]", "hidden: [8], dropout: 0.2").replace("epochs: 2", settings)


def final_state(run: Path) -> Mapping[str, Any]:
    """The newest checkpoint."""
    found = Checkpoints(RunFolder(run).checkpoints).load()
    assert found is not None
    return found.state


def updates(run: Path) -> list[dict[str, Any]]:
    """The records of steps, without what depends on the clock or the length of the training."""
    away = {"seconds", "share", "tokens_per_second"}
    records = [r for r in RunFolder(run).records() if "losses" in r]
    return [{name: value for name, value in r.items() if name not in away} for r in records]


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three epochs."""
    folder = tmp_path_factory.mktemp("longer")
    recipe = write_experiment(folder, recipe_with(epochs=3, schedule="constant", warmup=0))
    assert polytask("train", recipe, "--run", folder / "short").exit_code == 0
    return folder


def longer(folder: Path, tmp_path: Path, *options: str) -> tuple[Path, Any]:
    """A copy of the finished run, resumed with other options."""
    run = tmp_path / "run"
    shutil.copytree(folder / "short", run)
    sets = [argument for option in options for argument in ("--set", option)]
    return run, polytask("train", folder / "shop.yaml", "--run", run, "--resume", *sets)


def test_more_epochs_of_a_finished_run_are_those_of_a_longer_one(
    finished: Path, tmp_path: Path
) -> None:
    run, result = longer(finished, tmp_path, "training.epochs=6")
    assert result.exit_code == 0, result.output
    whole = tmp_path / "whole"
    polytask("train", finished / "shop.yaml", "--run", whole, "--set", "training.epochs=6")
    assert updates(run) == updates(whole)
    assert same(final_state(run)["model"], final_state(whole)["model"])
    assert same(read_tensors(RunFolder(run).parameters), read_tensors(RunFolder(whole).parameters))
    assert read_json(RunFolder(run).scores) == read_json(RunFolder(whole).scores)
    facts = read_json(RunFolder(run).facts)
    assert (facts["finished"], facts["epochs"]) == (True, 6)
    assert "epochs: 6.0" in RunFolder(run).recipe.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    every(2, [Moment("os.rename", "step-00000027"), Moment("os.rename", "recipe.yaml")]),
    ids=str,
)
def test_a_longer_training_that_is_killed_ends_like_one_that_is_not(
    tmp_path: Path, moment: Moment
) -> None:
    options = {"schedule": "constant", "warmup": 0, "checkpoint_steps": 9}
    options |= {"freeze_encoder_epochs": 4}
    recipe = write_experiment(tmp_path, recipe_with(epochs=3, **options))
    training, run = Training(recipe, tmp_path, fork), tmp_path / "run"
    training.finish(run)
    write_experiment(tmp_path, recipe_with(epochs=6, **options))
    process = replace(training, launch=crashing(moment)).start(run)
    assert process.wait() == -signal.SIGKILL
    outcome, whole = training.finish(run), training.finish(tmp_path / "whole")
    for record in [*outcome.records, *whole.records]:
        record.pop("share", None)
    assert whole.difference(outcome) is None


def test_a_decaying_rate_follows_the_share_of_the_new_budget(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, recipe_with(epochs=2, warmup=0))
    polytask("train", recipe, "--run", tmp_path / "run")
    polytask("train", recipe, "--run", tmp_path / "run", "--resume", "--set", "training.epochs=4")
    rates = [record["learning_rate"] for record in updates(tmp_path / "run")]
    steps = len(rates) // 4
    assert rates == pytest.approx(
        [0.01 * (1 - k / (2 * steps)) for k in range(2 * steps)]
        + [0.01 * (1 - k / (4 * steps)) for k in range(2 * steps, 4 * steps)]
    )


def test_validations_of_a_longer_run_are_where_they_would_have_been(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, recipe_with(epochs=1.5))
    run = tmp_path / "run"
    polytask("train", recipe, "--run", run)
    polytask("train", recipe, "--run", run, "--resume", "--set", "training.epochs=3")
    records = RunFolder(run).records()
    assert [r["epoch"] for r in records if "validation" in r] == [1, 1.5, 2, 3]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("training.epochs=2", "2 epochs are asked for, but its training has done 3 epochs in 18"),
        ("training.steps=18", "18 steps are asked for, but its training has done 3 epochs in 18"),
        ("training.learning_rate=1", "another recipe"),
    ],
)
def test_fewer_epochs_than_done_are_refused(
    finished: Path, tmp_path: Path, option: str, message: str
) -> None:
    run, result = longer(finished, tmp_path, option)
    assert result.exit_code == 2
    assert message in result.output
    assert read_json(RunFolder(run).facts)["finished"]
    assert RunFolder(run).recipe.read_text("utf-8") == RunFolder(
        finished / "short"
    ).recipe.read_text("utf-8")


def test_a_run_without_checkpoints_is_not_trained_anew(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished / "short", run, ignore=shutil.ignore_patterns("step-*"))
    result = polytask(
        "train", finished / "shop.yaml", "--run", run, "--resume", "--set", "training.epochs=6"
    )
    assert result.exit_code == 2
    assert "holds no checkpoint to resume from" in result.output


def test_patience_that_has_run_out_is_named_and_can_be_raised(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, recipe_with(epochs=9, patience=1, learning_rate=1e-9))
    recipe.write_text(recipe.read_text("utf-8").replace("learning_rate: 1e-2, ", ""), "utf-8")
    run = tmp_path / "run"
    polytask("train", recipe, "--run", run)
    before = len(updates(run))
    assert before < 54
    more = ("train", recipe, "--run", run, "--resume", "--set", "training.epochs=12")
    result = polytask(*more)
    assert result.exit_code == 2
    assert "stopped early. Raise training.patience, too." in result.output
    assert polytask(*more, "training.patience=20").exit_code == 0
    assert len(updates(run)) == 72


@pytest.mark.parametrize("balancing", every(2, ["pcgrad", "equal", "uncertainty", "moco"]))
def test_a_frozen_encoder_is_the_same_bit_for_bit_until_it_is_trained(
    tmp_path: Path, balancing: str
) -> None:
    text = recipe_with(epochs=1, freeze_encoder_epochs=2, schedule="constant", warmup=0)
    recipe = write_experiment(tmp_path, f"{text}balancing: {balancing}\n")
    states = []
    for epochs in ("0.05", "1", "2", "2.4"):
        options = ("--set", f"training.epochs={epochs}")
        run = tmp_path / "run"
        result = polytask("train", recipe, "--run", run, "--resume", *options)
        assert result.exit_code == 0, result.output
        states.append(final_state(run)["model"])
    for state in states[1:3]:
        for name, tensor in state.items():
            assert torch.equal(tensor, states[0][name]) == name.startswith("sharing."), name
    moved = {n for n in states[3] if not torch.equal(states[2][n], states[3][n])}
    assert any(name.startswith("sharing.") for name in moved)
    whole = tmp_path / "whole"
    polytask("train", recipe, "--run", whole, "--set", "training.epochs=2.4")
    assert same(final_state(whole)["model"], states[3])


def test_tasks_have_their_own_rates(tmp_path: Path) -> None:
    """With a rate of almost nothing a head stays as it is, while the other one is trained."""
    rows = reviews(48)
    recipe = write_experiment(
        tmp_path, recipe_with(epochs=1, task_learning_rates={"stars": 1e-12}, weight_decay=0)
    )
    write_rows(tmp_path / "train.jsonl", rows)
    states = []
    for epochs in ("0.05", "1"):
        options = ("--set", f"training.epochs={epochs}")
        polytask("train", recipe, "--run", tmp_path / "run", "--resume", *options)
        states.append(final_state(tmp_path / "run")["model"])
    for name, tensor in states[0].items():
        change = float((states[1][name] - tensor).abs().max())
        assert (change < 1e-9) == name.startswith("heads.stars."), name


@pytest.mark.parametrize(
    ("rates", "mistake"),
    [
        ("{stras: 1e-3}", "training.task_learning_rates.stras: no task called 'stras'. Did you mean"),
        ("{stars: 0}", "training.task_learning_rates.stars: found 0, expected a number greater"),
        ("{mood: 1e-3}", "training.task_learning_rates.mood: shares its head with another task"),
    ],
)  # fmt: skip
def test_wrong_rates_are_found_by_check(tmp_path: Path, rates: str, mistake: str) -> None:
    text = RECIPE.replace(
        "mood: {", "same: {kind: classification, target: mood, head: mood}\n  mood: {"
    )
    recipe = write_experiment(
        tmp_path, text.replace("epochs: 2", f"task_learning_rates: {rates}, epochs: 2")
    )
    result = polytask("check", recipe)
    assert result.exit_code == 2
    assert mistake in result.output
