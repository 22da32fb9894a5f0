"""A tree given in the recipe: which tasks share which layers.

Lu, Kumar, Zhai, Cheng, Javidi and Feris, "Fully-Adaptive Feature Sharing in Multi-Task Networks
with Applications in Person Attribute Classification", CVPR 2017, section 3.
https://arxiv.org/abs/1611.05377

Deviations: the tree is given, not grown; the groups may come from an analysis of the tasks. Copies
of a layer start with the values of the encoder's layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field, NonNegativeInt

from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.sharing.base import architectures
from polytask.sharing.branching import Groups, LayerTree
from polytask.sharing.layers import hidden_layers

Group = Annotated[tuple[str, ...], Field(min_length=1)]
Branches = Mapping[int, Sequence[tuple[str, ...]]]


@architectures.register("tree")
class Tree(LayerTree):
    """A tree given in the recipe: groups of tasks share layers and split on the way up.

    All tasks share the embeddings, and modules above the layers.

    :param encoder: A fitted encoder; the architecture owns it, and copies of its layers.
    :param tasks: Names of the tasks, T of them.
    :param branches: The number of layers after which tasks split, and the groups from there on, each
        a list of tasks. Each task is in one group, and later groups split earlier ones. Below the
        first split all tasks share. ``{2: [[a, b], [c]], 4: [[a], [b], [c]]}``: all share two
        layers, a and b the next two. An encoder without layers counts as one layer.
    :raises RecipeError: If this is no tree of the tasks, or has more levels than the encoder has
        layers.
    """

    cost: ClassVar[str] = "a copy of each layer per group, for the rows of the group"

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        branches: dict[NonNegativeInt, tuple[Group, ...]],
    ) -> None:
        depth = len(hidden_layers(encoder))
        if mistakes := [*_find_mistakes(branches, tasks, depth)]:
            raise RecipeError(mistakes)
        levels: list[Groups] = [branches.get(0, [tuple(tasks)])]
        for layer in range(1, depth):
            levels.append(branches.get(layer, levels[-1]))
        super().__init__(encoder, tasks, levels)


def _find_mistakes(branches: Branches, tasks: Collection[str], depth: int) -> Iterator[str]:
    """Yield a message for each mistake in a tree.

    :param depth: Number of layers of the encoder.
    """
    before: Groups = [tuple(tasks)]
    for layer, groups in sorted(branches.items()):
        path = f"sharing.branches.{layer}"
        if layer >= depth:
            yield f"{path}: the encoder has {depth} layers; branch after {depth - 1} at most"
        wrong = [*_find_miscounts(groups, tasks)]
        yield from (f"{path}: {message}" for message in wrong)
        if not wrong:
            torn = [group for group in groups if not any({*group} <= {*whole} for whole in before)]
            for group in torn:
                yield f"{path}: {', '.join(group)} are not together before; groups can only split"
            before = groups


def _find_miscounts(groups: Groups, tasks: Collection[str]) -> Iterator[str]:
    count = Counter(task for group in groups for task in group)
    known = f"The tasks are {', '.join(tasks)}."
    yield from (f"no task is called {task!r}. {known}" for task in count if task not in tasks)
    yield from (f"task {task!r} is in no group" for task in tasks if task not in count)
    yield from (f"task {task!r} is in {n} groups" for task, n in count.items() if n > 1)
