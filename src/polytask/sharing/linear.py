"""The linear layers inside an encoder's layers: where low-rank terms are added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.sharing.layers import hidden_layers


@dataclass(frozen=True)
class Linear:
    """A linear layer of an encoder.

    :param name: Its name inside the encoder.
    :param place: Its name inside its layer; layers of one kind have the same ones.
    :param module: An ``nn.Linear``, or the transposed one of GPT-2.
    """

    name: str
    place: str
    module: nn.Module

    @property
    def is_transposed(self) -> bool:
        """Whether its weight is (inner, outer) and not (outer, inner)."""
        from transformers.pytorch_utils import Conv1D  # slow

        return isinstance(self.module, Conv1D)

    @property
    def widths(self) -> tuple[int, int]:
        """Width of what goes in, and of what comes out."""
        outer, inner = self.module.get_parameter("weight").shape
        return (outer, inner) if self.is_transposed else (inner, outer)


def linear_layers(encoder: Encoder) -> list[Linear]:
    """All of them, in order; empty for encoders that are made of other things."""
    from transformers.pytorch_utils import Conv1D  # slow

    names = {id(module): name for name, module in encoder.named_modules()}
    return [
        Linear(names[id(module)], place, module)
        for layer in hidden_layers(encoder)
        for place, module in layer.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    ]


def chosen(encoder: Encoder, targets: Sequence[str]) -> list[Linear]:
    """The linear layers whose names end in one of the targets; all of them if there are none.

    :raises RecipeError: If a target is the end of no name.
    """
    every = linear_layers(encoder)
    unknown = [target for target in targets if not any(_ends(each, target) for each in every)]
    if unknown:
        places = sorted({each.place for each in every})
        there = f"Known: {', '.join(places)}." if places else "It has no linear layers."
        raise RecipeError(
            [
                f"sharing.targets: no linear layer of this encoder is called {target!r}. {there}"
                for target in unknown
            ]
        )
    return [each for each in every if not targets or any(_ends(each, end) for end in targets)]


def _ends(linear: Linear, target: str) -> bool:
    return f".{linear.name}".endswith(f".{target}")
