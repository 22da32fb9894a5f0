"""Low-rank terms beside the linear layers of an encoder: what the kinds of LoRA have in common.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, section 4.1:
h = W x + (alpha / rank) B A x, B starting at zero. https://arxiv.org/abs/2106.09685

Terms are added to the outputs of linear layers by hooks, so that the parameters of the encoder keep
their names. An encoder without linear layers, as a recurrent one, has its hidden states in their
place: h + (alpha / rank) B A h.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.sharing.layers import change_output, hidden_layers
from polytask.sharing.linear import chosen
from polytask.sharing.peft_base import Tuned

Share = Annotated[float, Field(ge=0, lt=1)]


class Term(nn.Module, ABC):
    """What is added to the output of one linear layer.

    :param scale: alpha / rank.
    :param dropout: Share of the numbers of the input that are dropped in training.
    """

    def __init__(self, scale: float, dropout: float) -> None:
        super().__init__()
        self.scale = scale
        self.dropout = nn.Dropout(dropout)

    @abstractmethod
    def add(self, output_VLO: Tensor, given_VLI: Tensor) -> Tensor:
        """The output with the term."""

    @override
    def forward(self, output: Tensor, given: Tensor) -> Tensor:
        """The same, where rows may have no tokens, or tokens in several dimensions."""
        rows = len(output)
        given_VLI = self.dropout(given).reshape(rows, -1, given.shape[-1])
        return self.add(output.reshape(rows, -1, output.shape[-1]), given_VLI).view_as(output)


class FoldableTerm(Term):
    """One that is, for a task, a change of the weight."""

    @abstractmethod
    def change_of(self, task: str) -> Tensor:
        """The change of the weight, change_OI."""


class LowRank(Tuned):
    """Base of architectures that add low-rank terms to linear layers.

    :param rank: Rank of a term.
    :param alpha: A term counts alpha / rank.
    :param dropout: Share of the numbers that go into a term dropped in training.
    :param targets: Ends of the names of the linear layers that get a term, as ``query``; all of
        those inside layers by default.
    """

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        rank: PositiveInt = 8,
        alpha: PositiveFloat = 16.0,
        dropout: Share = 0.0,
        targets: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        super().__init__(encoder, tasks, **options)
        self.rank = rank
        self.scale = alpha / rank
        self.drop = dropout
        self._linear = chosen(encoder, targets)
        self._handles: list[RemovableHandle] = []
        self.prepare()
        if self._linear:
            terms = {each.name: self.new_term(*each.widths) for each in self._linear}
            self.terms = nn.ModuleDict({_key(name): term for name, term in terms.items()})
            self._attach()
        else:
            self.terms = nn.ModuleDict(self._on_hidden_states())

    def prepare(self) -> None:
        """Create what the terms have in common."""

    @abstractmethod
    def new_term(self, inner: int, outer: int) -> Term:
        """The term of a linear layer of these widths."""

    def _attach(self) -> None:
        for linear in self._linear:
            hook = partial(_added, self.terms[_key(linear.name)])
            self._handles.append(linear.module.register_forward_hook(hook))

    def _detach(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _on_hidden_states(self) -> dict[str, Term]:
        terms = {}
        for place, layer in enumerate(hidden_layers(self.encoder)):
            term = terms[str(place)] = self.new_term(self.encoder.width, self.encoder.width)
            change_output(layer, partial(_added_to_itself, term))
        return terms


class FoldableLowRank(LowRank):
    """Base of those whose terms are, for a task, a change of the weights."""

    @torch.no_grad()
    def merge(self, task: str) -> Encoder:
        """A copy of the encoder with the terms of a task added to its weights.

        :raises RecipeError: If there are no weights that they can be added to.
        """
        if not self._linear:
            raise RecipeError(
                [
                    "sharing: this encoder has no linear layers; low-rank terms are added to its "
                    "hidden states, and cannot be merged into weights"
                ]
            )
        self._detach()
        merged = copy.deepcopy(self.encoder)
        self._attach()
        for linear in self._linear:
            term = self.terms[_key(linear.name)]
            assert isinstance(term, FoldableTerm)
            change_OI = term.change_of(task)
            weight = merged.get_submodule(linear.name).get_parameter("weight")
            weight.add_(change_OI.T if linear.is_transposed else change_OI)
        return merged


def new_down(inner: int, rank: int) -> nn.Parameter:
    """A matrix A (rank, inner) of a task of its own, with the initial values of ``nn.Linear``."""
    return nn.Parameter(nn.init.kaiming_uniform_(torch.empty(rank, inner), a=math.sqrt(5)))


def zero_up(rank: int, outer: int) -> nn.Linear:
    """A shared matrix B, so that a term is zero before the first update."""
    up = nn.Linear(rank, outer, bias=False)
    nn.init.zeros_(up.weight)
    return up


def _key(name: str) -> str:
    """A name of a module as a name without dots."""
    return name.replace(".", "/")


def _added(
    term: nn.Module, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> Tensor:
    result: Tensor = term(output, inputs[0])
    return result


def _added_to_itself(term: nn.Module, hidden_VLD: Tensor) -> Tensor:
    result: Tensor = term(hidden_VLD, hidden_VLD)
    return result
