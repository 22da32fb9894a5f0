"""The runs of a server and their life: warm-up, check, reload, shutting down."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO, TypeAlias

from polytask.assembly.run.examples import read_examples
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.errors import RunError
from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from polytask.serving.batching import Limits
from polytask.serving.metrics import Metrics
from polytask.serving.service import Service

State: TypeAlias = Literal["starting", "ready", "stopping"]

_STUCK_SECONDS = 120.0
"""A group of rows that takes longer hangs: the largest take seconds."""

_TOLERANCE = 1e-2
"""Largest difference of a probability from the one stored with the run. Batches of another shape and bf16
round differently; a wrong file of parameters differs by far more."""


@dataclass
class Host:
    """The services of one server.

    :param folders: The run of each service, by its name.
    :param load: Loads a run.
    :param log: Gets a line of JSON for each request and event, without any input text.
    """

    folders: dict[str, Path]
    load: Callable[[Path], LoadedRun]
    limits: Limits = field(default_factory=Limits)
    log: TextIO = field(default_factory=lambda: sys.stderr)
    metrics: Metrics = field(default_factory=Metrics)
    services: dict[str, Service] = field(default_factory=dict)
    state: State = "starting"

    def start(self) -> None:
        """Load, warm up and check every run.

        :raises RunError: If a run does not answer its stored rows as it did when it was trained.
        """
        for name in self.folders:
            self.services[name] = self._new_service(name)
        self.metrics.watch_queue(
            lambda: sum(one.batcher.queued_tokens for one in self.services.values()),
            lambda: sum(one.batcher.queued_requests for one in self.services.values()),
        )
        self.state = "ready"

    def reload(self) -> None:
        """Load every run again, from what its path leads to now; keep the one in use if that fails."""
        for name in self.folders:
            try:
                service = self._new_service(name)
            except Exception as error:  # noqa: BLE001 - the run in use keeps answering, whatever it was
                self.note("reload_failed", run=name, error=type(error).__name__, message=str(error))
                continue
            # Requests that are queued are answered by the run that they were prepared for.
            self.services[name], old = service, self.services[name]
            old.batcher.close()
            self.note("reloaded", run=name)

    def stop(self) -> None:
        """Answer what is queued, and take nothing more."""
        self.state = "stopping"
        for service in self.services.values():
            service.batcher.close()

    def stuck(self) -> str:
        """Return why the server does not work any more; empty if it does."""
        for name, service in self.services.items():
            if not service.batcher.is_alive and self.state == "ready":
                return f"the thread of {name} has ended"
            if service.batcher.busy_seconds > _STUCK_SECONDS:
                return f"{name} computes for {service.batcher.busy_seconds:.0f} s"
        return ""

    def describe(self, service: Service) -> dict[str, Any]:
        """Return what a run predicts, from which inputs, and how well on test rows."""
        run = service.run
        known = {"name": service.name, **run.describe(), "run": service.name}
        scores = _scores(run.folder)
        for name, task in known["tasks"].items():
            task["inputs"] = {column: run.types.get(column, "text") for column in task.pop("input")}
            task.pop("model")
            task["test"] = scores.get(name, {})
        return known

    def note(self, event: str, **facts: Any) -> None:
        """Write a line of the log."""
        line = {"time": round(time.time(), 3), "event": event, **facts}
        print(json.dumps(line), file=self.log, flush=True)

    def log_access(self, http: Any, path: str, status: int, seconds: float) -> None:
        """Write a line of the access log: no input, and no query, which may hold one."""
        self.note(
            "request", method=http.method, path=path, status=status, seconds=round(seconds, 4)
        )

    def _new_service(self, name: str) -> Service:
        service = Service(name, self.load(self.folders[name]), self.metrics, self.limits)
        folder = service.run.folder
        examples = read_examples(folder)
        for rows, records in examples:
            check_answers(folder.path, records, service.predict(rows))
        self.note("loaded", run=name, checked_rows=sum(len(one.rows) for one in examples))
        return service


def name_runs(paths: Sequence[Path]) -> dict[str, Path]:
    """Return runs by the names of their folders.

    :raises RunError: If two have one name, or a folder is no run.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name = path.resolve().name
        if name in found:
            raise RunError(f"{path}: {found[name]} has the same name. Rename one of the folders.")
        if not RunFolder(path).facts.exists():
            raise RunError(
                f"{path}: is no run folder: it has no run.json. Name one that training wrote."
            )
        found[name] = path
    return found


def check_answers(
    path: Path, expected: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]]
) -> None:
    """Compare answers with those stored in a run.

    :raises RunError: If a probability differs.
    """
    for place, (one, other) in enumerate(zip(expected, found, strict=True)):
        for task, record in one.items():
            chances = record.get("probabilities", {})
            now = other[task].get("probabilities", {})
            for label, chance in chances.items():
                if not math.isclose(chance, now.get(label, math.nan), abs_tol=_TOLERANCE):
                    raise RunError(
                        f"{path}: does not answer as it did when it was trained: row {place} of its "
                        f"examples, {task}, {label!r}: stored {chance}, found {now.get(label)}. "
                        "Train the run again, or restore its folder."
                    )


def _scores(folder: RunFolder) -> dict[str, Any]:
    try:
        found: dict[str, Any] = read_json(folder.scores)["test"]["tasks"]
    except (OSError, KeyError):
        return {}
    return {
        task: {
            name: one["value"]
            for name, one in metrics.items()
            if isinstance(one, dict) and "value" in one
        }
        for task, metrics in found.items()
    }
