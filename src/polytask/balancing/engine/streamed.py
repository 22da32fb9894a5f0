"""Task gradients of a few parameters at a time, never all T × P numbers at once."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from typing_extensions import override

from polytask.balancing.engine.base import Gradients, check_alone
from polytask.balancing.engine.retained_graph import Kept, KeptGraphs, carry, products
from polytask.core import graph
from polytask.core.errors import RecipeError


class ByParameter(KeptGraphs):
    """Adds up inner products parameter by parameter."""

    name: ClassVar[str]

    @abstractmethod
    def rows(self, kept: Kept, tasks: Sequence[int]) -> Iterator[tuple[Node, Gradients]]:
        """Parameters that one batch leads to, each with a part of the gradient of every task."""

    @abstractmethod
    def visits(self, kept: Kept) -> Counter[Node]:
        """How many parts ``rows`` gives of each parameter."""

    @override
    def gramian(self, tasks: Sequence[int]) -> Tensor:
        """A parameter's products are taken when all parts of its gradients have been added up."""
        check_alone(self.name)
        left = sum(map(self.visits, self.kept), Counter[Node]())
        waiting: dict[Node, Gradients] = {}
        gramian_tt = torch.zeros(len(tasks), len(tasks))
        for kept in self.kept:
            shared = set(map(id, kept.shared))
            for leaf, rows in self.rows(kept, tasks):
                left[leaf] -= 1
                if id(graph.leaf_of(leaf)) not in shared:
                    continue  # rows of several tasks in one tensor lead to what is private, too
                waiting[leaf] = [*map(_plus, waiting.get(leaf, [None] * len(tasks)), rows)]
                if not left[leaf]:
                    part_tt = products(waiting.pop(leaf))
                    gramian_tt = gramian_tt.to(part_tt) + part_tt
        return gramian_tt


class Streamed(ByParameter):
    """Walks down the shared part from one bottleneck of its graph to the next.

    A bottleneck is an edge that all paths to lower parameters pass, such as the output of a layer.
    The gradients of all tasks are carried from one to the next together; of the parameters between
    the two, only the inner products stay. It costs a backward pass per task and one for the sum.
    """

    name = "streamed"

    @override
    def visits(self, kept: Kept) -> Counter[Node]:
        stretches = graph.stretches(kept.roots, kept.masks)
        return Counter(leaf.node for stretch in stretches for leaf in stretch.leaves)

    @override
    def rows(self, kept: Kept, tasks: Sequence[int]) -> Iterator[tuple[Node, Gradients]]:
        frontier: Sequence[GradientEdge] = kept.roots
        seeds = [kept.seeds(task) for task in tasks]
        for stretch in graph.stretches(kept.roots, kept.masks):
            wanted = [*stretch.leaves, *stretch.bottleneck]
            found = [carry(frontier, row, wanted) for row in seeds]
            for place, leaf in enumerate(stretch.leaves):
                yield leaf.node, [row[place] for row in found]
            frontier, seeds = stretch.bottleneck, [row[len(stretch.leaves) :] for row in found]


class LastLayer(ByParameter):
    """Looks at the gradients of the shared weight matrix next to the heads.

    An approximation: Chen et al., "GradNorm", ICML 2018, section 3, choose it to save time.
    """

    name = "last_layer"

    @override
    def visits(self, kept: Kept) -> Counter[Node]:
        last = self._last(kept)
        return Counter() if last is None else Counter([last.node])

    @override
    def rows(self, kept: Kept, tasks: Sequence[int]) -> Iterator[tuple[Node, Gradients]]:
        last = self._last(kept)
        if last is None:
            return
        found = [carry(kept.roots, kept.seeds(task), [last])[0] for task in tasks]
        yield last.node, found

    def _last(self, kept: Kept) -> GradientEdge | None:
        edges = graph.boundary(kept.losses.values, kept.masks)
        matrix = graph.nearest_matrix(edges, kept.shared)
        if matrix is None:
            return None
        last = get_gradient_edge(matrix)
        for node in kept.masks:
            if node.name().startswith("CompiledFunction") and (last.node, 0) in node.next_functions:
                raise RecipeError(
                    [
                        "balancing.gradients: found 'last_layer' and a compiled model, which does "
                        "not tell which layer is its last. Choose 'auto'."
                    ]
                )
        return last


def _plus(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
