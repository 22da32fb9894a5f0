"""Scores of the model before training, which some losses compare with; computed once, and kept in the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from polytask.core.errors import RunError
from polytask.core.tensors import read_tensors, write_tensors
from polytask.data.pools import Pool
from polytask.data.prepared_rows import TARGET
from polytask.evaluation.predict import Predictor
from polytask.tasks import Task


def add_start_scores(
    pools: Sequence[Pool], predictor: Predictor, file: Path, *, started: bool
) -> list[Pool]:
    """Return training pools whose targets hold what their losses read of the model before training.

    :param predictor: The model before training.
    :param file: Keeps the targets, for a training that is resumed.
    :param started: Whether training has begun, so that they can only be read.
    :raises RunError: If the file is gone.
    """
    tasks = predictor.model.tasks
    if started and not file.is_file():
        raise RunError(
            f"{file}: missing. It holds scores before training; restore it, or train again."
        )
    known = read_tensors(file) if started else {}
    found = []
    for number, pool in enumerate(pools):
        for name in pool.tasks:
            if tasks[name].reads_start:
                key = f"{number}.{name}"
                if not started:
                    known[key] = torch.tensor([*_targets(pool, name, tasks[name], predictor)])
                pool = _with_targets(pool, TARGET + name, known[key].tolist())
        found.append(pool)
    if not started:
        write_tensors(file, known)
    return found


def _targets(pool: Pool, name: str, task: Task, predictor: Predictor) -> list[Any]:
    """Return the targets of all rows of a pool, with the scores of the model."""
    targets: list[Any] = [None] * len(pool)
    for rows_b, rows, scores in predictor.scores(pool, name):
        own = task.start_targets([row[TARGET + name] for row in rows], scores)
        for row, target in zip(rows_b.tolist(), own, strict=True):
            targets[row] = target
    return targets


def _with_targets(pool: Pool, column: str, targets: Sequence[Any]) -> Pool:
    return replace(pool, rows=pool.rows.remove_columns(column).add_column(column, [*targets]))
