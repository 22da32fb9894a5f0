"""A training that was interrupted ends like one that was left alone, bit for bit."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from benchmarks.resume import (
    BALANCERS,
    Outcome,
    Training,
    interrupt,
    records,
    wait_for,
    write_recipe,
)
from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from polytask.core.tensors import read_tensors
from polytask.training.task_best import task_best_files
from tests.end_to_end.files import RECIPE, reviews, write_experiment
from tests.end_to_end.processes import Moment, crashing, fork
from tests.thinning import every

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("POLYTASK_KILLS", "4"))
EPOCHS = 3.0


@dataclass(frozen=True)
class Reference:
    """A training, and how it ends when it is left alone."""

    training: Training
    whole: Outcome

    def check(self, run: Path) -> None:
        """Go on with a run, and compare it with the uninterrupted one."""
        difference = self.whole.difference(self.training.finish(run))
        assert difference is None, f"{difference}\n{self.log(run)}"
        assert read_json(RunFolder(run).facts)["finished"]

    def log(self, run: Path) -> str:
        return self.training.log(run).read_text("utf-8")


References = Callable[[str], Reference]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> References:
    """Uninterrupted trainings by balancer, each run when it is first asked for."""
    made: dict[str, Reference] = {}

    def get(balancing: str) -> Reference:
        if balancing not in made:
            folder = tmp_path_factory.mktemp(balancing)
            training = Training(write_recipe(folder, balancing, EPOCHS), folder, fork)
            made[balancing] = Reference(training, training.finish(folder / "whole"))
        return made[balancing]

    return get


@pytest.fixture
def alone(reference: References, tmp_path: Path) -> Reference:
    """A training with runs of its own."""
    found = reference("uncertainty")
    return replace(found, training=replace(found.training, folder=tmp_path))


@pytest.mark.parametrize("balancing", every(2, BALANCERS))
def test_the_training_has_all_that_can_go_wrong(balancing: str, reference: References) -> None:
    whole = reference(balancing).whole
    present = [set(record["losses"]) for record in whole.records if "losses" in record]
    assert present[0] == {"language", "sentiment", "topic", "stars"}
    assert "language" not in present[-1]  # easily learned, then stopped alone
    assert len(present) > 30
    weights = {record["weights"].get("stars") for record in whole.records if "weights" in record}
    assert len(weights) > 1  # the balancer has learned


@pytest.mark.parametrize("balancing", every(2, BALANCERS))
def test_killed_at_random_moments(balancing: str, reference: References) -> None:
    found = reference(balancing)
    rng = random.Random()
    kills = interrupt(found.training, len(found.whole.records), KILLS // len(BALANCERS), rng)
    for run in {kill.run for kill in kills}:
        found.check(run)


@pytest.mark.parametrize(
    "moment",
    every(
        2,
        [
            Moment("os.rename", "recipe.yaml"),
            Moment("os.rename", "tasks.json"),
            Moment("os.rename", "step-00000003"),
            Moment("os.rename", "model.safetensors"),
            Moment("os.rename", "run.json", 2),
        ],
    ),
    ids=str,
)
def test_killed_just_before_a_file_is_in_place(moment: Moment, alone: Reference) -> None:
    run = alone.training.folder / "run"
    process = replace(alone.training, launch=crashing(moment)).start(run)
    assert process.wait() == -signal.SIGKILL
    alone.check(run)


def stop(training: Training, run: Path, number: signal.Signals, ready: Callable[[], bool]) -> None:
    """Ask a training to stop as soon as something has come about."""
    process = training.start(run)
    wait_for(process, ready)
    os.kill(process.pid, number)
    assert process.wait() == 1
    printed = training.log(run).read_text("utf-8")
    assert f"stopped by {number.name} after step" in printed
    assert f"everything is saved in {run}" in printed
    assert "--resume" in printed
    assert "Traceback" not in printed


def test_asked_to_stop_again_and_again(alone: Reference) -> None:
    run = alone.training.folder / "run"
    stop(alone.training, run, signal.SIGTERM, lambda: records(run) >= 10)
    stop(alone.training, run, signal.SIGINT, lambda: records(run) >= 25)
    alone.check(run)


TWO_SOURCES = """\
data:
  shop: {kind: jsonl, train: train.jsonl, validation: validation.jsonl}
  other: {kind: jsonl, train: more.jsonl, validation: test.jsonl}
