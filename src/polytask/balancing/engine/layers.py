"""Inputs and output gradients of layers, and the parameter gradients formed from them.

If a layer treats every row by itself, a task's gradient depends only on the inputs and output
gradients of the task's rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor, nn
from typing_extensions import override

from polytask.balancing.engine.base import add_gradients, split_like
from polytask.balancing.engine.recorder import Kind, kind_of

Rows: TypeAlias = slice | Tensor
"""Rows of a batch as an index."""


def index_rows(rows_b: Tensor) -> Rows:
    """Return ascending rows as an index: a slice, which copies nothing, if they are contiguous."""
    first, last = int(rows_b[0]), int(rows_b[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows_b) else rows_b


@dataclass(frozen=True)
class LayerPass:
    """One use of a layer by a batch of B rows.

    :param inputs: The input of the layer.
    :param grad_output: The gradient of the layer's output.
    :param rows: The rows of every task present.
    """

    inputs: Tensor
    grad_output: Tensor
    rows: Mapping[int, Rows]

    def select(self, task: int) -> tuple[Tensor, Tensor]:
        """Return inputs and output gradients of the rows of one task."""
        rows = self.rows[task]
        return self.inputs[rows], self.grad_output[rows]

    def cast_inputs(self) -> LayerPass:
        """Return this pass with inputs in the dtype of the output, as autocast computes it."""
        return replace(self, inputs=self.inputs.to(self.grad_output.dtype))

    def weigh(self, weights: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the inputs of all rows, and output gradients times the weights of their tasks."""
        weights_B = self.grad_output.new_zeros(len(self.grad_output))
        for task, rows in self.rows.items():
            weights_B[rows] = weights[task].to(weights_B)
        return self.inputs, self.grad_output * weights_B.view(
            -1, *[1] * (self.grad_output.ndim - 1)
        )


