"""A tree given in the recipe: which tasks share which layers.

Lu, Kumar, Zhai, Cheng, Javidi and Feris, "Fully-Adaptive Feature Sharing in Multi-Task Networks
with Applications in Person Attribute Classification", CVPR 2017, section 3.
https://arxiv.org/abs/1611.05377

Deviations: the tree is given, not grown; who is to be together may come from an analysis of the
tasks. Copies of a layer begin equal, with the values of the encoder's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field, NonNegativeInt

from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.sharing.base import architectures
from polytask.sharing.branching import Branched, Groups
from polytask.sharing.layers import hidden_layers

Group = Annotated[tuple[str, ...], Field(min_length=1)]
Branches = Mapping[int, Sequence[tuple[str, ...]]]


@architectures.register("tree")
class Tree(Branched):
    """Groups of tasks given in the recipe share layers; groups part on the way up.

    Embeddings, and what an encoder has above its layers, are shared by all.

    :param encoder: A fitted encoder; the architecture owns it, and copies of its layers.
    :param tasks: Names of the tasks, T of them.
    :param branches: After how many layers tasks part, and the groups from there on, each a list of
        tasks. Each task is in one group, and later groups are parts of earlier ones. Below the
        first branching all share. ``{2: [[a, b], [c]], 4: [[a], [b], [c]]}``: all share two layers,
        a and b the next two. An encoder without layers counts as one.
    :raises RecipeError: If this is not a tree of the tasks, or higher than the encoder.
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
        found = [*mistakes(branches, tasks, depth)]
        if found:
            raise RecipeError(found)
        super().__init__(encoder, tasks, levels(branches, tasks, depth))


def levels(branches: Branches, tasks: Sequence[str], depth: int) -> list[Groups]:
    """The groups at each layer.

    :param depth: Number of layers.
    """
    groups: Groups = [tuple(tasks)]
    found = []
    for layer in range(depth):
        groups = branches.get(layer, groups)
        found.append(groups)
    return found


def mistakes(branches: Branches, tasks: Collection[str], depth: int) -> Iterator[str]:
    """What is wrong with a tree, one message each.

    :param depth: Number of layers of the encoder.
    """
    before: Groups = [tuple(tasks)]
    for layer, groups in sorted(branches.items()):
        path = f"sharing.branches.{layer}"
        if layer >= depth:
            yield f"{path}: the encoder has {depth} layers; branch after {depth - 1} at most"
        wrong = [*_miscounted(groups, tasks)]
        yield from (f"{path}: {message}" for message in wrong)
        if not wrong:
            torn = [group for group in groups if not any({*group} <= {*whole} for whole in before)]
            for group in torn:
                yield (f"{path}: {', '.join(group)} are not together before; groups can only part")
            before = groups


def _miscounted(groups: Groups, tasks: Collection[str]) -> Iterator[str]:
    count = Counter(task for group in groups for task in group)
    known = f"The tasks are {', '.join(tasks)}."
    yield from (f"no task is called {task!r}. {known}" for task in count if task not in tasks)
    yield from (f"task {task!r} is in no group" for task in tasks if task not in count)
    yield from (f"task {task!r} is there {n} times" for task, n in count.items() if n > 1)
