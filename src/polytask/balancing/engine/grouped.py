"""Task gradients from one backward pass for all tasks, if every row is read by one task.

Without batch statistics, rows do not affect each other. So one pass for all tasks brings to each
layer everything from which the gradient of every task is formed; see ``layers``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from typing_extensions import override

from polytask.balancing.engine.base import (
    TaskGradients,
    TaskLosses,
    add_gradients,
    differentiate,
    inner_products,
    sum_rows,
)
from polytask.balancing.engine.layers import Layer, LayerPass, index_rows, make_layer
from polytask.balancing.engine.recorder import Recorder
from polytask.core import graph
from polytask.core.partition import Partition

_ROOM = 2
"""Gradients of a layer are kept if they are at most this many times as large as its activations."""


class GroupedGradients(TaskGradients):
    """Gradients of all tasks, formed layer by layer from one backward pass.

    Inner products are summed over layers. The gradients of a layer are kept for the weighted sum if
    they are small, and formed again otherwise.

    :param trial: Leave graph and recorder as they were.
    """

    layout = "sorted"

    def __init__(self, recorder: Recorder | None = None, *, trial: bool = False) -> None:
        super().__init__(recorder)
        self._recorder, self._trial = recorder, trial
        self._passes: dict[nn.Module, list[LayerPass]] = {}
        self._kept: list[tuple[Layer, Tensor]] = []
        self._others: list[Layer] = []
        self.dtypes: set[torch.dtype] = set()
        """The dtypes in which the layers compute."""

    @override
    def add(self, losses: TaskLosses, partition: Partition) -> None:
        shared = {id(parameter) for parameter in partition.shared}
        assert self._recorder is not None
        calls = [
            call
            for call in self._recorder.take(graph.trace(losses.values), keep=self._trial)
            if any(id(parameter) in shared for parameter in call.module.parameters())
        ]
        edges = [call.edge for call in calls]
        private = [*map(get_gradient_edge, partition.private)]
        if not (edges or private):
            return  # compiled layers are not recorded
        # Differentiating by the outputs of layers forms no gradients of shared parameters at all.
        wanted = [*edges, *private]
        found = differentiate(losses.values, losses.scale_t, wanted, keep=self._trial)
        add_gradients(partition.private, found[len(edges) :])
        rows = dict(zip(losses.tasks, map(index_rows, losses.rows), strict=True))
        for call, grad_output in zip(calls, found, strict=False):
            if grad_output is not None:
                self.dtypes.add(grad_output.dtype)
                each = LayerPass(call.inputs, grad_output, rows)
                self._passes.setdefault(call.module, []).append(each)

    @override
    def gramian(self, tasks: Sequence[int]) -> Tensor:
        gramian_tt = torch.zeros(len(tasks), len(tasks))
        while self._passes:
            # Popped, so that the activations of a layer are freed before the next is formed.
            module, passes = self._passes.popitem()
            layer = make_layer(module, passes)
            rows_tp = layer.gradients(tasks)
            gramian_tt = gramian_tt.to(rows_tp.device) + inner_products(rows_tp)
            source = sum(each.inputs.numel() + each.grad_output.numel() for each in passes)
            if rows_tp.numel() <= _ROOM * source:
                layer.passes = ()  # frees the activations
                self._kept.append((layer, rows_tp))
            else:
                self._others.append(layer)
        return gramian_tt

    @override
    def weigh(self, weights_t: Tensor, tasks: Sequence[int], partition: Partition) -> None:
        for layer, rows_tp in self._kept:
            layer.write(sum_rows(weights_t, rows_tp))
        weights = dict(zip(tasks, weights_t, strict=True))
        for layer in self._others:
            layer.write(layer.weigh(weights))

    @override
    def forget(self) -> None:
        self._passes = {}
        self._kept, self._others = [], []
