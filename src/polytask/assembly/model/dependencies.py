"""Which parameters the outputs of tasks depend on, and whether two models give the same outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from polytask.core import graph
from polytask.core.batch import Fields
from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.texts import collate_texts
from polytask.modeling import MultiTaskModel


def probe_inputs(encoder: Encoder, rows: Sequence[Fields]) -> Collated:
    """Return a few rows as a batch of B."""
    return collate_texts(encoder.prepare(rows), encoder.collate)


def find_reached(model: MultiTaskModel, inputs: Collated, tasks: Iterable[str]) -> set[str]:
    """Names of the parameters that the outputs of tasks depend on, frozen ones included.

    Each task goes through the model alone: rows of several may be in one tensor. It does so in
    both modes, as what is chosen by a maximum when predicting is mostly weighted when training.

    :param inputs: Collated inputs of B rows.
    """
    found: set[int] = set()
    with _all_trainable(model):
        for mode in (True, False):
            model.train(mode)
            for task in tasks:
                head = model.heads[model.tasks[task].head_key]
                found |= _leaves(_features(model, inputs, task)) | {*map(id, head.parameters())}
    named = model.named_parameters(remove_duplicate=False)
    return {name for name, parameter in named if id(parameter) in found}


def with_tied(model: nn.Module, names: Collection[str]) -> set[str]:
    """Names of parameters and buffers, and all other names of the same parameters."""
    named = [*model.named_parameters(remove_duplicate=False)]
    meant = {id(parameter) for name, parameter in named if name in names}
    return {*names, *(name for name, parameter in named if id(parameter) in meant)}


@torch.no_grad()
def find_differing(
    one: MultiTaskModel, other: MultiTaskModel, inputs: Collated, tasks: Iterable[str]
) -> list[str]:
    """Return the tasks whose heads read other features in one model than in the other, in any bit."""
    one.eval()
    other.eval()
    return [
        task
        for task in tasks
        if not torch.equal(_features(one, inputs, task), _features(other, inputs, task))
    ]


def _features(model: MultiTaskModel, inputs: Collated, task: str) -> Tensor:
    rows_B = torch.arange(inputs.size)
    return model.features(inputs, {task: rows_B})[task].tokens_BLD


def _leaves(tokens_BLD: Tensor) -> set[int]:
    return {id(leaf) for leaf, _ in graph.find_leaves(graph.trace([tokens_BLD.sum()]))}


@contextlib.contextmanager
def _all_trainable(model: nn.Module) -> Iterator[None]:
    """Every parameter in the graph, and nothing else changed."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    mode = model.training
    with torch.random.fork_rng():
        for parameter, _ in before:
            parameter.requires_grad_(True)
        try:
            yield
        finally:
            for parameter, required in before:
                parameter.requires_grad_(required)
            model.train(mode)
