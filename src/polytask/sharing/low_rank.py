"""Low-rank terms beside the linear layers of an encoder: the base of all kinds of LoRA.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, section 4.1:
h = W x + (alpha / rank) B A x, B starting at zero. https://arxiv.org/abs/2106.09685

Hooks add terms to the outputs of linear layers, so that the parameters of the encoder keep their
names. In an encoder without linear layers, such as a recurrent one, terms are added to the hidden
states: h + (alpha / rank) B A h.
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
from polytask.sharing.peft_base import PeftArchitecture
from polytask.sharing.sublayers import Linear, select_linear_layers

Share = Annotated[float, Field(ge=0, lt=1)]


class Term(nn.Module, ABC):
    """Base of the terms that are added to the output of one linear layer.

    :param scale: The factor alpha / rank.
    :param dropout: Share of the input that is dropped in training.
    """

    def __init__(self, scale: float, dropout: float) -> None:
        super().__init__()
        self.scale = scale
        self.dropout = nn.Dropout(dropout)

    @abstractmethod
    def add(self, output_VLO: Tensor, given_VLI: Tensor) -> Tensor:
        """Return the output plus the term."""

    @override
    def forward(self, output: Tensor, given: Tensor) -> Tensor:
        """Return the output plus the term, for rows with any number of dimensions of tokens."""
        rows = len(output)
        given_VLI = self.dropout(given).reshape(rows, -1, given.shape[-1])
        return self.add(output.reshape(rows, -1, output.shape[-1]), given_VLI).view_as(output)


class FoldableTerm(Term):
    """Base of the terms that are a change of the weight, for a given task."""

    @abstractmethod
    def change_of(self, task: str) -> Tensor:
        """Return the change of the weight, change_OI."""


class LowRank(PeftArchitecture):
    """Base of architectures that add low-rank terms to linear layers.

    :param rank: Rank of a term.
    :param alpha: A term is multiplied by alpha / rank.
    :param dropout: Share of the input of a term that is dropped in training.
    :param targets: Ends of the names of the linear layers that get a term, such as ``query``. By
        default, all linear layers inside layers get one.
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
        self._linear = select_linear_layers(encoder, targets)
        self._handles: list[RemovableHandle] = []
        self.prepare()
        if self._linear:
            terms = {each.name: self.new_term(*each.widths) for each in self._linear}
            self.terms = nn.ModuleDict({_key(name): term for name, term in terms.items()})
            self._attach()
        else:
            self.terms = nn.ModuleDict()
            for place, layer in enumerate(hidden_layers(encoder)):
                term = self.terms[str(place)] = self.new_term(encoder.width, encoder.width)
                change_output(layer, partial(_add_to_hidden, term))

    def prepare(self) -> None:
        """Create the parts that the terms share; called before the first ``new_term``."""

    @abstractmethod
    def new_term(self, inner: int, outer: int) -> Term:
        """Return a new term for a linear layer of these widths."""

    def linear_terms(self) -> list[tuple[Linear, Term]]:
        """Return the linear layers that have a term, with the term."""
        found = [(linear, self.terms[_key(linear.name)]) for linear in self._linear]
        return [(linear, term) for linear, term in found if isinstance(term, Term)]

    def _attach(self) -> None:
        for linear in self._linear:
            hook = partial(_add_term, self.terms[_key(linear.name)])
            self._handles.append(linear.module.register_forward_hook(hook))


class FoldableLowRank(LowRank):
    """Base of architectures whose terms can be merged into the weights, for a given task."""

    @torch.no_grad()
    def merge(self, task: str) -> Encoder:
        """Return a copy of the encoder with the terms of a task added to its weights.

        :raises RecipeError: If the encoder has no linear layers.
        """
        if not self._linear:
            raise RecipeError(
                [
                    "sharing: this encoder has no linear layers; low-rank terms are added to its "
                    "hidden states, and cannot be merged into weights"
                ]
            )
        # Without hooks while it is copied: the copy would add the terms a second time.
        while self._handles:
            self._handles.pop().remove()
        merged = copy.deepcopy(self.encoder)
        self._attach()
        for linear, term in self.linear_terms():
            assert isinstance(term, FoldableTerm)
            change_OI = term.change_of(task)
            weight = merged.get_submodule(linear.name).get_parameter("weight")
            weight.add_(change_OI.T if linear.is_transposed else change_OI)
        return merged


def new_down(inner: int, rank: int) -> nn.Parameter:
    """Return a private matrix A (rank, inner) with the initial values of ``nn.Linear``."""
    return nn.Parameter(nn.init.kaiming_uniform_(torch.empty(rank, inner), a=math.sqrt(5)))


def zero_up(rank: int, outer: int) -> nn.Linear:
    """Return a shared matrix B of zeros, so that a term is zero before the first update."""
    up = nn.Linear(rank, outer, bias=False)
    nn.init.zeros_(up.weight)
    return up


def _key(name: str) -> str:
    """Return the name of a module without dots, which ``ModuleDict`` does not allow."""
    return name.replace(".", "/")


def _add_term(
    term: nn.Module, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> Tensor:
    result: Tensor = term(output, inputs[0])
    return result


def _add_to_hidden(term: nn.Module, hidden_VLD: Tensor) -> Tensor:
    result: Tensor = term(hidden_VLD, hidden_VLD)
    return result
