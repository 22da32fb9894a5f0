"""The record of a training: ``metrics.jsonl``, the console and trackers, all with equal records."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from polytask.core.errors import RunError
from polytask.core.files import atomic_writer
from polytask.training.progress import Progress
from polytask.training.trackers import Tracker

_MOST_TASKS = 6


class TrainingLog:
    """The log of every step and validation; a context manager.

    :param path: The ``metrics.jsonl`` to append to; None to write no file.
    :param start: Step of the checkpoint that training resumes from; 0 for a new training. Later
        records are dropped, so that the file equals the file of an uninterrupted training.
    :param console: The console for progress; standard error by default.
    """

    def __init__(
        self,
        path: Path | None,
        start: int = 0,
        console: Console | None = None,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        if path is not None:
            drop_records_after(path, start)
        self._file = (path or Path(os.devnull)).open(
            "a", encoding="utf-8", newline="\n", buffering=1
        )
        self._progress = Progress(console or Console(stderr=True))
        self._trackers = trackers

    def __enter__(self) -> TrainingLog:
        self._progress.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.close()
        self._file.close()
        for tracker in self._trackers:
            tracker.close()

    def step(self, record: Mapping[str, Any]) -> None:
        """Write the record of a step, with ``tokens_per_second`` added.

        :param record: ``step``, ``share`` of the training that is over, ``losses`` by task,
            ``learning_rate``, ``tokens``, ``padded``, ``seconds``, and anything else.
        """
        pace = record["tokens"] / max(record["seconds"], 1e-9)
        self._write({**record, "tokens_per_second": round(pace, 1)})
        self._progress.update(record)

    def validation(self, record: Mapping[str, Any]) -> None:
        """Write the record of a validation and print a line about it.

        :param record: ``step``; ``validation``: scores by task and metric; ``selection``: the score
            that selects the best model, or None; ``best``: True if it is the best so far.
        """
        self._write(record)
        self._progress.say(_validation_line(record))

    def message(self, text: str) -> None:
        """Print a message."""
        self._progress.say(text)

    def _write(self, record: Mapping[str, Any]) -> None:
        self._file.write(_to_json(record) + "\n")
        for tracker in self._trackers:
            tracker.write(record)


def _to_json(record: Mapping[str, Any]) -> str:
    """Return one line of JSON; nan and infinity, which JSON lacks, become null."""
    try:  # almost every record is finite, and a copy of each would take time
        return json.dumps(record, allow_nan=False, ensure_ascii=False)
    except ValueError:
        return json.dumps(finite(record), ensure_ascii=False)


def finite(value: Any) -> Any:
    """Return a copy of a value with None in place of nan and infinity."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def drop_records_after(path: Path, step: int) -> None:
    """Rewrite a file without the records after a step and without a half-written last line."""
    kept = list(_records_until(path, step)) if step and path.is_file() else []
    with atomic_writer(path) as file:
        file.writelines(kept)


def _records_until(path: Path, step: int) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                if json.loads(line)["step"] <= step:
                    yield line
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(
                    f"{path}:{number}: not a record of a training: {error!r}. Delete this line."
                ) from error


def _validation_line(record: Mapping[str, Any]) -> str:
    """Return the first metric of every task; of many tasks, only of the worst and the best."""
    firsts = {
        task: next(iter(scores.items())) for task, scores in record["validation"].items() if scores
    }
    parts = [f"{task} {metric} {_number(value)}" for task, (metric, value) in firsts.items()]
    if len(firsts) > _MOST_TASKS:
        parts = [_extremes(firsts)]
    if firsts:
        parts.append(f"selection {_number(record['selection'])}")
    mark = " (best so far)" if record["best"] else ""
    return f"validation after step {record['step']}: " + "  ".join(parts) + mark


def _extremes(firsts: Mapping[str, tuple[str, float | None]]) -> str:
    """Return the number of tasks, the worst and the best one, and the number of undefined ones."""
    known = {task: value for task, (_, value) in firsts.items() if value is not None}
    names = sorted(known, key=lambda task: known[task])
    ends = [f"{task} {firsts[task][0]} {known[task]:.4f}" for task in (*names[:1], *names[1:][-1:])]
    missing = f"{len(firsts) - len(known)} undefined" if len(known) < len(firsts) else ""
    spread = f"from {' to '.join(ends)}" if ends else ""
    return f"{len(firsts)} tasks {', '.join(filter(None, (spread, missing)))}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
