"""The costs of a strategy: parameters, time, memory and arithmetic, of training and of answering."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from polytask.assembly.data.loading import Data
from polytask.assembly.data.scoring import evaluation_rows
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.batch import Batch
from polytask.core.scratch import scratch_folder
from polytask.data.pools import collate
from polytask.modeling import MultiTaskModel

Costs = Mapping[str, float | None]
COSTS = (
    "parameters",
    "trained_parameters",
    "seconds",
    "tokens",
    "flops",
    "peak_memory_mb",
    "inference_parameters",
    "inference_flops_per_row",
)
"""The costs of a strategy in the record of a comparison; null if not measured.

* ``parameters``, ``trained_parameters``: of all its models together.
* ``seconds``, ``tokens``: of training them, without validations; without choosing settings.
* ``flops``: floating point operations of training them: a forward and backward pass of one batch
  per view, counted by PyTorch's ``FlopCounterMode``, per token, times ``tokens``. Element-wise
  operations, fused recurrent layers and the work of a balancing method are not counted.
* ``peak_memory_mb``: peak memory in 2^20 bytes: allocated by PyTorch on a GPU, of the process
  on a CPU.
* ``inference_parameters``: of all models needed to answer every task.
* ``inference_flops_per_row``: operations to answer all tasks for one row.
"""

_ROWS = 32
"""Rows of each view that operations are counted on."""

_EVERY = 0.02
"""Seconds between two measurements of the memory of the process."""


class Arithmetic(NamedTuple):
    """Floating point operations of a model.

    :param training: Per token of training.
    :param answering: For all its tasks, per row.
    :param encoding: The part of ``answering`` that one pass through the encoder of a task takes.
    """

    training: float
    answering: float
    encoding: float


def together(parts: Sequence[Costs]) -> dict[str, float | None]:
    """Add up the costs of several models; of peaks of memory take the largest."""
    columns = {name: [part[name] for part in parts] for name in COSTS}
    return {
        name: None
        if any(value is None for value in column)
        else (max if name == "peak_memory_mb" else sum)(v for v in column if v is not None)
        for name, column in columns.items()
    }


def count_operations(model: LoadedRun, data: Data, split: str) -> Arithmetic:
    """Count operations on the first rows of every view.

    Tasks that read the same columns are answered together, by one pass through shared layers.
    """
    tables = {s: t.select(range(min(_ROWS, len(t)))) for s, t in data.split(split).items()}
    views = [view for view in data.views if view.source in tables]
    network, device = model.predictor.model, model.predictor.device
    inputs: dict[Any, list[tuple[Batch, tuple[str, ...]]]] = {}
    with scratch_folder() as scratch:
        rows = evaluation_rows(views, tables, model.encoder, model.tasks, scratch)
        for view, pool in zip(views, rows.pools, strict=True):
            fetched = pool.fetch(np.arange(len(pool)))
            batch = collate(fetched, model.predictor.collation).to(device)
            inputs.setdefault((view.columns, frozenset(batch.inputs)), []).append(
                (batch, pool.tasks)
            )
    batches = [each for group in inputs.values() for each in group]
    passes = [_count_training(network, batch, tasks) for batch, tasks in batches]
    answers = [_count_answering(network, group) for group in inputs.values()]
    return Arithmetic(
        training=sum(passes) / max(1, sum(batch.tokens for batch, _ in batches)),
        answering=sum(answering for answering, _ in answers),
        encoding=sum(encoding for _, encoding in answers),
    )


def _count_training(model: MultiTaskModel, batch: Batch, tasks: Sequence[str]) -> int:
    """Count operations of a forward and backward pass."""
    model.train()
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        total = sum(t.float().sum() for t in _tensors(model(batch.inputs, _all_rows(batch, tasks))))
        if isinstance(total, Tensor) and total.requires_grad:
            total.backward()
    model.zero_grad(set_to_none=True)
    return int(counter.get_total_flops())


def _count_answering(
    model: MultiTaskModel, group: Sequence[tuple[Batch, tuple[str, ...]]]
) -> tuple[float, float]:
    """Count operations per row of answering all tasks, and of one pass of the encoder.

    Gradients stay enabled: otherwise the counter misses parameters that a head returns.
    """
    model.eval()
    tasks = dict.fromkeys(task for _, own in group for task in own)
    answering = encoding = rows = 0
    for batch, own in group:
        with FlopCounterMode(display=False) as counter:
            model(batch.inputs, _all_rows(batch, [*tasks]))
        answering += counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            model.sharing(batch.inputs, _all_rows(batch, own[:1]))
        encoding += counter.get_total_flops()
        rows += batch.size
    return answering / max(1, rows), encoding / max(1, rows)


def _all_rows(batch: Batch, tasks: Sequence[str]) -> dict[str, Tensor]:
    device = next(iter(batch.inputs.values())).device
    return dict.fromkeys(tasks, torch.arange(batch.size, device=device))


def _tensors(scores: Any) -> Iterator[Tensor]:
    """Yield all floating-point tensors in the scores of several tasks."""
    if isinstance(scores, Mapping):
        for value in scores.values():
            yield from _tensors(value)
    elif isinstance(scores, Tensor) and scores.is_floating_point():
        yield scores


class PeakMemory:
    """A context that measures peak memory; ``megabytes`` is then the peak, or None."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self.megabytes: float | None = None

    def __enter__(self) -> PeakMemory:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._watch.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._device.type == "cuda":
            self.megabytes = round(torch.cuda.max_memory_allocated(self._device) / 2**20, 1)
        else:
            self._done.set()
            self._watch.join()

    def _look(self) -> None:
        pages = Path("/proc/self/statm")
        while pages.is_file():
            resident = int(pages.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
            self.megabytes = max(self.megabytes or 0.0, round(resident / 2**20, 1))
            if self._done.wait(_EVERY):
                return
