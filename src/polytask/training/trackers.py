"""Experiment trackers; each receives the records of ``metrics.jsonl``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from polytask.core.optional import require


class Tracker(ABC):
    """A service that displays the numbers of a training."""

    @abstractmethod
    def write(self, record: Mapping[str, Any]) -> None:
        """Send a record; all its numbers belong to its ``step``."""

    @abstractmethod
    def close(self) -> None:
        """Send what is left and end the tracking."""


class TensorBoardTracker(Tracker):
    """Event files for TensorBoard.

    :param folder: The run folder; events go into its subfolder ``tensorboard``.
    :param start: Step that training resumes from; later events of the interrupted part are hidden.
    :raises MissingExtraError: If TensorBoard is not installed.
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        require("tensorboard", part="training.trackers: tensorboard", extra="trackers")
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)

    @override
    def write(self, record: Mapping[str, Any]) -> None:
        for name, value in scalars(record):
            self._writer.add_scalar(name, value, record["step"])

    @override
    def close(self) -> None:
        self._writer.close()


class MLflowTracker(Tracker):
    """A run of MLflow, on the server and in the experiment that its environment variables name.

    :param folder: The run folder, whose name the MLflow run takes.
    :param start: Step that training resumes from; if not 0, the same MLflow run is resumed.
    :raises MissingExtraError: If MLflow is not installed.
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        self._mlflow = require("mlflow", part="training.trackers: mlflow", extra="mlflow")
        identity = folder / "mlflow.txt"
        known = identity.read_text(encoding="utf-8") if start and identity.is_file() else None
        run = self._mlflow.start_run(run_id=known, run_name=None if known else folder.name)
        identity.write_text(run.info.run_id, encoding="utf-8")

    @override
    def write(self, record: Mapping[str, Any]) -> None:
        self._mlflow.log_metrics(dict(scalars(record)), step=record["step"], synchronous=False)

    @override
    def close(self) -> None:
        self._mlflow.end_run()


class WandbTracker(Tracker):
    """A run of Weights & Biases, in the project and entity that its environment variables name.

    Files go into ``wandb`` in the run folder; ``WANDB_MODE=offline`` sends nothing.

    :param folder: The run folder, whose name the W&B run takes.
    :param start: Step that training resumes from; if not 0, the same W&B run is resumed.
    :raises MissingExtraError: If the package wandb is not installed.
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        wandb = require("wandb", part="training.trackers: wandb", extra="wandb")
        identity = folder / "wandb.txt"
        known = identity.read_text(encoding="utf-8") if start and identity.is_file() else None
        self._run = wandb.init(id=known, name=folder.name, dir=str(folder), resume="allow")
        identity.write_text(self._run.id, encoding="utf-8")

    @override
    def write(self, record: Mapping[str, Any]) -> None:
        self._run.log(dict(scalars(record)), step=record["step"])

    @override
    def close(self) -> None:
        self._run.finish()


_TRACKERS: dict[str, Callable[[Path, int], Tracker]] = {
    "tensorboard": TensorBoardTracker,
    "mlflow": MLflowTracker,
    "wandb": WandbTracker,
}


def build_trackers(names: Sequence[str], folder: Path, start: int = 0) -> list[Tracker]:
    """Return the trackers that a recipe names.

    :param folder: The run folder.
    :param start: Step that training resumes from; 0 for a new training.
    """
    return [_TRACKERS[name](folder, start) for name in names]


def scalars(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a record, with nested names joined by ``/``."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)
