"""``polytask train`` in several processes: the same steps, one run folder, and it can be resumed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from torch.testing import assert_close

from benchmarks.resume import Outcome, records, wait_for
from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from tests.distributed.processes import kill, run, start, wait
from tests.end_to_end.processes import Forked
from tests.end_to_end.test_not_finite import fragile
from tests.thinning import only

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

RECIPE = """\
name: several
data:
  shop: {{kind: synthetic, size: 100, validation: 20, test: 10, languages: [zh], missing: 0.4}}
  abroad: {{kind: synthetic, size: 30, validation: 10, test: 10, languages: [en], seed: 1}}
encoder: {{kind: bag, dimension: 12, hidden: [12], dropout: {dropout}}}
tasks:
  language: {{kind: classification, from: [shop, abroad], input: tokens, target: language, dropout: 0}}
  topic: {{kind: classification, from: shop, input: tokens, target: topic, dropout: 0}}
  stars: {{kind: regression, from: abroad, input: tokens, target: stars, dropout: 0}}
mixing: annealed
balancing: {balancing}
training:
  {{epochs: 3, batch_rows: 6, accumulate: 2, learning_rate: 1e-2, evaluate_every: 0.5, patience: 9,
   task_patience: 3, checkpoint_steps: 3, precision: fp32, threads: 1, device: cpu, {more}}}
