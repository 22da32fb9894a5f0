"""Hard parameter sharing: one encoder for all tasks, or its lower layers.

Caruana, "Multitask Learning: A Knowledge-Based Source of Inductive Bias", ICML 1993; Machine
Learning 28, 1997, section 2. https://doi.org/10.1023/A:1007379606734
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import NonNegativeInt

from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.sharing.base import architectures
from polytask.sharing.branching import LayerTree
from polytask.sharing.layers import hidden_layers


@architectures.register("hard")
class Hard(LayerTree):
    """One encoder for all tasks; only heads, and upper layers if asked for, are private.

    All tasks share the embeddings, and modules above the layers.

    :param encoder: A fitted encoder; the architecture owns it, and copies of its layers.
    :param tasks: Names of the tasks, T of them.
    :param shared_layers: Share this many layers; each task has private copies of the layers above.
        By default all are shared. An encoder without layers counts as one layer.
    :raises RecipeError: If the encoder has fewer layers.
    """

    cost: ClassVar[str] = "nothing; each private layer once per task, for the rows of the task"

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        shared_layers: NonNegativeInt | None = None,
    ) -> None:
        depth = len(hidden_layers(encoder))
        shared = depth if shared_layers is None else shared_layers
        if shared > depth:
            raise RecipeError(
                [f"sharing.shared_layers: {shared}, but the encoder has {depth}; give at most that"]
            )
        together, apart = [tuple(tasks)], [(task,) for task in tasks]
        super().__init__(encoder, tasks, [together] * shared + [apart] * (depth - shared))
