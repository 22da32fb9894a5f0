"""Trainings whose rows worker processes decode: equal to those without, however they are ended."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.resume import Outcome, Process, Training, interrupt, records, wait_for
from tests.end_to_end.processes import fork
from tests.thinning import only

images = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.slow
DATA = Path(os.environ.get("POLYTASK_DATA", "../shared/data"))
PLUGIN = Path(__file__).with_name("reading_plugin.py")
ROWS = 64
RECIPE = """\
name: clothes
data:
  clothes: {{kind: jsonl, train: train.jsonl, validation: validation.jsonl, types: {{photo: image}}}}
encoder: shifted_images
tasks:
  kind: {{kind: classification, input: photo, target: kind}}
training:
  {{epochs: 6, batch_rows: 8, learning_rate: 1e-2, checkpoint_steps: 5, workers: {workers},
   precision: fp32, threads: 1, device: cpu}}
"""


def launch(arguments: Sequence[str], log: Path) -> Process:
    return fork([*arguments, "--plugin", str(PLUGIN)], log)


@dataclass(frozen=True)
class Clothes:
    """Pictures of clothes, and a training of them without workers."""

    folder: Path
    whole: Outcome

    def training(self, folder: Path, workers: int) -> Training:
        """A training whose runs are in another folder."""
        recipe = self.folder / f"workers-{workers}.yaml"
        recipe.write_text(RECIPE.format(workers=workers), encoding="utf-8")
        return Training(recipe, folder, launch)


@pytest.fixture(scope="module")
def clothes(tmp_path_factory: pytest.TempPathFactory) -> Clothes:
    folder = tmp_path_factory.mktemp("clothes")
    images_N = _idx("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    labels_N = _idx("train-labels-idx1-ubyte.gz", 8)
    for split, first in (("train", 0), ("validation", ROWS)):
        rows = []
        for number in range(first, first + ROWS // (1 if split == "train" else 4)):
            images.fromarray(images_N[number]).save(folder / f"{number}.png")
            rows.append({"photo": f"{number}.png", "kind": f"kind {labels_N[number]}"})
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    made = Clothes(folder, Outcome([], {}))
    return replace(made, whole=made.training(folder, 0).finish(folder / "whole"))


def _idx(name: str, header: int) -> np.ndarray:
    path = DATA / "vision" / "fashion_mnist" / name
    if not path.is_file():
        pytest.skip(f"needs {path} (set POLYTASK_DATA)")
    with gzip.open(path) as file:
        return np.frombuffer(file.read(header + 784 * 2 * ROWS)[header:], dtype=np.uint8)


def children(process: Process) -> list[int]:
    """The processes that a process has started."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [*map(int, found.read_text("utf-8").split())] if found.exists() else []


def wait_until(done: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for is gone."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text("utf-8").rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_killed_at_random_moments_and_resumed_with_another_number(
    clothes: Clothes, tmp_path: Path
) -> None:
    training = clothes.training(tmp_path, 2)
    [killed] = interrupt(training, len(clothes.whole.records), 1, random.Random())
    difference = clothes.whole.difference(clothes.training(tmp_path, 1).finish(killed.run))
    assert difference is None, difference


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", only([signal.SIGTERM], SIGNALS), ids=str)
def test_all_processes_of_a_job_get_a_signal(
    number: signal.Signals, clothes: Clothes, tmp_path: Path
) -> None:
    """As by Ctrl-C in a terminal, or from the manager of a cluster; SIGKILL reaches one alone."""
    training, run = clothes.training(tmp_path, 2), tmp_path / "run"
    process = training.start(run)
    wait_for(process, lambda: records(run) >= 7)
    workers = children(process)
    assert len(workers) == 2
    for pid in (*([] if number == signal.SIGKILL else workers), process.pid):
        os.kill(pid, number)
    code = process.wait()
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 1)
    if number != signal.SIGKILL:
        printed = training.log(run).read_text("utf-8")
        assert f"stopped by {number.name} after step" in printed
        assert "Traceback" not in printed
    wait_until(lambda: all(map(is_gone, workers)), 20)
    assert clothes.whole.difference(training.finish(run)) is None


def test_a_damaged_image_is_named(clothes: Clothes, tmp_path: Path) -> None:
    for path in clothes.folder.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damaged = tmp_path / "11.png"
    damaged.write_bytes(damaged.read_bytes()[:100])
    training = replace(clothes, folder=tmp_path).training(tmp_path, 2)
    assert training.start(tmp_path / "run").wait() == 2
    printed = training.log(tmp_path / "run").read_text("utf-8")
    assert "train.jsonl:12: cannot be read: OSError" in printed
    assert "Traceback" not in printed
