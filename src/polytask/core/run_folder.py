"""The folder a training leaves; every later stage starts from its path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polytask.core.errors import RunError
from polytask.core.files import read_json

FORMAT = 2
"""Version of the files in a run. Increment it when they change, as no other version is read."""


@dataclass(frozen=True)
class RunFolder:
    """Names of everything inside a run.

    :param path: The folder itself.
    """

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def facts(self) -> Path:
        """Versions, seed, data hashes, device, cost, and whether the training has finished."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """One record a line: losses, weights, learning rate, tokens per second, validation scores."""
        return self.path / "metrics.jsonl"

    @property
    def interference(self) -> Path:
        """One record a line: how the gradients of tasks agree, where training is asked to look."""
        return self.path / "interference.jsonl"

    @property
    def analysis(self) -> Path:
        """What ``polytask analyse`` finds out."""
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
        """Which named model has the parameters that the run leaves out, if it leaves out any."""
        return self.model / "base.json"

    @property
    def reach(self) -> Path:
        """Which tasks train each parameter, found before the first step."""
        return self.model / "reach.json"

    @property
    def task_best(self) -> Path:
        """The parameters at the best validation of each task, where training is asked for them."""
        return self.model / "task_best"

    @property
    def splits(self) -> Path:
        """Which row of which source is in which split."""
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
        """Return the records of ``metrics.jsonl``; a half-written last line is passed over."""
        if not self.metrics.is_file():
            return
        with self.metrics.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)
