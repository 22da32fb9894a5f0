"""A tree that is learned: every copy of a layer chooses which copy below it reads.

Guo, Lee and Ulbricht, "Learning to Branch for Multi-Task Learning", ICML 2020, section 3.
https://arxiv.org/abs/2006.01895

Deviations: copies start with the values of the encoder's layer, and tasks prefer different copies.
Every choice is one copy in the forward pass, with the gradient of a softmax at a constant temperature.
Choices and weights are learned together from the first step to the last.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import Architecture, architectures
from polytask.sharing.copies import LayerCopies, encode_beside, replace_layers, side_by_side
from polytask.sharing.experts import mix
from polytask.sharing.gumbel import choose
from polytask.sharing.rows import TaskRows

_LEANING = 1.0
"""Initial log-odds of the preferred copy of a choice, against each other copy."""


@architectures.register("learned_branching")
class LearnedBranching(Architecture):
    """Layers come in several copies; tasks and copies learn which copy below they read.

    An encoder without layers comes in several copies as a whole.

    :param encoder: A fitted encoder; the architecture owns it, and copies of it.
    :param tasks: Names of the tasks, T of them.
    :param copies: C, the number of copies of each layer.
    :param temperature: Temperature of the softmax that gives choices their gradient.
    """

    cost: ClassVar[str] = (
        "all layers copies times, for every row, also after training; copies parameters per task, "
        "copies x copies per layer"
    )

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        copies: Annotated[int, Field(ge=2)] = 2,
        temperature: PositiveFloat = 1.0,
    ) -> None:
        super().__init__(encoder, tasks)
        self._copies, self._temperature = copies, temperature
        self._tree = ChosenParents()
        depth = len(encoder.layers)
        if depth:
            replace_layers(
                encoder, lambda place, layer: Branching(layer, place, copies, self._tree)
            )
        whole = [encoder] if depth else [copy.deepcopy(encoder) for _ in range(copies)]
        self._encoders = whole
        self.encoders = nn.ModuleList(whole)
        self.parents = nn.ParameterList(
            nn.Parameter(_LEANING * torch.eye(copies)) for _ in range(depth - 1)
        )
        self.branches = nn.ParameterDict(
            {
                task: nn.Parameter(_LEANING * torch.eye(copies)[place % copies])
                for place, task in enumerate(tasks)
            }
        )

    @override
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        task_rows = TaskRows.of(rows)
        self._tree.parents = [self._choose(logits_CC) for logits_CC in self.parents]
        # Copies of layers go through the encoder side by side, as more rows.
        candidates = (
            [encoder(inputs) for encoder in self._encoders]
            if len(self._encoders) > 1
            else encode_beside(self._encoders[0], inputs, self._copies)
        )
        tokens_BLCD = torch.stack([each.tokens_BLD for each in candidates], dim=2)
        branches_tC = torch.stack([self.branches[task] for task in task_rows.tasks])
        chosen_V1C = self._choose(branches_tC)[task_rows.place_V].unsqueeze(1).to(tokens_BLCD)
        tokens_VLD = mix(chosen_V1C, task_rows.take(tokens_BLCD))
        own = task_rows.select(candidates[0])
        return task_rows.split(replace(own, tokens_BLD=tokens_VLD))

    @override
    def encoder_of(self, task: str) -> Encoder:
        return self._encoders[self.tasks.index(task) % len(self._encoders)]

    @override
    def observe(self) -> dict[str, float]:
        """Return for each task and layer the copy on its likeliest path, counted from 1."""
        found: dict[str, float] = {}
        for task in self.tasks:
            place = int(self.branches[task].argmax())
            found[f"branch/{task}/layer_{len(self.parents) + 1}"] = place + 1
            for layer, logits_CC in reversed([*enumerate(self.parents)]):
                place = int(logits_CC[place].argmax())
                found[f"branch/{task}/layer_{layer + 1}"] = place + 1
        return found

    def _choose(self, logits_C: Tensor) -> Tensor:
        return choose(logits_C, self._temperature, by_chance=self.training)


@dataclass
class ChosenParents:
    """The choices of the current forward pass.

    :param parents: For each layer but the first, the copy below that each copy reads: one-hot, CC.
    """

    parents: list[Tensor] = field(default_factory=list)


class Branching(LayerCopies):
    """Copies of a layer side by side; rows of the first copy come first, then of the second.

    :param place: Position of the layer in the encoder.
    :param copies: C.
    """

    def __init__(self, layer: nn.Module, place: int, copies: int, tree: ChosenParents) -> None:
        super().__init__(layer, [f"copy_{number + 1}" for number in range(copies)])
        self._place, self._tree = place, tree

    def forward(self, hidden_XLD: Tensor, *arguments: Any, **named: Any) -> Any:
        """Run each copy on the hidden states of its parent."""
        layers = [*self.copies.values()]
        hidden_CBLD = hidden_XLD.unflatten(0, (len(layers), -1))
        if self._place:
            hidden_CBLD = select_parents(self._tree.parents[self._place - 1], hidden_CBLD)
        rows = hidden_CBLD.shape[1]
        arguments = (hidden_CBLD.flatten(0, 1), *arguments)
        return side_by_side(layers, [rows] * len(layers), arguments, named)


def select_parents(parents_CC: Tensor, hidden_CBLD: Tensor) -> Tensor:
    """Return for each copy the hidden states of its parent."""
    # A sum of products and not an index, so that choices get a gradient.
    return (parents_CC[:, :, None, None, None].to(hidden_CBLD) * hidden_CBLD).sum(1)
