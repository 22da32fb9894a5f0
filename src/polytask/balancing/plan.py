"""How the rows of a step are divided before they go through the model."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from polytask.balancing.balancer import Balancer
from polytask.core.batch import Batch
from polytask.core.collated import Collated
from polytask.core.distributed import gathered
from polytask.core.partition import Partition


def plan(
    batches: Sequence[Batch], balancer: Balancer, partition: Partition, *, scores_alone: bool = True
) -> list[tuple[int, Batch]]:
    """The parts of a step that a method wants to see, each with the sample that it belongs to.

    Rows that one task reads cost one forward and one backward pass, with one task or with many;
    only rows that several tasks read are differentiated several times.

    :param scores_alone: Whether the loss of every task depends on its own head alone; else a row
        passes the heads of several tasks.
    """
    layout = balancer.prepare(
        partition,
        rows_alone=scores_alone and all(batch.rows_alone for batch in batches),
        tokens=sum(batch.padded for batch in batches),
    )
    samples = [
        (number, sample)
        for batch in batches
        for number, sample in enumerate(_halves(batch) if "halves" in balancer.needs else [batch])
    ]
    if layout == "apart" and balancer.shards is not None:
        return [(number, part) for number, sample in samples for part in _in_step(sample)]
    if layout == "apart":
        return [(number, part) for number, sample in samples for part in sample.by_tasks()]
    if layout == "sorted":
        return [(number, sample.sorted_by_task()) for number, sample in samples]
    return samples


def _in_step(batch: Batch) -> list[Batch]:
    """The rows by tasks, with as many parts on all ranks: for each set of tasks that one has."""
    own = {tuple(part.targets): part for part in batch.by_tasks()}
    everywhere = sorted({tasks for ranks in gathered([*own]) for tasks in ranks if tasks})
    return [own.get(tasks) or Batch(Collated(), {}, 0) for tasks in everywhere]


def _halves(batch: Batch) -> list[Batch]:
    if batch.size == 1:
        return [batch, batch]
    order_B = torch.randperm(batch.size)
    half = batch.size // 2
    return [batch.select(rows_b.sort().values) for rows_b in (order_B[:half], order_B[half:])]
