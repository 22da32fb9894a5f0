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


@dataclass(frozen=True)
class RunFolder:
    """The paths of all files in a run.

    :param path: The folder.
    """

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def facts(self) -> Path:
        """Versions, seed, data hashes, device, cost, and the state of the training."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """One record a line: losses, weights, learning rate, tokens per second, validation scores."""
        return self.path / "metrics.jsonl"

    @property
    def interference(self) -> Path:
        """One record a line: agreement of task gradients, if the recipe observes it."""
        return self.path / "interference.jsonl"

    @property
    def analysis(self) -> Path:
        """The results of ``polytask analyse``."""
        return self.path / "analysis"

    @property
    def checkpoints(self) -> Path:
        """Everything needed to resume."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The best model: safetensors, JSON and the encoder's own files."""
        return self.path / "model"

    @property
    def parameters(self) -> Path:
        """The parameters of the best model."""
        return self.model / "model.safetensors"

    @property
    def base(self) -> Path:
        """The named model with the parameters that the run leaves out, if any."""
        return self.model / "base.json"

    @property
    def reach(self) -> Path:
        """The tasks that train each parameter, found before the first step."""
        return self.model / "reach.json"

    @property
    def task_best(self) -> Path:
        """The parameters at the best validation of each task, if the recipe keeps them."""
        return self.model / "task_best"

    @property
    def splits(self) -> Path:
        """The split of each row of each source."""
        return self.path / "splits"

    @property
    def predictions(self) -> Path:
        """One JSONL file per task and split, and the files of the official scorers."""
        return self.path / "predictions"

    @property
    def scores(self) -> Path:
        """Scores by task, with confidence intervals."""
        return self.path / "scores.json"

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
