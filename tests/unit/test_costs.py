"""What models cost, where it is known: floating point operations, sums, memory."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from polytask.analysis.costs import COSTS, PeakMemory, count_operations, together
from polytask.assembly.data.loading import load_data
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.assembly.run.training import train
from polytask.recipe import load
from tests.end_to_end.files import write_experiment

RECIPE = """\
data:
  shop: {kind: jsonl, train: train.jsonl, validation: validation.jsonl, test: test.jsonl}
encoder: {kind: bag, dimension: 8, hidden: []}
tasks:
  three: {kind: classification, target: three}
  two: {kind: classification, target: two}
training: {steps: 1, precision: fp32, threads: 1, device: cpu}
"""
ROWS = [{"text": "a b c d", "three": "xyz"[n % 3], "two": "xy"[n % 2]} for n in range(6)]
LENGTH = 4


@pytest.mark.parametrize(
    ("hidden", "encoding", "heads"),
    [
        # 2 operations for each weight of a linear layer: heads from 8 to 3 and to 2 numbers.
        ("[]", 0, 2 * 8 * (3 + 2)),
        # A layer from 8 to 5 numbers, then heads from 5.
        ("[5]", 2 * 8 * 5, 2 * 5 * (3 + 2)),
    ],
)
def test_operations_of_linear_layers(
    tmp_path: Path, hidden: str, encoding: int, heads: int
) -> None:
    files = dict.fromkeys(("train", "validation", "test"), ROWS)
    recipe = load(write_experiment(tmp_path, RECIPE, files), [f"encoder.hidden={hidden}"])
    data = load_data(recipe)
    run = train(recipe, tmp_path / "run", data=data, console=Console(quiet=True))
    found = count_operations(LoadedRun.load(run), data, "test")
    assert found.encoding == encoding
    assert found.answering == encoding + heads  # one pass of the encoder for both tasks
    # Backwards each layer takes as much again for its weights, and for what it has read.
    assert found.training == pytest.approx(3 * (encoding + heads) / LENGTH)


def test_tasks_with_inputs_of_their_own_need_a_pass_each(tmp_path: Path) -> None:
    rows = [{**row, "title": row["text"]} for row in ROWS]
    text = RECIPE.replace("target: two", "target: two, input: title").replace("[]", "[5]")
    path = write_experiment(tmp_path, text, dict.fromkeys(("train", "validation", "test"), rows))
    recipe = load(path)
    run = train(recipe, tmp_path / "run", console=Console(quiet=True))
    found = count_operations(LoadedRun.load(run), load_data(recipe), "test")
    assert found.encoding == 2 * (2 * 8 * 5)
    assert found.answering == 2 * (2 * 8 * 5) + 2 * 5 * (3 + 2)


def test_costs_of_several_models_are_summed_but_for_peaks() -> None:
    one = {**dict.fromkeys(COSTS, 2.0), "peak_memory_mb": 50.0}
    other = {**dict.fromkeys(COSTS, 3.0), "peak_memory_mb": 40.0, "flops": None}
    found = together([one, other])
    assert found["parameters"] == found["seconds"] == 5.0
    assert found["peak_memory_mb"] == 50.0
    assert found["flops"] is None
    assert found.keys() == set(COSTS)


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs /proc")
def test_the_peak_of_memory_is_seen() -> None:
    with PeakMemory(torch.device("cpu")) as before:
        pass
    with PeakMemory(torch.device("cpu")) as peak:
        block = np.ones(2**24)  # 128 MB
        time.sleep(0.3)  # it is looked at fifty times a second
        del block
    assert before.megabytes is not None
    assert peak.megabytes is not None
    assert peak.megabytes > before.megabytes + 100
