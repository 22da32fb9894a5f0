"""Providers that hold the task gradients of a few parameters at a time, never all T × P numbers."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from typing_extensions import override

from polytask.balancing.engine.base import Gradients, add_optional, check_alone
from polytask.balancing.engine.retained_graph import (
    RetainedGraph,
    RetainedGraphs,
    backpropagate,
    multiply_rows,
)
from polytask.core import graph
from polytask.core.errors import RecipeError


class ByParameter(RetainedGraphs):
    """Inner products summed parameter by parameter."""

    name: ClassVar[str]

    @abstractmethod
    def rows(self, kept: RetainedGraph, tasks: Sequence[int]) -> Iterator[tuple[Node, Gradients]]:
        """Yield a parameter that one batch reaches, with a part of the gradient of every task.

        A parameter that is used several times may come several times.
        """

    @abstractmethod
    def visits(self, kept: RetainedGraph) -> Counter[Node]:
        """Count the parts that ``rows`` yields of each parameter."""

    @override
    def gramian(self, tasks: Sequence[int]) -> Tensor:
        check_alone(self.name)
        # Products of a sum are not the sum of products: a parameter waits until all parts of its
        # gradients, from all of its uses and batches, have been added up.
        left = sum(map(self.visits, self.kept), Counter[Node]())
        waiting: dict[Node, Gradients] = {}
        gramian_tt = torch.zeros(len(tasks), len(tasks))
        for kept in self.kept:
            shared = set(map(id, kept.shared))
            for leaf, rows in self.rows(kept, tasks):
                left[leaf] -= 1
                if id(graph.leaf_of(leaf)) not in shared:
                    continue  # if tasks share one tensor, its graph reaches private parameters, too
                waiting[leaf] = [*map(add_optional, waiting.get(leaf, [None] * len(tasks)), rows)]
                if not left[leaf]:
                    part_tt = multiply_rows(waiting.pop(leaf))
                    gramian_tt = gramian_tt.to(part_tt) + part_tt
        return gramian_tt


class Streamed(ByParameter):
    """Task gradients of one stretch of the shared part at a time.

    A stretch lies between two bottlenecks. A bottleneck is an edge on all paths to lower
    parameters, such as the output of a layer. The gradients of all tasks move from one bottleneck
    to the next together. Of the parameters in between, only the inner products are kept. The cost is
    one backward pass per task and one for the sum.
    """

    name = "streamed"

    @override
    def visits(self, kept: RetainedGraph) -> Counter[Node]:
        stretches = graph.split_at_bottlenecks(kept.roots, kept.masks)
        return Counter(leaf.node for stretch in stretches for leaf in stretch.leaves)

    @override
    def rows(self, kept: RetainedGraph, tasks: Sequence[int]) -> Iterator[tuple[Node, Gradients]]:
        frontier: Sequence[GradientEdge] = kept.roots
        seeds = [kept.seeds(task) for task in tasks]
        for stretch in graph.split_at_bottlenecks(kept.roots, kept.masks):
            wanted = [*stretch.leaves, *stretch.bottleneck]
            found = [backpropagate(frontier, row, wanted) for row in seeds]
            for place, leaf in enumerate(stretch.leaves):
                yield leaf.node, [row[place] for row in found]
            # Below, all gradients depend on the losses through the bottleneck only.
            frontier, seeds = stretch.bottleneck, [row[len(stretch.leaves) :] for row in found]


class LastLayer(ByParameter):
    """Gradients of the shared weight matrix next to the heads, an approximation.

    Chen et al., "GradNorm", ICML 2018, section 3, choose it to save time.
    """

    name = "last_layer"

    @override
    def visits(self, kept: RetainedGraph) -> Counter[Node]:
        last = self._last(kept)
        return Counter() if last is None else Counter([last.node])

    @override
    def rows(self, kept: RetainedGraph, tasks: Sequence[int]) -> Iterator[tuple[Node, Gradients]]:
        last = self._last(kept)
        if last is None:
            return
        found = [backpropagate(kept.roots, kept.seeds(task), [last])[0] for task in tasks]
        yield last.node, found

    def _last(self, kept: RetainedGraph) -> GradientEdge | None:
        edges = graph.find_boundary(kept.losses.values, kept.masks)
        matrix = graph.find_nearest_matrix(edges, kept.shared)
        if matrix is None:
            return None
        last = get_gradient_edge(matrix)
        for node in kept.masks:
            if node.name().startswith("CompiledFunction") and (last.node, 0) in node.next_functions:
                raise RecipeError(
                    [
                        "balancing.gradients: found 'last_layer' and a compiled model, whose graph "
                        "does not show its last layer. Choose 'auto'."
                    ]
                )
        return last
