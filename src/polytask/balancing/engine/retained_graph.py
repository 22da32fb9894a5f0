"""Providers that retain the graphs of a step until the weights are known.

The shared part is then differentiated once, for the weighted sum. Subclasses differ in the
gradients from which the weights are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import Parameter
from typing_extensions import override

from polytask.balancing.engine.base import (
    Gradients,
    TaskGradients,
    TaskLosses,
    add_gradients,
    check_alone,
    inner_products,
)
from polytask.balancing.engine.recorder import Recorder
from polytask.core import graph
from polytask.core.distributed import sum_gradients
from polytask.core.partition import Partition


@dataclass(frozen=True)
class RetainedGraph:
    """The losses of one batch, the tasks behind each node of their graph, and the shared parameters."""

    losses: TaskLosses
    masks: graph.Reach
    shared: Sequence[Parameter]

    @property
    def roots(self) -> list[GradientEdge]:
        """The edges where the graph begins, one per loss."""
        return [get_gradient_edge(loss) for loss in self.losses.values]

    def seeds(self, task: int) -> Gradients:
        """Return the gradient at each root: a scale for the loss of ``task``, None for other losses."""
        return [
            scale.to(loss) if own == task else None
            for loss, own, scale in zip(
                self.losses.values, self.losses.tasks, self.losses.scale_t, strict=True
            )
        ]


class RetainedGraphs(TaskGradients):
    """The retained graphs of all batches of a step."""

    def __init__(self, recorder: Recorder | None = None) -> None:
        super().__init__(recorder)
        self.kept: list[RetainedGraph] = []

    @override
    def add(self, losses: TaskLosses, partition: Partition) -> None:
        masks = graph.trace(losses.values, partition.shared)
        kept = RetainedGraph(losses, masks, partition.shared)
        private = [*map(get_gradient_edge, partition.private)]
        for task in losses.tasks:
            add_gradients(partition.private, backpropagate(kept.roots, kept.seeds(task), private))
        self.kept.append(kept)

    @override
    def weigh(self, weights_t: Tensor, tasks: Sequence[int], partition: Partition) -> None:
        leaves = [*map(get_gradient_edge, partition.shared)]
        for kept in self.kept:
            scale_t = weights_t[[tasks.index(task) for task in kept.losses.tasks]]
            scale_t = scale_t.to(kept.losses.scale_t) * kept.losses.scale_t
            seeds = [s.to(loss) for s, loss in zip(scale_t, kept.losses.values, strict=True)]
            add_gradients(partition.shared, backpropagate(kept.roots, seeds, leaves))
        # Gradients of shared parameters bypass DistributedDataParallel, so ranks are summed here.
        sum_gradients(partition.shared)

    @override
    def forget(self) -> None:
        self.kept = []


class Weighted(RetainedGraphs):
    """Static weights: no gradients are compared. A step costs a little more than a plain sum."""

    @override
    def gramian(self, tasks: Sequence[int]) -> Tensor:
        raise NotImplementedError


class FeatureGradients(RetainedGraphs):
    """Gradients by the shared features instead of the shared parameters, an approximation.

    Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, section
    3.3, bound MGDA's objective with them. Features of different rows are different numbers: tasks
    that share no rows have inner products of zero and never seem to conflict.
    """

    @override
    def gramian(self, tasks: Sequence[int]) -> Tensor:
        check_alone("features")
        gramian_tt = torch.zeros(len(tasks), len(tasks))
        for kept in self.kept:
            edges = graph.find_boundary(kept.losses.values, kept.masks)
            rows = [backpropagate(kept.roots, kept.seeds(task), edges) for task in tasks]
            for at_edge in zip(*rows, strict=True):
                part_tt = multiply_rows(at_edge)
                gramian_tt = gramian_tt.to(part_tt) + part_tt
        return gramian_tt


def backpropagate(
    edges: Sequence[GradientEdge], seeds: Gradients, wanted: Sequence[GradientEdge]
) -> Gradients:
    """Backpropagate gradients from some edges to others; None stands for zeros."""
    given = [(edge, seed) for edge, seed in zip(edges, seeds, strict=True) if seed is not None]
    if not given or not wanted:
        return [None] * len(wanted)
    # The graph is walked once per task and again for the weighted sum. It lives until ``forget``.
    sources, at_sources = zip(*given, strict=True)
    return torch.autograd.grad(sources, wanted, at_sources, retain_graph=True, allow_unused=True)


def multiply_rows(rows: Gradients) -> Tensor:
    """Return the inner products of one gradient per task; None stands for zeros."""
    some = next((row for row in rows if row is not None), None)
    if some is None:
        return torch.zeros(len(rows), len(rows))
    stacked = torch.stack([torch.zeros_like(some) if row is None else row for row in rows])
    return inner_products(stacked.reshape(len(rows), -1))
