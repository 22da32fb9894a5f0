"""Task gradients of low-rank factors that are trained beside a large frozen model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from typing_extensions import override

from polytask.balancing.engine.base import Gradients
from polytask.balancing.engine.recorder import Recorder
from polytask.balancing.engine.retained_graph import RetainedGraph, backpropagate
from polytask.balancing.engine.streamed import ByParameter


class Adapters(ByParameter):
    """Task gradients of the low-rank factors only.

    They are exact if nothing else is trained, since frozen parameters have no gradient. If the tasks
    share other trained parameters, they are an approximation; those parameters still receive the
    weighted sum. The cost is one backward pass per task, restricted to the factors, and one for
    the sum.
    """

    name = "adapters"

    def __init__(self, recorder: Recorder | None = None) -> None:
        super().__init__(recorder)
        self._factors = recorder.low_rank if recorder is not None else set()

    @override
    def visits(self, kept: RetainedGraph) -> Counter[Node]:
        return Counter(edge.node for edge in self._edges(kept))

    @override
    def rows(self, kept: RetainedGraph, tasks: Sequence[int]) -> Iterator[tuple[Node, Gradients]]:
        edges = self._edges(kept)
        found = [backpropagate(kept.roots, kept.seeds(task), edges) for task in tasks]
        for edge, gradients in zip(edges, zip(*found, strict=True), strict=True):
            yield edge.node, gradients

    def _edges(self, kept: RetainedGraph) -> list[GradientEdge]:
        return [
            get_gradient_edge(parameter)
            for parameter in kept.shared
            if id(parameter) in self._factors
        ]
