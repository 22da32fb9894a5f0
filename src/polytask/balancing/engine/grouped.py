"""One backward pass for all tasks, where every row is read by one task.

Rows do not touch each other in a network without batch statistics. So one fused pass brings, to
each layer, what the gradient of every task is formed from; see ``layers``.
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
    inner_products,
    weighted_sum,
)
from polytask.balancing.engine.layers import Layer, LayerPass, layer_of, taking
from polytask.balancing.engine.recorder import Recorder
from polytask.core import graph
from polytask.core.partition import Partition

_ROOM = 2
"""Gradients are kept where they are at most this much larger than what they are formed from."""


class GroupedGradients(TaskGradients):
    """Forms the gradients of all tasks layer by layer, from one backward pass.

    Inner products are added up at each layer. Its gradients are kept where they are small, and else
    formed again for the weighted sum.

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
        """The types that its layers compute in."""

    @override
    def add(self, losses: TaskLosses, partition: Partition) -> None:
        shared = {id(parameter) for parameter in partition.shared}
        assert self._recorder is not None
        calls = [
            call
            for call in self._recorder.take(graph.reach(losses.values), keep=self._trial)
            if any(id(parameter) in shared for parameter in call.module.parameters())
        ]
        edges = [call.edge for call in calls]
        private = [*map(get_gradient_edge, partition.private)]
        if not (edges or private):
            return  # compiled layers are not seen
        seeds = [s.to(loss) for s, loss in zip(losses.scale_t, losses.values, strict=True)]
        found = torch.autograd.grad(
            losses.values, [*edges, *private], seeds,
            retain_graph=self._trial, allow_unused=True,
        )  # fmt: skip
        add_gradients(partition.private, found[len(edges) :])
        rows = dict(zip(losses.tasks, map(taking, losses.rows), strict=True))
        for call, returned in zip(calls, found, strict=False):
            if returned is not None:
                self.dtypes.add(returned.dtype)
                each = LayerPass(call.given, returned, rows)
                self._passes.setdefault(call.module, []).append(each)

    @override
    def gramian(self, tasks: Sequence[int]) -> Tensor:
        gramian_tt = torch.zeros(len(tasks), len(tasks))
        while self._passes:
            module, passes = self._passes.popitem()
            layer = layer_of(module, passes)
            rows_tp = layer.gradients(tasks)
            gramian_tt = gramian_tt.to(rows_tp.device) + inner_products(rows_tp)
            source = sum(each.given.numel() + each.returned.numel() for each in passes)
            if rows_tp.numel() <= _ROOM * source:
                layer.passes = ()
                self._kept.append((layer, rows_tp))
            else:
                self._others.append(layer)
        return gramian_tt

    @override
    def weigh(self, weights_t: Tensor, tasks: Sequence[int], partition: Partition) -> None:
        for layer, rows_tp in self._kept:
            layer.write(weighted_sum(weights_t, rows_tp))
        weights = dict(zip(tasks, weights_t, strict=True))
        for layer in self._others:
            layer.write(layer.weighed(weights))

    @override
    def forget(self) -> None:
        self._passes = {}
        self._kept, self._others = [], []