encoder: {kind: bag, dimension: 8, hidden: [8]}
tasks:
  mood: {kind: classification, from: shop, target: mood}
  stars: {kind: regression, from: other, target: stars, metrics: [rmse]}
training:
  {epochs: 16, batch_rows: 8, learning_rate: 1e-2, task_patience: 2, precision: fp32, threads: 1,
   device: cpu}
evaluation: {bootstrap: 0}
"""


def test_rows_of_a_task_that_has_stopped_alone_are_not_drawn_after_a_restart(
    tmp_path: Path,
) -> None:
    recipe = write_experiment(tmp_path, TWO_SOURCES, {"more": reviews(48, 300)})
    training = Training(recipe, tmp_path, fork)
    whole = training.finish(tmp_path / "whole")
    run = tmp_path / "run"
    log = training.log(run)
    stop(training, run, signal.SIGINT, lambda: log.is_file() and "alone: mood" in log.read_text())
    before = records(run)
    assert whole.difference(training.finish(run)) is None
    assert records(run) > before + 30


@pytest.mark.parametrize(
    "moment",
    every(
        3,
        [
            Moment("os.rename", "steps.json", 2),
            Moment("os.rename", "task_best", 3),
            Moment("os.remove", "task_best"),
        ],
    ),
    ids=str,
)
def test_the_best_models_of_tasks_after_a_crash(moment: Moment, tmp_path: Path) -> None:
    text = RECIPE.replace("epochs: 2", "task_best: true, checkpoint_steps: 7, epochs: 6")
    training = Training(write_experiment(tmp_path, text), tmp_path, fork)

    def kept(run: Path) -> dict[str, dict[str, list[float]]]:
        files = task_best_files(RunFolder(run).task_best)
        assert len(set(files.values())) == len([*RunFolder(run).task_best.iterdir()]) - 1
        return {
            task: {name: tensor.flatten().tolist() for name, tensor in read_tensors(file).items()}
            for task, file in files.items()
        }

    training.finish(tmp_path / "whole")
    run = tmp_path / "run"
    process = replace(training, launch=crashing(moment)).start(run)
    assert process.wait() == -signal.SIGKILL
    training.finish(run)
    assert kept(run) == kept(tmp_path / "whole")
    assert set(kept(run)) == {"mood", "stars"}


def test_a_flipped_byte_in_the_newest_checkpoint(alone: Reference) -> None:
    run = alone.training.folder / "run"
    shutil.copytree(alone.training.recipe.parent / "whole", run)
    facts = RunFolder(run).facts
    facts.write_text(facts.read_text("utf-8").replace('"finished": true', '"finished": false'))
    older, newest = sorted(RunFolder(run).checkpoints.glob("step-*"))
    tensors = newest / "tensors.safetensors"
    content = bytearray(tensors.read_bytes())
    content[len(content) // 2] ^= 1
    tensors.write_bytes(content)
    alone.check(run)
    assert f"{tensors}: damaged" in alone.log(run)
    assert f"resuming from {older.name} instead" in alone.log(run)


def test_a_finished_training_is_left_as_it_is(alone: Reference) -> None:
    run = alone.training.folder / "run"
    shutil.copytree(alone.training.recipe.parent / "whole", run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    alone.check(run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_another_recipe_cannot_go_on_with_a_run(alone: Reference) -> None:
    run = alone.training.folder / "run"
    shutil.copytree(alone.training.recipe.parent / "whole", run)
    other = write_recipe(alone.training.folder, "equal", EPOCHS)
    assert replace(alone.training, recipe=other).start(run).wait() == 2
    assert "holds a training of another recipe" in alone.log(run)
