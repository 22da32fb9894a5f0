"""The model at the best validation of each task is kept once, and never half."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from polytask.core.tensors import read_tensors
from polytask.training import task_best
from polytask.training.task_best import keep_task_best, task_best_files


def state(value: float) -> dict[str, Tensor]:
    return {"weight": torch.tensor([value])}


def kept(folder: Path) -> dict[str, float]:
    files = task_best_files(folder)
    return {task: read_tensors(file)["weight"].item() for task, file in files.items()}


def test_each_task_has_the_state_of_its_own_best_step(tmp_path: Path) -> None:
    keep_task_best(tmp_path, {"mood", "stars"}, 1, state(1))
    keep_task_best(tmp_path, {"stars"}, 2, state(2))
    keep_task_best(tmp_path, set(), 3, state(3))
    keep_task_best(tmp_path, {"late"}, 4, state(4))
    assert kept(tmp_path) == {"mood": 1, "stars": 2, "late": 4}


def test_a_state_is_kept_once_and_as_long_as_it_is_needed(tmp_path: Path) -> None:
    keep_task_best(tmp_path, {"mood", "stars", "topic"}, 1, state(1))
    assert len(set(task_best_files(tmp_path).values())) == 1
    keep_task_best(tmp_path, {"mood"}, 2, state(2))
    keep_task_best(tmp_path, {"stars", "topic"}, 3, state(3))
    (tmp_path / ".step-00000009.safetensors.1").touch()  # of a process that was killed
    keep_task_best(tmp_path, {"topic"}, 4, state(4))
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"steps.json", *(f"step-0000000{step}.safetensors" for step in (2, 3, 4))}
    assert kept(tmp_path) == {"mood": 2, "stars": 3, "topic": 4}


def test_without_a_best_state_there_is_none(tmp_path: Path) -> None:
    keep_task_best(tmp_path / "none", (), 1, state(1))
    assert not (tmp_path / "none").exists()
    assert task_best_files(tmp_path / "none") == {}


@pytest.mark.parametrize("operation", ["write_tensors", "write_json"])
def test_what_fails_leaves_every_task_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    keep_task_best(tmp_path, {"mood", "stars"}, 1, state(1))
    with monkeypatch.context() as patch:
        patch.setattr(task_best, operation, fail)
        with pytest.raises(OSError, match="no space"):
            keep_task_best(tmp_path, {"mood"}, 2, state(2))
    assert kept(tmp_path) == {"mood": 1, "stars": 1}
    keep_task_best(tmp_path, {"mood"}, 2, state(2))
    assert kept(tmp_path) == {"mood": 2, "stars": 1}
