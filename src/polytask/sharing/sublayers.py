"""The modules inside an encoder's layers: linear layers, ends of sub-layers, and norms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.sharing.layers import hidden_layers

_ATTENTION_INPUT = re.compile(r"(^|_)(q|k|v|query|key|value)(_|$)")


@dataclass(frozen=True)
class Linear:
    """A linear layer of an encoder.

    :param name: Its name inside the encoder.
    :param place: Its name inside its layer; layers of one kind have the same names.
    :param module: An ``nn.Linear``, or the transposed ``Conv1D`` of GPT-2.
    """

    name: str
    place: str
    module: nn.Module

    @property
    def is_transposed(self) -> bool:
        """True if the weight is (inner, outer) and not (outer, inner)."""
        from transformers.pytorch_utils import Conv1D  # slow

        return isinstance(self.module, Conv1D)

    @property
    def widths(self) -> tuple[int, int]:
        """The widths of the input and of the output."""
        outer, inner = self.module.get_parameter("weight").shape
        return (outer, inner) if self.is_transposed else (inner, outer)

    def is_called(self, target: str) -> bool:
        """Return True if the name ends in these parts."""
        return f".{self.name}".endswith(f".{target}")


def linear_layers(encoder: Encoder) -> list[Linear]:
    """Return the linear layers inside the layers of an encoder, in order; there may be none."""
    from transformers.pytorch_utils import Conv1D  # slow

    names = {id(module): name for name, module in encoder.named_modules()}
    return [
        Linear(names[id(module)], place, module)
        for layer in hidden_layers(encoder)
        for place, module in layer.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    ]


def select_linear_layers(encoder: Encoder, targets: Sequence[str]) -> list[Linear]:
    """Return the linear layers whose names end in one of the targets; all if there are no targets.

    :raises RecipeError: If no name ends in a target.
    """
    every = linear_layers(encoder)
    unknown = [target for target in targets if not any(each.is_called(target) for each in every)]
    if unknown:
        places = sorted({each.place for each in every})
        there = f"Known: {', '.join(places)}." if places else "It has no linear layers."
        raise RecipeError(
            [
                f"sharing.targets: no linear layer of this encoder is called {target!r}. {there}"
                for target in unknown
            ]
        )
    return [each for each in every if not targets or any(map(each.is_called, targets))]


def sublayer_outputs(encoder: Encoder) -> list[Sequence[nn.Module]]:
    """Return for each layer the modules whose output it adds to its hidden states, first to last.

    These are its linear layers with the width of hidden states, without projections to queries, keys
    and values. A layer without such modules, such as a recurrent one, stands for itself.
    """
    every = linear_layers(encoder) if encoder.layers else []
    found: list[Sequence[nn.Module]] = []
    for layer in encoder.layers:
        inside = {id(module) for module in layer.modules()}
        own = [e for e in every if id(e.module) in inside and _ends_sublayer(e, encoder.width)]
        found.append([each.module for each in own] or [layer])
    return found or [[encoder]]


def norms(encoder: Encoder) -> list[nn.Module]:
    """Return the norms of hidden states inside layers."""
    # By name: models of transformers have their own classes, such as ``LlamaRMSNorm``. The width
    # leaves out norms of single attention heads.
    return [
        module
        for layer in hidden_layers(encoder)
        for module in layer.modules()
        if type(module).__name__.endswith("Norm")
        and getattr(getattr(module, "weight", None), "shape", None) == (encoder.width,)
    ]


def _ends_sublayer(linear: Linear, width: int) -> bool:
    *_, last = linear.place.split(".")
    return linear.widths[1] == width and not _ATTENTION_INPUT.search(last)
