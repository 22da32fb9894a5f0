"""Prediction of parts on a Ray cluster: each worker holds the run and predicts whole files.

Parts are renamed when they are complete, so that a file may be predicted again after a worker was
killed: its finished parts are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from polytask.assembly.run.parts_prediction import PartsJob, Progress, predict_file
from polytask.assembly.run.prediction import Note
from polytask.core.errors import RunError
from polytask.core.optional import require

_RETRIES = 3
"""Times that a file is tried again after its worker died. A file that kills every worker, as for want
of memory, must not be tried forever."""


class RayEngine:
    """Predicts files on the workers of a cluster.

    :param address: The address of the cluster; None: this machine.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = address

    def __call__(
        self, job: PartsJob, files: Sequence[tuple[int, str]], progress: Progress, note: Note
    ) -> Iterator[tuple[int, int]]:
        """Yield the number and the rows of each finished file, in the order of their ends."""
        ray: Any = require("ray", part="--engine ray", extra="ray")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(address=self._address, ignore_reinit_error=True, log_to_driver=False)
        try:
            yield from _predict(ray, job, files, progress, note)
        finally:
            ray.shutdown()


def _predict(
    ray: Any, job: PartsJob, files: Sequence[tuple[int, str]], progress: Progress, note: Note
) -> Iterator[tuple[int, int]]:
    graphics = int(ray.cluster_resources().get("GPU", 0))
    workers = graphics or int(ray.cluster_resources().get("CPU", 1))
    remote = ray.remote(
        num_cpus=0 if graphics else 1,
        num_gpus=1 if graphics else 0,
        max_restarts=-1,
        max_task_retries=_RETRIES,
    )(_Worker)
    idle = [remote.remote(job) for _ in range(min(workers, len(files)))]
    left, running = [*files], dict[Any, tuple[Any, int]]()
    while left or running:
        while left and idle:
            worker, file = idle.pop(), left.pop(0)
            running[worker.predict.remote(file)] = worker, file[0]
        [done, *_], _ = ray.wait([*running], num_returns=1)
        worker, number = running.pop(done)
        idle.append(worker)
        rows, new, notes = _result(ray, done, number)
        for text in notes:
            note(text)
        progress(new)
        yield number, rows


def _result(ray: Any, done: Any, number: int) -> tuple[int, int, list[str]]:
    try:
        found: tuple[int, int, list[str]] = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise RunError(
            f"file {number}: its worker died {_RETRIES + 1} times: {error} "
            "Run the same command to continue, with more memory for each worker."
        ) from error
    return found


class _Worker:
    """A process of the cluster with the run in memory.

    :param job: The run, inputs and folder have to be at the same path on every machine.
    """

    def __init__(self, job: PartsJob) -> None:
        self._job, self._run = job, job.load()

    def predict(self, file: tuple[int, str]) -> tuple[int, int, list[str]]:
        """Return the rows of a file, the rows that were predicted now, and notes."""
        new: list[int] = []
        notes: list[str] = []
        rows = predict_file(self._run, self._job, file, new.append, notes.append)
        return rows, sum(new), notes