evaluation: {{bootstrap: 0}}
"""


def write(folder: Path, balancing: str = "uncertainty", dropout: float = 0, more: str = "") -> Path:
    path = folder / f"{balancing}.yaml"
    text = RECIPE.format(balancing=balancing, dropout=dropout, more=more)
    path.write_text(text, encoding="utf-8")
    return path


def polytask(*arguments: str) -> None:
    """The command, in a process that was started as one of several."""
    from polytask.cli import main

    sys.argv = ["polytask", *arguments]
    main()


def train(world: int, recipe: Path, folder: Path, *options: str) -> Outcome:
    """Train with as many processes, to the end."""
    run(world, log(folder), polytask, *command(recipe, folder, *options))
    return Outcome.of(folder)


def command(recipe: Path, folder: Path, *options: str) -> list[str]:
    return ["train", str(recipe), "--run", str(folder), *options]


def log(folder: Path) -> Path:
    return folder.with_suffix(".log")


def check_same(found: Outcome, expected: Outcome) -> None:
    """The same steps, but for the order in which numbers were added up, and for padding."""
    assert len(found.records) == len(expected.records)
    for one, other in zip(found.records, expected.records, strict=True):
        assert one.keys() == other.keys()
        for key in one.keys() - {"padded"}:
            assert_close(one[key], other[key], rtol=1e-4, atol=1e-5, msg=f"{other}: {one}")
    assert_close(found.tensors, expected.tensors, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("balancing", "more"),
    only(
        [("pcgrad", "")],
        [
            ("uncertainty", ""),
            ("pcgrad", ""),
            ("famo", "placement: tasks"),
            ("pcgrad", "placement: tasks"),
        ],
    ),
)
@pytest.mark.parametrize("world", only([2], [2, 4]))
def test_every_number_of_processes_does_the_same(
    balancing: str, more: str, world: int, tmp_path: Path
) -> None:
    recipe = write(tmp_path, balancing, more=more)
    alone = train(1, recipe, tmp_path / "1")
    check_same(train(world, recipe, tmp_path / str(world)), alone)
    facts = read_json(RunFolder(tmp_path / str(world)).facts)
    assert facts["finished"]
    assert facts["processes"] == world


SHARD = ("--set", "training.shard=true")


@pytest.mark.parametrize(
    ("balancing", "world"),
    only([("moco", 2)], [("uncertainty", 2), ("pcgrad", 4), ("moco", 2), ("famo", 2)]),
)
def test_sharded_parameters_do_the_same(balancing: str, world: int, tmp_path: Path) -> None:
    """With four processes, some have nothing of the smaller parameters."""
    recipe = write(tmp_path, balancing, more="task_best: true")
    alone = train(1, recipe, tmp_path / "1")
    check_same(train(world, recipe, tmp_path / str(world), *SHARD), alone)


@pytest.mark.full
def test_rows_are_attacked_alike_with_sharded_parameters(tmp_path: Path) -> None:
    attack = ("--set", "augment=[{kind: adversarial, rows: 1.0}]")
    recipe = write(tmp_path, "pcgrad")
    whole = train(2, recipe, tmp_path / "whole", *attack)
    check_same(train(2, recipe, tmp_path / "sharded", *attack, *SHARD), whole)


@pytest.mark.parametrize(("after", "options"), only([(1, ())], [(4, SHARD), (1, ())]))
def test_sharded_killed_and_resumed(after: int, options: Sequence[str], tmp_path: Path) -> None:
    recipe, folder = write(tmp_path, "pcgrad"), tmp_path / "run"
    kill(begin(2, recipe, folder, 10, *SHARD))
    found = train(after, recipe, folder, "--resume", *options)
    check_same(found, train(1, recipe, tmp_path / "whole"))


@pytest.mark.parametrize(
    ("world", "options", "reason"),
    [(1, (), "one process"), (2, ("--set", "training.compile=true"), "training.compile")],
)
def test_what_does_not_go_with_shards(
    world: int, options: Sequence[str], reason: str, tmp_path: Path
) -> None:
    recipe, folder = write(tmp_path), tmp_path / "run"
    codes = wait(start(world, log(folder), polytask, *command(recipe, folder, *SHARD, *options)))
    assert all(codes)
    printed = log(folder).read_text("utf-8")
    assert printed.count(f"training.shard: found true and {reason}") == world
    assert "Traceback" not in printed


def test_only_the_first_process_prints(tmp_path: Path) -> None:
    train(2, write(tmp_path), tmp_path / "run")
    printed = log(tmp_path / "run").read_text("utf-8")
    assert printed.count("Run folder:") == 1
    assert printed.count("note: ") == len(read_json(RunFolder(tmp_path / "run").facts)["notes"])


def begin(
    world: int, recipe: Path, folder: Path, lines: int, *options: str
) -> list[ForkServerProcess]:
    """Start a training, and come back as soon as it has written so many records."""
    processes = start(world, log(folder), polytask, *command(recipe, folder, *options))
    wait_for(Forked(processes[0]), lambda: records(folder) >= lines)
    assert all(process.is_alive() for process in processes), log(folder).read_text("utf-8")
    return processes


def test_killed_and_resumed(tmp_path: Path) -> None:
    """With dropout: every rank goes on with its own random numbers."""
    recipe, folder = write(tmp_path, dropout=0.3), tmp_path / "run"
    whole = train(2, recipe, tmp_path / "whole")
    kill(begin(2, recipe, folder, 10))
    assert records(folder) < len(whole.records)
    kill(begin(2, recipe, folder, 18, "--resume"))
    assert records(folder) < len(whole.records)
    assert whole.difference(train(2, recipe, folder, "--resume")) is None
    assert "saved by" not in log(folder).read_text("utf-8")


@pytest.mark.parametrize(("before", "after"), only([], [(2, 1), (1, 2), (4, 2)]))
def test_resumed_with_another_number_of_processes(before: int, after: int, tmp_path: Path) -> None:
    recipe, folder = write(tmp_path), tmp_path / "run"
    kill(begin(before, recipe, folder, 10))
    check_same(train(after, recipe, folder, "--resume"), train(1, recipe, tmp_path / "whole"))
    note = f"saved by {before} processes, resumed with {after}"
    assert log(folder).read_text("utf-8").count(note) == 1


def test_a_signal_to_one_process_stops_all_after_the_same_step(tmp_path: Path) -> None:
    recipe, folder = write(tmp_path), tmp_path / "run"
    processes = begin(2, recipe, folder, 10)
    os.kill(processes[1].pid or 0, signal.SIGINT)
    assert wait(processes) == [1, 1]
    printed = log(folder).read_text("utf-8")
    assert (
        len(set(re.findall(r"stopped by SIGINT after step \d+; everything is saved", printed))) == 1
    )
    assert "Traceback" not in printed
    check_same(train(2, recipe, folder, "--resume"), train(1, recipe, tmp_path / "whole"))


def test_mistakes_end_all_processes_with_the_same_message(tmp_path: Path) -> None:
    recipe, folder = write(tmp_path), tmp_path / "run"
    folder.mkdir()
    (folder / "other").touch()
    codes = wait(start(2, log(folder), polytask, *command(recipe, folder)))
    assert all(codes)
    printed = log(folder).read_text("utf-8")
    assert printed.count("the folder is not empty") == 2
    assert "Traceback" not in printed


def test_a_loss_that_is_not_finite_is_named_by_all(tmp_path: Path) -> None:
    """It is that of one row, which one of them has."""
    folder = tmp_path / "run"
    codes = wait(start(2, log(folder), polytask, *command(fragile(tmp_path), folder)))
    assert codes == [1, 1]
    assert log(folder).read_text("utf-8").count("the loss is not finite: mood (inf)") == 2


def test_torchrun(tmp_path: Path) -> None:
    """Ctrl-C reaches the processes by way of torchrun, which asks each of them to stop."""
    recipe, folder = write(tmp_path), tmp_path / "run"
    arguments = command(recipe, folder, "--set", "training.epochs=100")
    with log(folder).open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *("--nproc-per-node=2", "-m", "--", "polytask", *arguments),
            ],
            stdout=output,
            stderr=output,
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        )
    try:
        wait_for(process, lambda: records(folder) >= 10)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert "stopped by SIGINT after step" in log(folder).read_text("utf-8")
    assert read_json(RunFolder(folder).facts)["processes"] == 2
