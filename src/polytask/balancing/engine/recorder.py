"""A record of the inputs and outputs of a model's layers in forward passes."""

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

from polytask.balancing.engine.factors import find_factors
from polytask.core import graph

Kind = Literal["linear", "linear_transposed", "embedding", "vectors"]

_KINDS: dict[str, Kind] = {
    "torch.nn.modules.linear.Linear": "linear",
    "transformers.pytorch_utils.Conv1D": "linear_transposed",
    "torch.nn.modules.sparse.Embedding": "embedding",
}
"""By name, so that no library is imported only to compare classes."""


def kind_of(module: nn.Module) -> Kind | None:
    """Return how the gradients of a module's direct parameters can be formed; None if unknown."""
    # Modules with vectors only, and without buffers or children, are norms and scales. Libraries
    # have dozens of them, and all are cheap enough to be computed again.
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    own = [*module.parameters(recurse=False)]
    if name in _KINDS or not own:
        return _KINDS.get(name)
    inner = [*module.children(), *module.buffers()]
    return "vectors" if not inner and all(parameter.ndim == 1 for parameter in own) else None


def _width(module: nn.Module) -> int:
    """Return the sizes of a layer's input and output per token, added up; 0 if it is frozen."""
    trained = [p for p in module.parameters() if p.requires_grad]
    if not trained:
        return 0
    if kind_of(module) == "vectors":
        return 2 * trained[0].numel()
    return sum(next(module.parameters()).shape[isinstance(module, nn.Embedding) :])


@dataclass(frozen=True)
class Call:
    """One use of a layer in a forward pass: its input, and the graph edge of its output."""

    module: nn.Module
    inputs: Tensor
    edge: GradientEdge


class Recorder:
    """The calls of a model's layers, recorded by hooks while it is trained.

    The hooks stay as long as the model. They hold the recorder but not the other way round: the
    recorder keeps no reference to the model, only the calls of one batch, which hold its modules.

    :param layers: Register the hooks; without them no calls are recorded.
    """

    def __init__(self, model: nn.Module, *, layers: bool = True) -> None:
        self.low_rank = find_factors(model)
        """The ids of the model's low-rank factors."""
        self._calls: list[Call] = []
        self._batch = 1
        self.is_trusted = False
        """Gradients formed from recorded calls have been compared with autograd's."""
        self.width = 0
        """Numbers that go into and out of trained layers per token."""
        owners: dict[int, list[nn.Module]] = {}
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                owners.setdefault(id(parameter), []).append(module)
            if layers and any(isinstance(child, nn.Embedding) for child in module.children()):
                module.register_forward_pre_hook(self._enter, with_kwargs=True)
            if layers and kind_of(module):
                self.width += _width(module)
                module.register_forward_pre_hook(self._repeat)
                # Before all other hooks, since they may replace the layer's output.
                module.register_forward_hook(self._record, prepend=True)
        self._seen = {
            parameter
            for parameter, modules in owners.items()
            if len(modules) == 1 and kind_of(modules[0])
        }

    def covers(self, parameters: Sequence[Parameter]) -> bool:
        """Return whether recorded layers own all parameters, each of them by one layer only."""
        return self._seen.issuperset(map(id, parameters))

    def forget(self) -> None:
        """Drop the recorded calls, and with them the graphs that they keep alive."""
        self._calls = []

    def take(self, masks: graph.Reach, *, keep: bool = False) -> list[Call]:
        """Return the calls that a graph contains, and drop all others.

        :param keep: Keep the returned calls for another time.
        """
        # Forward passes without a loss, such as a teacher's, leave calls outside of the graph.
        found = [call for call in self._calls if call.edge.node in masks]
        self._calls = found if keep else []
        return [*found]

    def _enter(self, module: nn.Module, inputs: object, named: object) -> None:
        """Note the number of rows given to a module with embeddings."""
        given = [each for each in tree_leaves((inputs, named)) if isinstance(each, Tensor)]
        self._batch = max((len(each) for each in given if each.ndim > 1), default=1)

    def _repeat(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """Give every row its own position ids, which models often look up once for all rows."""
        if not (isinstance(module, nn.Embedding) and torch.is_grad_enabled()) or is_compiling():
            return None
        # Otherwise gradients of all rows are summed in one row before any hook could separate them.
        [given] = inputs
        return (given.expand(self._batch, *given.shape[1:]),) if len(given) == 1 else None

    def _record(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        usual = len(inputs) == 1 and isinstance(output, Tensor)
        if usual and not is_compiling() and output.requires_grad:
            # The edge holds the graph, and not the output tensor: activations are not kept twice.
            self._calls.append(Call(module, inputs[0].detach(), get_gradient_edge(output)))
