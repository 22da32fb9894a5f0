"""The run folder, which a training writes and every later stage reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polytask.core.errors import RunError
from polytask.core.files import read_json

FORMAT = 2
"""Version of the files in a run. Increment it when they change; other versions are refused."""


class _Inside:
    """An attribute with the path of a file or folder inside a run."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: RunFolder, owner: type[RunFolder]) -> Path:
        return run.path / self._name


@dataclass(frozen=True)
class RunFolder:
    """The paths of all files in a run.

    :param path: The folder.
    """

    path: Path

    recipe = _Inside("recipe.yaml")
    """The resolved recipe."""

    facts = _Inside("run.json")
    """Versions, seed, data hashes, device, cost, and the state of the training."""

    metrics = _Inside("metrics.jsonl")
    """One record a line: losses, weights, learning rate, tokens per second, validation scores."""

    interference = _Inside("interference.jsonl")
    """One record a line: agreement of task gradients, if the recipe observes it."""

    analysis = _Inside("analysis")
    """The results of ``polytask analyse``."""

    checkpoints = _Inside("checkpoints")
    """Everything needed to resume."""

    model = _Inside("model")
    """The best model: safetensors, JSON and the encoder's own files."""

    parameters = _Inside("model/model.safetensors")
    """The parameters of the best model."""

    base = _Inside("model/base.json")
    """The named model with the parameters that the run leaves out, if any."""

    reach = _Inside("model/reach.json")
    """The tasks that train each parameter, found before the first step."""

    task_best = _Inside("model/task_best")
    """The parameters at the best validation of each task, if the recipe keeps them."""

    start_scores = _Inside("start_scores.safetensors")
    """Scores before training, if a loss compares with them."""

    splits = _Inside("splits")
    """The split of each row of each source."""

    predictions = _Inside("predictions")
    """One JSONL file per task and split, and the files of the official scorers."""

    scores = _Inside("scores.json")
    """Scores by task, with confidence intervals."""

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Return an existing run.

        :raises RunError: If the folder is missing, is no run, or is from another version.
        """
        run = cls(path)
        if not path.is_dir():
            raise RunError(f"{path}: no such run folder. Expected a folder made by polytask train.")
        if (path / "comparison.json").is_file():
            raise RunError(
                f"{path}: a comparison, not a run. Its runs are in the folders below it."
            )
        if not run.facts.is_file():
            raise RunError(
                f"{path}: not a run folder: it holds no run.json. "
                "Expected a folder made by polytask train."
            )
        run.require_format()
        return run

    def require_format(self) -> None:
        """Refuse a run that another version of polytask wrote.

        :raises RunError: If its format version is not the one that is read.
        """
        found = read_json(self.facts).get("format") if self.facts.is_file() else FORMAT
        if found != FORMAT:
            newer = isinstance(found, int) and found > FORMAT
            todo = "Upgrade polytask, or train again." if newer else "Train again."
            raise RunError(
                f"{self.path}: found run format {found!r}, expected {FORMAT}: it was written by "
                f"{'a newer' if newer else 'an older'} polytask. {todo}"
            )

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records of ``metrics.jsonl``; skip an incomplete last line."""
        if not self.metrics.is_file():
            return
        with self.metrics.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)
