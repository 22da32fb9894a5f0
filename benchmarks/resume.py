"""Trainings that are killed at random moments end like one that was left alone, bit for bit.

Every training is a process of its own, ended by SIGKILL after a random step and a random part of a
second, so that checkpoints, validations and the last writes are hit, too. A run is resumed until
it has finished, then compared with the uninterrupted one: every record of ``metrics.jsonl`` but
its times, and every number of the model.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from polytask.core.run_folder import RunFolder
from polytask.core.tensors import read_tensors

RECIPE = """\
name: resume
data:
  shop: {{kind: synthetic, size: 140, validation: 40, test: 10, languages: [zh], missing: 0.2}}
  abroad: {{kind: synthetic, size: 60, validation: 30, test: 10, languages: [en], seed: 1}}
encoder: {{kind: bag, vectors: vectors.txt, hidden: [16], dropout: 0.2}}
tasks:
  language: {{kind: classification, from: [shop, abroad], input: tokens, target: language}}
  sentiment: {{kind: classification, from: [shop, abroad], input: tokens, target: sentiment}}
  topic: {{kind: classification, from: shop, input: tokens, target: topic}}
  stars: {{kind: regression, from: abroad, input: tokens, target: stars}}
mixing: {{kind: temperature, alpha: 0.5}}
balancing: {balancing}
training:
  {{epochs: {epochs}, batch_rows: 8, accumulate: 2, learning_rate: 1e-2, evaluate_every: 0.5,
   task_patience: 3, checkpoint_steps: 3, precision: fp32, threads: 1, device: cpu}}
"""
"""Everything that has a state: dropout, mixing, accumulation, a balancer, tasks that stop alone."""

WORDS = ("很", "的", "了", "买", "the", "is", "and", "not")
"""Words with a pretrained vector, which a training that starts anew must not lose."""

BALANCERS = ("uncertainty", "dwa")
_TIMES = {"seconds", "tokens_per_second"}
_JITTER = 0.1
"""A kill comes up to this many seconds after the record that was drawn."""
_KILLS_OF_A_RUN = 3


class Process(Protocol):
    """What is needed of ``subprocess.Popen``."""

    @property
    def pid(self) -> int:
        """Its number."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended."""


Launch = Callable[[Sequence[str], Path], Process]
"""Starts ``polytask`` with arguments, its output appended to a file."""


@dataclass(frozen=True)
class Outcome:
    """What a training leaves that must not depend on interruptions.

    :param records: The lines of ``metrics.jsonl`` without times.
    :param tensors: The best model.
    """

    records: list[dict[str, Any]]
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, run: Path) -> Outcome:
        """The outcome of a finished run."""
        folder = RunFolder(run)
        records = [
            {key: value for key, value in record.items() if key not in _TIMES}
            for record in folder.records()
        ]
        return cls(records, read_tensors(folder.model / "model.safetensors"))

    @property
    def steps(self) -> int:
        """Number of updates."""
        return sum("losses" in record for record in self.records)

    def difference(self, other: Outcome) -> str | None:
        """The first thing in which another outcome is not the same, or None."""
        for number, (mine, its) in enumerate(zip(self.records, other.records, strict=False), 1):
            if mine != its:
                return f"record {number}: {its} instead of {mine}"
        if len(self.records) != len(other.records):
            return f"{len(other.records)} records instead of {len(self.records)}"
        for name, tensor in self.tensors.items():
            if not torch.equal(tensor, other.tensors[name]):
                return f"the model: {name}"
        return None


@dataclass(frozen=True)
class Training:
    """A recipe that is trained again and again.

    :param recipe: Its file.
    :param folder: Where the runs and the output of the processes go.
    """

    recipe: Path
    folder: Path
    launch: Launch

    def start(self, run: Path) -> Process:
        """Start a training, or go on with what its folder holds."""
        arguments = ["train", str(self.recipe), "--run", str(run), "--resume"]
        return self.launch(arguments, self.log(run))

    def finish(self, run: Path) -> Outcome:
        """Start a training or go on with it, and wait for its end.

        :raises RuntimeError: If it fails.
        """
        if self.start(run).wait():
            raise RuntimeError(self.log(run).read_text("utf-8"))
        return Outcome.of(run)

    def log(self, run: Path) -> Path:
        """What the processes of a run have printed."""
        return self.folder / f"{run.name}.log"


