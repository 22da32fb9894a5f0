"""Sees what goes through the layers of a model in a forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.compiler import is_compiling
from torch.nn import Parameter
from torch.utils._pytree import tree_leaves

from polytask.balancing.engine.factors import low_rank
from polytask.core import graph

Kind = Literal["linear", "linear_transposed", "embedding", "vectors"]

_KINDS: dict[str, Kind] = {
    "torch.nn.modules.linear.Linear": "linear",
    "transformers.pytorch_utils.Conv1D": "linear_transposed",
    "torch.nn.modules.sparse.Embedding": "embedding",
}
"""By their names, so that no library has to be loaded in order to look for its classes."""


def kind_of(module: nn.Module) -> Kind | None:
    """How the gradients of a module's own parameters can be formed; None if that is not known.

    Modules of vectors alone, without state or parts of their own, are norms and scales of one sort
    or another: there are dozens in the libraries, and all are cheap enough to be computed again.
    """
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    own = [*module.parameters(recurse=False)]
    if name in _KINDS or not own:
        return _KINDS.get(name)
    inner = [*module.children(), *module.buffers()]
    return "vectors" if not inner and all(parameter.ndim == 1 for parameter in own) else None


def _width(module: nn.Module) -> int:
    """The numbers that one token brings to a layer, and takes from it; 0 if it is not trained."""
    trained = [p for p in module.parameters() if p.requires_grad]
    if not trained:
        return 0
    if kind_of(module) == "vectors":
        return 2 * trained[0].numel()
    return sum(next(module.parameters()).shape[isinstance(module, nn.Embedding) :])


@dataclass(frozen=True)
class Call:
    """One use of a layer in a forward pass: what went in, and the edge of what came out."""

    module: nn.Module
    given: Tensor
    edge: GradientEdge


class Recorder:
    """Sees what goes through the layers of a model while it is trained.

    :param layers: Whether its layers are given hooks; else they are not seen at work.
    """

    def __init__(self, model: nn.Module, *, layers: bool = True) -> None:
        self.low_rank = low_rank(model)
        """The ids of its low-rank factors."""
        self._calls: list[Call] = []
        self._batch = 1
        self.trusted = False
        """Whether what is formed from what it sees has been compared with autograd's gradients."""
        self.width = 0
        """Numbers that go through trained layers, in and out, for each token of a step."""
        owners: dict[int, list[nn.Module]] = {}
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                owners.setdefault(id(parameter), []).append(module)
            if layers and any(isinstance(child, nn.Embedding) for child in module.children()):
                module.register_forward_pre_hook(self._enter, with_kwargs=True)
            if layers and kind_of(module):
                self.width += _width(module)
                module.register_forward_pre_hook(self._repeat)
                # First of all hooks, as others may change what the layer gave.
                module.register_forward_hook(self._record, prepend=True)
        self._seen = {
            parameter
            for parameter, modules in owners.items()
            if len(modules) == 1 and kind_of(modules[0])
        }

    def covers(self, parameters: Sequence[Parameter]) -> bool:
        """Whether the layers that are seen own all of some parameters, and each has one owner."""
        return self._seen.issuperset(map(id, parameters))

    def forget(self) -> None:
        """Let go of whatever was seen and not taken."""
        self._calls = []

    def take(self, masks: graph.Reach, *, keep: bool = False) -> list[Call]:
        """The calls that a graph contains; all others are forgotten.

        :param keep: Whether these are needed again.
        """
        found = [call for call in self._calls if call.edge.node in masks]
        self._calls = found if keep else []
        return [*found]

    def _enter(self, module: nn.Module, inputs: object, named: object) -> None:
        """Count the rows of what a module with embeddings is given."""
        given = [each for each in tree_leaves((inputs, named)) if isinstance(each, Tensor)]
        self._batch = max((len(each) for each in given if each.ndim > 1), default=1)

    def _repeat(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """Positions are often looked up once for all rows; here every row looks up its own."""
        if not (isinstance(module, nn.Embedding) and torch.is_grad_enabled()) or is_compiling():
            return None
        [given] = inputs
        return (given.expand(self._batch, *given.shape[1:]),) if len(given) == 1 else None

    def _record(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        usual = len(inputs) == 1 and isinstance(output, Tensor)
        if usual and not is_compiling() and output.requires_grad:
            call = Call(module, inputs[0].detach(), get_gradient_edge(output))
            self._calls.append(call)
