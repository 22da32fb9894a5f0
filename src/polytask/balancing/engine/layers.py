"""What layers give and get in a pass, and the gradients that are formed from it.

A layer that treats every row by itself has, as the gradient of a task, a function of what the
task's rows sent through it and of what came back to them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor, nn
from typing_extensions import override

from polytask.balancing.engine.base import add_gradients
from polytask.balancing.engine.recorder import Kind, kind_of

Rows: TypeAlias = slice | Tensor
"""Rows of a batch, as what takes them out of a tensor."""


def taking(rows_b: Tensor) -> Rows:
    """A slice if rows, ascending, follow each other: what it takes is not copied."""
    first, last = int(rows_b[0]), int(rows_b[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows_b) else rows_b


@dataclass(frozen=True)
class LayerPass:
    """One use of a layer by a batch of B rows.

    :param given: What went in.
    :param returned: The gradients of what came out.
    :param rows: Those of every task that is present.
    """

    given: Tensor
    returned: Tensor
    rows: Mapping[int, Rows]

    def of(self, task: int) -> tuple[Tensor, Tensor]:
        """What the rows of one task gave and got."""
        rows = self.rows[task]
        return self.given[rows], self.returned[rows]

    def converted(self) -> LayerPass:
        """The same, with what went in in the type of what came back, as autocast computes it."""
        return replace(self, given=self.given.to(self.returned.dtype))

    def weighed(self, weights: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
        """What all rows gave, and got times the weights of their tasks."""
        weights_B = self.returned.new_zeros(len(self.returned))
        for task, rows in self.rows.items():
            weights_B[rows] = weights[task].to(weights_B)
        return self.given, self.returned * weights_B.view(-1, *[1] * (self.returned.ndim - 1))


class Layer(ABC):
    """A layer with the passes of a step.

    :param module: The module that it stands for.
    :param passes: Its uses, in this step.
    """

    def __init__(self, module: nn.Module, passes: Sequence[LayerPass]) -> None:
        self.module, self.passes = module, passes
        trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.names, self.parameters = [*trained], [*trained.values()]

    @abstractmethod
    def form(self, given: Tensor, returned: Tensor, room: Sequence[Tensor]) -> None:
        """Write the gradient of each trained parameter, from the rows of some task.

        :param room: Where to, a tensor for each of ``names``.
        """

    def gradients(self, tasks: Sequence[int]) -> Tensor:
        """The gradients of some tasks, rows_tp."""
        rows_tp = self.empty(len(tasks))
        for row_p, task in zip(rows_tp, tasks, strict=True):
            self._fill(row_p, [each.of(task) for each in self.passes if task in each.rows])
        return rows_tp

    def weighed(self, weights: Mapping[int, Tensor]) -> Tensor:
        """The weighted sum of the gradients of all tasks, row_p."""
        row_p = self.empty(1)[0]
        self._fill(row_p, [each.weighed(weights) for each in self.passes])
        return row_p

    def empty(self, rows: int) -> Tensor:
        """Room for some rows of gradients."""
        size = sum(parameter.numel() for parameter in self.parameters)
        return torch.empty(rows, size, device=self.parameters[0].device, dtype=self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        """That in which gradients are formed, if they need not be added up."""
        return self.passes[0].returned.dtype if len(self.passes) == 1 else torch.float32

    def write(self, row_p: Tensor) -> None:
        """Add a gradient to ``.grad``."""
        add_gradients(self.parameters, self._pieces(row_p))

    def _fill(self, row_p: Tensor, parts: Sequence[tuple[Tensor, Tensor]]) -> None:
        if not parts:
            row_p.zero_()
        for place, (given, returned) in enumerate(parts):
            room_p = torch.empty_like(row_p) if place else row_p
            self.form(given, returned.flatten(0, -2), self._pieces(room_p))
            if place:
                row_p.add_(room_p)

    def _pieces(self, row_p: Tensor) -> list[Tensor]:
        pieces = row_p.split([parameter.numel() for parameter in self.parameters])
        return [piece.view_as(p) for piece, p in zip(pieces, self.parameters, strict=True)]


class LinearLayer(Layer):
    """``nn.Linear``."""

    def __init__(self, module: nn.Module, passes: Sequence[LayerPass]) -> None:
        super().__init__(module, [each.converted() for each in passes])

    @override
    def form(self, given: Tensor, returned: Tensor, room: Sequence[Tensor]) -> None:
        for name, piece in zip(self.names, room, strict=True):
            if name == "bias":
                torch.sum(returned, 0, dtype=piece.dtype, out=piece)
            else:
                self.multiply(given.flatten(0, -2), returned, piece)

    def multiply(self, given: Tensor, returned: Tensor, room: Tensor) -> None:
        """Write the gradient of the weight."""
        write_product(returned.T, given, room)


class TransposedLayer(LinearLayer):
    """``Conv1D`` of the transformers library: a linear layer with a weight of inputs by outputs."""

    @override
    def multiply(self, given: Tensor, returned: Tensor, room: Tensor) -> None:
        write_product(given.T, returned, room)


class VectorLayer(Layer):
    """A norm or a scale, of whatever formula: the module is computed again and differentiated.

    It is computed in the type of its parameters at least, and by itself: hooks are not called.
    """

    @override
    @torch.enable_grad()
    def form(self, given: Tensor, returned: Tensor, room: Sequence[Tensor]) -> None:
        wide = torch.promote_types(given.dtype, self.parameters[0].dtype)
        output = self.module.forward(given.to(wide))
        seeds = returned.view_as(output).to(output)
        formed = torch.autograd.grad(output, self.parameters, seeds)
        for piece, gradient in zip(room, formed, strict=True):
            piece.copy_(gradient)


class EmbeddingLayer(Layer):
    """``nn.Embedding``; only rows of the table that were looked up take part."""

    def __init__(self, module: nn.Module, passes: Sequence[LayerPass]) -> None:
        super().__init__(module, passes)
        assert isinstance(module, nn.Embedding)
        self._padding = module.padding_idx
        self._width = module.embedding_dim
        self._used_U = torch.cat([each.given.flatten() for each in passes]).unique()

    @override
    def empty(self, rows: int) -> Tensor:
        size = len(self._used_U) * self._width
        return torch.empty(rows, size, device=self.parameters[0].device, dtype=self._dtype)

    @override
    def form(self, given: Tensor, returned: Tensor, room: Sequence[Tensor]) -> None:
        places_n = torch.searchsorted(self._used_U, given.flatten())
        gradient_UD = returned.new_zeros(len(self._used_U), self._width, dtype=torch.float32)
        gradient_UD.index_add_(0, places_n, returned.float())
        if self._padding is not None:
            gradient_UD[self._used_U == self._padding] = 0
        room[0].copy_(gradient_UD)

    @override
    def write(self, row_p: Tensor) -> None:
        [table] = self.parameters
        if table.grad is None:
            table.grad = torch.zeros_like(table)
        table.grad.index_add_(0, self._used_U, row_p.view(-1, self._width).to(table.dtype))

    @override
    def _pieces(self, row_p: Tensor) -> list[Tensor]:
        return [row_p.view(-1, self._width)]


def write_product(left: Tensor, right: Tensor, room: Tensor) -> None:
    """Write a matrix product, without a copy where it is of the type that is to be written."""
    if left.dtype == room.dtype:
        torch.mm(left, right, out=room)
    else:
        room.copy_(left @ right)


LAYERS: Mapping[Kind, type[Layer]] = {
    "linear": LinearLayer,
    "linear_transposed": TransposedLayer,
    "embedding": EmbeddingLayer,
    "vectors": VectorLayer,
}


def layer_of(module: nn.Module, passes: Sequence[LayerPass]) -> Layer:
    """What forms the gradients of a module."""
    kind = kind_of(module)
    assert kind is not None
    return LAYERS[kind](module, passes)