@dataclass(frozen=True)
class Kill:
    """One interruption.

    :param run: The run that was interrupted.
    :param records: Records of its ``metrics.jsonl`` at that moment.
    """

    run: Path
    records: int


def interrupt(training: Training, most: int, kills: int, rng: random.Random) -> Iterator[Kill]:
    """Kill a training at random moments, again and again; now and then take a new run.

    :param most: Records of an uninterrupted training.
    :return: Every kill that did interrupt a process. The runs are left as they are then.
    """
    number = done = 0
    while done < kills:
        run = training.folder / f"killed-{number}"
        after = rng.randint(records(run), most)
        killed = kill(training.start(run), run, after, rng.random() * _JITTER)
        if killed:
            done += 1
            yield Kill(run, records(run))
        if not killed or done % _KILLS_OF_A_RUN == 0:
            number += 1


def kill(process: Process, run: Path, after: int, delay: float) -> bool:
    """Kill a training some time after it has written a record; False if it ended before."""
    before = _identity(run)
    wait_for(process, lambda: _identity(run) != before and records(run) >= after)
    time.sleep(delay)
    if process.poll() is not None:
        return False
    os.kill(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def _identity(run: Path) -> int | None:
    """Tells the ``metrics.jsonl`` of one process from that of another, which replaces it."""
    path = RunFolder(run).metrics
    return path.stat().st_ino if path.is_file() else None


def wait_for(process: Process, ready: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until something has come about or the process has ended.

    :raises TimeoutError: If neither happens in time.
    """
    end = time.monotonic() + seconds
    while not ready() and process.poll() is None:
        if time.monotonic() > end:
            raise TimeoutError(f"nothing happened in {seconds:.0f} seconds")
        time.sleep(0.002)


def records(run: Path) -> int:
    """Number of whole lines of ``metrics.jsonl``."""
    path = RunFolder(run).metrics
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def write_recipe(folder: Path, balancing: str, epochs: float) -> Path:
    """Write the recipe that is trained and its word vectors; return its path."""
    rng = random.Random(0)
    lines = [f"{word} {' '.join(str(rng.gauss()) for _ in range(16))}\n" for word in WORDS]
    (folder / "vectors.txt").write_text("".join(lines), encoding="utf-8")
    path = folder / f"{balancing}.yaml"
    path.write_text(RECIPE.format(balancing=balancing, epochs=epochs), encoding="utf-8")
    return path


def command(arguments: Sequence[str], log: Path) -> Process:
    """``python -m polytask`` as a process."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "polytask", *arguments],
            stdout=output,
            stderr=output,
            env={**os.environ, "TMPDIR": str(log.parent)},  # where killed processes leave things
        )


def compare(training: Training, kills: int, rng: random.Random) -> Iterator[tuple[str, bool]]:
    """A line for every kill and every finished run, and whether all is well so far."""
    whole = training.finish(training.folder / "whole")
    yield f"uninterrupted: {whole.steps} steps", True
    runs = []
    for number, found in enumerate(interrupt(training, len(whole.records), kills, rng), start=1):
        yield f"kill {number:2}: {found.run.name}, {found.records} records written", True
        runs += [found.run] if found.run not in runs else []
    for run in runs:
        difference = whole.difference(training.finish(run))
        yield f"{run.name}: {difference or 'identical'}", difference is None


def main() -> int:
    """Print what happens; 0 if all runs end the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resume", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="kills, of all runs together")
    parser.add_argument("--epochs", type=float, default=8.0, help="length of a training")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    chosen = parser.parse_args()
    rng = random.Random(chosen.seed)
    well = True
    with tempfile.TemporaryDirectory() as scratch:
        for position, balancing in enumerate(BALANCERS):
            kills = (chosen.kills + position) // len(BALANCERS)
            folder = Path(scratch) / balancing
            folder.mkdir()
            recipe = write_recipe(folder, balancing, chosen.epochs)
            for line, fine in compare(Training(recipe, folder, command), kills, rng):
                print(f"{balancing}: {line}", flush=True)
                well = well and fine
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
