"""The division of a step's rows into the batches that a method needs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from polytask.balancing.balancer import Balancer
from polytask.core.batch import Batch
from polytask.core.collated import Collated
from polytask.core.distributed import gather_objects
from polytask.core.partition import Partition


def plan(
    batches: Sequence[Batch], balancer: Balancer, partition: Partition, *, scores_alone: bool = True
) -> list[tuple[int, Batch]]:
    """Return the parts of a step as a method needs them, each with the number of its sample.

    A row that one task reads costs one forward and one backward pass for any number of tasks. Only
    rows that several tasks read are differentiated several times.

    :param scores_alone: True if each task's loss depends on its own head only; otherwise a row
        passes through the heads of several tasks.
    """
    layout = balancer.prepare(
        partition,
        exclusive_rows=scores_alone and all(batch.has_exclusive_rows for batch in batches),
        tokens=sum(batch.padded for batch in batches),
    )
    samples = [
        (number, sample)
        for batch in batches
        for number, sample in enumerate(
            _split_in_halves(batch) if "halves" in balancer.needs else [batch]
        )
    ]
    if layout == "apart" and balancer.shards is not None:
        return [
            (number, part) for number, sample in samples for part in _split_on_all_ranks(sample)
        ]
    if layout == "apart":
        return [(number, part) for number, sample in samples for part in sample.by_tasks()]
    if layout == "sorted":
        return [(number, sample.sort_by_task()) for number, sample in samples]
    return samples


def _split_on_all_ranks(batch: Batch) -> list[Batch]:
    """Return the rows by task set, with one part, perhaps empty, per task set of any rank."""
    # Every pass through a sharded model is a collective: all ranks need the same parts in order.
    own = {tuple(part.targets): part for part in batch.by_tasks()}
    everywhere = sorted({tasks for ranks in gather_objects([*own]) for tasks in ranks if tasks})
    return [own.get(tasks) or Batch(Collated(), {}, 0) for tasks in everywhere]


def _split_in_halves(batch: Batch) -> list[Batch]:
    if batch.size == 1:
        return [batch, batch]
    order_B = torch.randperm(batch.size)
    half = batch.size // 2
    return [batch.select(rows_b.sort().values) for rows_b in (order_B[:half], order_B[half:])]
