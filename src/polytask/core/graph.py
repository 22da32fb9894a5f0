"""The autograd graph behind several losses, read without differentiating anything.

A node that the losses of several tasks lead to is shared; one that a single loss leads to is
private. Parameters, and the place where the private part of a model begins, are found this way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.nn import Parameter

Reach = dict[Node, int]
"""Every node of a graph, from losses to leaves, with the losses that lead to it as a bit mask."""


def reach(losses: Sequence[Tensor], shared: Sequence[Tensor] = ()) -> Reach:
    """Which losses lead to each node.

    :param losses: Scalars with graphs; the i-th one is bit i.
    :param shared: Parameters that other losses, not given here, lead to as well; one more bit. If
        there is one loss, so are the nodes that lead to nothing else.
    """
    roots = [get_gradient_edge(loss).node for loss in losses]
    masks = dict.fromkeys(_sorted(roots), 0)
    for place, root in enumerate(roots):
        masks[root] |= 1 << place
    for node, mask in masks.items():
        for following in _following(node):
            masks[following.node] |= mask
    known = set(map(id, shared))
    common: dict[Node, bool] = {}
    for node in reversed([*masks]):
        ways = [common[following.node] for following in _following(node)]
        common[node] = id(leaf_of(node)) in known if _is_leaf(node) else bool(ways) and all(ways)
        if common[node] and (len(losses) == 1 or _is_leaf(node)):
            masks[node] |= 1 << len(losses)
    return masks


def leaves(masks: Reach) -> list[tuple[Parameter, int]]:
    """The leaf tensors of a graph, each with the losses that lead there as a bit mask."""
    return [(leaf_of(node), mask) for node, mask in masks.items() if _is_leaf(node)]


def boundary(losses: Sequence[Tensor], masks: Reach) -> list[GradientEdge]:
    """The edges by which private parts of the graph enter the part that several losses share.

    Gradients at these edges are all that the shared part needs to know of the losses.
    """
    roots = [get_gradient_edge(loss) for loss in losses]
    crossing = [root for root in roots if is_shared(masks[root.node])]
    for node, mask in masks.items():
        if not is_shared(mask):
            crossing += [edge for edge in _following(node) if is_shared(masks[edge.node])]
    return list({(edge.node, edge.output_nr): edge for edge in crossing}.values())


def nearest_matrix(
    edges: Sequence[GradientEdge], parameters: Sequence[Parameter]
) -> Parameter | None:
    """Of some parameters the one of two or more dimensions that is the fewest nodes away, if any."""
    wanted = {id(parameter) for parameter in parameters if parameter.ndim > 1}
    waiting = deque(edge.node for edge in edges)
    seen = set(waiting)
    while waiting:
        node = waiting.popleft()
        if _is_leaf(node) and id(leaf_of(node)) in wanted:
            return leaf_of(node)
        fresh = [edge.node for edge in _following(node) if edge.node not in seen]
        seen.update(fresh)
        waiting.extend(fresh)
    return None


@dataclass(frozen=True)
class Stretch:
    """What lies between two bottlenecks of a graph.

    :param leaves: The leaves that it leads to. One that is met again further down is here only.
    :param bottleneck: The edge by which it goes on; none at the end.
    """

    leaves: Sequence[GradientEdge]
    bottleneck: Sequence[GradientEdge]


def stretches(edges: Sequence[GradientEdge], masks: Reach) -> Iterator[Stretch]:
    """Divide a graph at the edges that every path to what lies below must pass.

    :param edges: Where the graph is entered.
    :param masks: The whole graph, in order. Leaves that are not shared are left out.
    """
    opened = {(edge.node, edge.output_nr) for edge in edges}
    found: dict[Node, GradientEdge] = {}
    met: set[Node] = set()
    for node in _by_distance(edges, masks):
        if len(opened) == 1 and found:
            yield Stretch([*found.values()], [GradientEdge(*place) for place in opened])
            found = {}
        opened = {place for place in opened if place[0] is not node}
        for edge in _following(node):
            if not _is_leaf(edge.node):
                opened.add((edge.node, edge.output_nr))
            elif is_shared(masks[edge.node]) and edge.node not in met:
                found[edge.node] = edge
                met.add(edge.node)
    if found:
        yield Stretch([*found.values()], [])


def _by_distance(edges: Sequence[GradientEdge], masks: Reach) -> list[Node]:
    """Inner nodes by their longest distance from the edges; ends of short branches come first."""
    distance = {edge.node: 0 for edge in edges}
    for node in masks:
        if node in distance:
            for edge in _following(node):
                distance[edge.node] = max(distance.get(edge.node, 0), distance[node] + 1)
    height: dict[Node, int] = {}
    for node in reversed([*masks]):
        height[node] = 1 + max((height[edge.node] for edge in _following(node)), default=0)
    inner: Iterable[Node] = (node for node in distance if not _is_leaf(node))
    return sorted(inner, key=lambda node: (distance[node], height[node]))


def is_shared(mask: int) -> bool:
    """Whether more than one bit is set."""
    return mask & (mask - 1) != 0


def _sorted(roots: Sequence[Node]) -> list[Node]:
    """All nodes, each before those that follow it."""
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
            waiting.extend((edge.node, False) for edge in _following(node))
    return list(reversed(done))


def _following(node: Node) -> Iterator[GradientEdge]:
    for following, output in node.next_functions:
        if following is not None:
            yield GradientEdge(following, output)


def _is_leaf(node: Node) -> bool:
    return hasattr(node, "variable")


def leaf_of(node: Node) -> Parameter:
    """The tensor whose gradient a leaf of the graph adds up."""
    leaf: Parameter = node.variable  # type: ignore[attr-defined]
    return leaf
