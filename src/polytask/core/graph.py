"""Analysis of the autograd graph of several losses, without differentiating.

A node is shared if several losses reach it, and private if one loss does. This tells which
parameters are shared, and where the private part of a model begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.nn import Parameter

Reach = dict[Node, int]
"""The nodes of a graph in topological order, losses first, each with a bit mask of the losses
that reach it."""


def trace(losses: Sequence[Tensor], shared: Sequence[Tensor] = ()) -> Reach:
    """Return which losses reach each node.

    :param losses: Scalars with graphs; the i-th loss is bit i.
    :param shared: Parameters that losses of absent tasks reach as well. They get one more bit. With
        a single loss, nodes that lead only to these parameters get it, too.
    """
    roots = [get_gradient_edge(loss).node for loss in losses]
    masks = dict.fromkeys(_sort(roots), 0)
    for place, root in enumerate(roots):
        masks[root] |= 1 << place
    # Topological order: a node's mask is complete before it is passed on.
    for node, mask in masks.items():
        for following in _next_edges(node):
            masks[following.node] |= mask
    # With one loss, no node is shared by masks alone, yet the boundary of the shared part is needed:
    # it begins where all paths end in parameters known to be shared.
    known = set(map(id, shared))
    common: dict[Node, bool] = {}
    for node in reversed([*masks]):
        ways = [common[following.node] for following in _next_edges(node)]
        common[node] = id(leaf_of(node)) in known if _is_leaf(node) else bool(ways) and all(ways)
        if common[node] and (len(losses) == 1 or _is_leaf(node)):
            masks[node] |= 1 << len(losses)
    return masks


def find_leaves(masks: Reach) -> list[tuple[Parameter, int]]:
    """Return the leaf tensors of a graph, each with a bit mask of the losses that reach it."""
    return [(leaf_of(node), mask) for node, mask in masks.items() if _is_leaf(node)]


def find_boundary(losses: Sequence[Tensor], masks: Reach) -> list[GradientEdge]:
    """Return the edges from private parts of the graph into the shared part.

    The gradients of shared parameters depend on the losses only through the gradients at these edges.
    """
    roots = [get_gradient_edge(loss) for loss in losses]
    crossing = [root for root in roots if is_shared(masks[root.node])]
    for node, mask in masks.items():
        if not is_shared(mask):
            crossing += [edge for edge in _next_edges(node) if is_shared(masks[edge.node])]
    return list({(edge.node, edge.output_nr): edge for edge in crossing}.values())


def find_nearest_matrix(
    edges: Sequence[GradientEdge], parameters: Sequence[Parameter]
) -> Parameter | None:
    """Return the parameter with two or more dimensions that is the fewest nodes away, if any."""
    wanted = {id(parameter) for parameter in parameters if parameter.ndim > 1}
    waiting = deque(edge.node for edge in edges)
    seen = set(waiting)
    while waiting:
        node = waiting.popleft()
        if _is_leaf(node) and id(leaf_of(node)) in wanted:
            return leaf_of(node)
        fresh = [edge.node for edge in _next_edges(node) if edge.node not in seen]
        seen.update(fresh)
        waiting.extend(fresh)
    return None


@dataclass(frozen=True)
class Stretch:
    """The part of a graph between two bottlenecks.

    :param leaves: Its leaves. A leaf that several stretches reach belongs to the first one only.
    :param bottleneck: The edge to the next stretch; none at the end.
    """

    leaves: Sequence[GradientEdge]
    bottleneck: Sequence[GradientEdge]


def split_at_bottlenecks(edges: Sequence[GradientEdge], masks: Reach) -> Iterator[Stretch]:
    """Divide a graph at bottlenecks: edges that all paths to lower nodes pass.

    :param edges: The edges at the top of the graph.
    :param masks: The whole graph, in topological order. Private leaves are left out.
    """
    # ``opened`` is the cut: the edges that lead from visited nodes to unvisited ones. Nodes come in
    # topological order, so a cut of one edge is a bottleneck.
    opened = {(edge.node, edge.output_nr) for edge in edges}
    found: dict[Node, GradientEdge] = {}
    met: set[Node] = set()
    for node in _sort_by_distance(edges, masks):
        if len(opened) == 1 and found:
            yield Stretch([*found.values()], [GradientEdge(*place) for place in opened])
            found = {}
        opened = {place for place in opened if place[0] is not node}
        for edge in _next_edges(node):
            if not _is_leaf(edge.node):
                opened.add((edge.node, edge.output_nr))
            elif is_shared(masks[edge.node]) and edge.node not in met:
                found[edge.node] = edge
                met.add(edge.node)
    if found:
        yield Stretch([*found.values()], [])


def _sort_by_distance(edges: Sequence[GradientEdge], masks: Reach) -> list[Node]:
    """Sort inner nodes by longest distance from the edges, then by height above the leaves."""
    # By height, short branches end first: the cut gets narrow earlier, and stretches shorter.
    distance = {edge.node: 0 for edge in edges}
    for node in masks:
        if node in distance:
            for edge in _next_edges(node):
                distance[edge.node] = max(distance.get(edge.node, 0), distance[node] + 1)
    height: dict[Node, int] = {}
    for node in reversed([*masks]):
        height[node] = 1 + max((height[edge.node] for edge in _next_edges(node)), default=0)
    inner: Iterable[Node] = (node for node in distance if not _is_leaf(node))
    return sorted(inner, key=lambda node: (distance[node], height[node]))


def is_shared(mask: int) -> bool:
    """Return whether more than one bit is set."""
    return mask & (mask - 1) != 0


def _sort(roots: Sequence[Node]) -> list[Node]:
    """Return all nodes in topological order."""
    # An explicit stack: graphs of deep models exceed Python's limit of recursion.
    done: dict[Node, None] = {}
    entered: set[Node] = set()
    waiting = [(root, False) for root in roots]
    while waiting:
        node, finished = waiting.pop()
        if finished:
            done.setdefault(node)
        elif node not in entered:
            entered.add(node)
            waiting.append((node, True))
            waiting.extend((edge.node, False) for edge in _next_edges(node))
    return list(reversed(done))


def _next_edges(node: Node) -> Iterator[GradientEdge]:
    for following, output in node.next_functions:
        if following is not None:
            yield GradientEdge(following, output)


def _is_leaf(node: Node) -> bool:
    return hasattr(node, "variable")


def leaf_of(node: Node) -> Parameter:
    """Return the tensor of a leaf node, which accumulates the gradient."""
    leaf: Parameter = node.variable  # type: ignore[attr-defined]
    return leaf