class Layer(ABC):
    """A layer with its passes of one step.

    :param module: The module of the layer.
    :param passes: The uses of the layer in this step.
    """

    def __init__(self, module: nn.Module, passes: Sequence[LayerPass]) -> None:
        self.module, self.passes = module, passes
        trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.names, self.parameters = [*trained], [*trained.values()]

    @abstractmethod
    def form(self, inputs: Tensor, grad_output: Tensor, out: Sequence[Tensor]) -> None:
        """Write the gradient of each trained parameter.

        :param inputs: Inputs of the rows of a task.
        :param grad_output: Output gradients of these rows, with all dimensions but the last as one.
        :param out: The tensors to write to, one for each of ``names``.
        """

    def gradients(self, tasks: Sequence[int]) -> Tensor:
        """Return the gradients of ``tasks``, rows_tp."""
        rows_tp = self.empty(len(tasks))
        for row_p, task in zip(rows_tp, tasks, strict=True):
            self._fill(row_p, [each.select(task) for each in self.passes if task in each.rows])
        return rows_tp

    def weigh(self, weights: Mapping[int, Tensor]) -> Tensor:
        """Return the weighted sum of the gradients of all tasks, row_p."""
        row_p = self.empty(1)[0]
        self._fill(row_p, [each.weigh(weights) for each in self.passes])
        return row_p

    def empty(self, rows: int) -> Tensor:
        """Return an uninitialised buffer for rows of gradients."""
        size = sum(parameter.numel() for parameter in self.parameters)
        return torch.empty(rows, size, device=self.parameters[0].device, dtype=self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        """The dtype of gradients: the layer's, or fp32 if several passes are summed."""
        return self.passes[0].grad_output.dtype if len(self.passes) == 1 else torch.float32

    def write(self, row_p: Tensor) -> None:
        """Add a gradient to ``.grad`` of the parameters."""
        add_gradients(self.parameters, self._split(row_p))

    def _fill(self, row_p: Tensor, parts: Sequence[tuple[Tensor, Tensor]]) -> None:
        if not parts:
            row_p.zero_()
        for place, (inputs, grad_output) in enumerate(parts):
            # ``form`` overwrites: only passes after the first need a second buffer and an addition.
            out_p = torch.empty_like(row_p) if place else row_p
            self.form(inputs, grad_output.flatten(0, -2), self._split(out_p))
            if place:
                row_p.add_(out_p)

    def _split(self, row_p: Tensor) -> list[Tensor]:
        return split_like(row_p, self.parameters)


class LinearLayer(Layer):
    """The layer of ``nn.Linear``: its gradient is a matrix product of output gradients and inputs."""

    def __init__(self, module: nn.Module, passes: Sequence[LayerPass]) -> None:
        super().__init__(module, [each.cast_inputs() for each in passes])

    @override
    def form(self, inputs: Tensor, grad_output: Tensor, out: Sequence[Tensor]) -> None:
        for name, piece in zip(self.names, out, strict=True):
            if name == "bias":
                torch.sum(grad_output, 0, dtype=piece.dtype, out=piece)
            else:
                self.multiply(inputs.flatten(0, -2), grad_output, piece)

    def multiply(self, inputs: Tensor, grad_output: Tensor, out: Tensor) -> None:
        """Write the gradient of the weight."""
        write_product(grad_output.T, inputs, out)


class TransposedLayer(LinearLayer):
    """The layer of ``Conv1D`` in transformers: a linear layer with a transposed weight."""

    @override
    def multiply(self, inputs: Tensor, grad_output: Tensor, out: Tensor) -> None:
        write_product(inputs.T, grad_output, out)


class VectorLayer(Layer):
    """A norm or a scale of any formula: the module is computed again and differentiated.

    Autocast computes norms in fp32, so the dtype is at least the parameters'.
    """

    @override
    @torch.enable_grad()
    def form(self, inputs: Tensor, grad_output: Tensor, out: Sequence[Tensor]) -> None:
        wide = torch.promote_types(inputs.dtype, self.parameters[0].dtype)
        # ``forward`` instead of a call: the recorder's hooks must not see this as another use.
        output = self.module.forward(inputs.to(wide))
        seeds = grad_output.view_as(output).to(output)
        formed = torch.autograd.grad(output, self.parameters, seeds)
        for piece, gradient in zip(out, formed, strict=True):
            piece.copy_(gradient)


class EmbeddingLayer(Layer):
    """The layer of ``nn.Embedding``, with gradients of the U looked-up rows of the table only."""

    def __init__(self, module: nn.Module, passes: Sequence[LayerPass]) -> None:
        super().__init__(module, passes)
        assert isinstance(module, nn.Embedding)
        self._padding = module.padding_idx
        self._width = module.embedding_dim
        self._used_U = torch.cat([each.inputs.flatten() for each in passes]).unique()

    @override
    def empty(self, rows: int) -> Tensor:
        size = len(self._used_U) * self._width
        return torch.empty(rows, size, device=self.parameters[0].device, dtype=self._dtype)

    @override
    def form(self, inputs: Tensor, grad_output: Tensor, out: Sequence[Tensor]) -> None:
        places_n = torch.searchsorted(self._used_U, inputs.flatten())
        # Frequent tokens add up many terms, which half precision would lose.
        gradient_UD = grad_output.new_zeros(len(self._used_U), self._width, dtype=torch.float32)
        gradient_UD.index_add_(0, places_n, grad_output.float())
        if self._padding is not None:
            gradient_UD[self._used_U == self._padding] = 0  # as autograd does
        out[0].copy_(gradient_UD)

    @override
    def write(self, row_p: Tensor) -> None:
        [table] = self.parameters
        # Only looked-up rows are written: a dense gradient per layer would cost the whole table.
        if table.grad is None:
            table.grad = torch.zeros_like(table)
        table.grad.index_add_(0, self._used_U, row_p.view(-1, self._width).to(table.dtype))

    @override
    def _split(self, row_p: Tensor) -> list[Tensor]:
        return [row_p.view(-1, self._width)]


def write_product(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Write a matrix product to ``out``, without a copy if the dtypes are equal."""
    if left.dtype == out.dtype:
        torch.mm(left, right, out=out)
    else:
        out.copy_(left @ right)


LAYERS: Mapping[Kind, type[Layer]] = {
    "linear": LinearLayer,
    "linear_transposed": TransposedLayer,
    "embedding": EmbeddingLayer,
    "vectors": VectorLayer,
}


def make_layer(module: nn.Module, passes: Sequence[LayerPass]) -> Layer:
    """Return the layer of a module with its passes."""
    kind = kind_of(module)
    assert kind is not None
    return LAYERS[kind](module, passes)
