"""Adding a task and removing one, over every architecture.

One whose tasks read parameters that depend on which tasks there are cannot grow; it must say so.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from polytask.assembly.model.dependencies import find_differing, find_reached
from polytask.modeling import MultiTaskModel
from polytask.sharing import architectures
from polytask.tasks import Task, tasks
from tests.contracts.test_sharing import ROWS, disturb, everything, new_architecture

OLD, NEW = ["x", "y"], "z"
ALWAYS = {"hard", "independent"}
"""Architectures that are known to keep outputs."""


@pytest.fixture(params=["bag", "transformer"])
def encoder(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=architectures.kinds())
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def classification(name: str) -> Task:
    task = tasks.build("classification", name)
    task.fit(["a", "b", "c"])
    return task


def new_model(kind: str, encoder: str, names: Sequence[str], seed: int = 0) -> MultiTaskModel:
    sharing = new_architecture(kind, encoder, {name: ROWS[name] for name in names}, seed)
    return MultiTaskModel(sharing, {name: classification(name) for name in names}).eval()


@torch.no_grad()
def take(model: MultiTaskModel, other: MultiTaskModel) -> set[str]:
    """Copy what fits by name and size."""
    own, old = model.state_dict(), other.state_dict()
    fits = {name for name in own if name in old and own[name].shape == old[name].shape}
    for name in fits:
        own[name].copy_(old[name])
    return fits


def trained(kind: str, encoder: str, names: Sequence[str]) -> MultiTaskModel:
    model = new_model(kind, encoder, names)
    disturb(model.sharing)
    return model


def train(model: MultiTaskModel, encoder: str, task: str) -> None:
    """A few steps of one task."""
    parameters = [*model.trainable().values()]
    optimiser = torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.1)
    model.train()
    for _ in range(2):
        optimiser.zero_grad()
        model(everything(encoder), {task: ROWS[task]})[task].square().sum().backward()
        optimiser.step()


def test_a_task_is_added_without_changing_the_others(kind: str, encoder: str) -> None:
    old = trained(kind, encoder, OLD)
    grown = new_model(kind, encoder, [*OLD, NEW], seed=7)
    taken = take(grown, old)
    read = find_reached(grown, everything(encoder), OLD)
    if not read <= taken or find_differing(old, grown, everything(encoder), OLD):
        assert kind not in ALWAYS
        return
    for name, parameter in grown.named_parameters(remove_duplicate=False):
        if name in read:
            parameter.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in grown.state_dict().items()}
    train(grown, encoder, NEW)
    after = grown.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed & find_reached(grown, everything(encoder), [NEW])
    assert not changed & read
    assert not find_differing(old, grown, everything(encoder), OLD)
    for task in OLD:
        rows = {task: ROWS[task]}
        scores = [model(everything(encoder), rows)[task] for model in (old, grown.eval())]
        assert torch.equal(*scores)


def test_what_a_task_does_not_reach_does_not_matter(kind: str, encoder: str) -> None:
    model, other = trained(kind, encoder, OLD), trained(kind, encoder, OLD)
    read = find_reached(model, everything(encoder), ["x"])
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name not in read:
                parameter.fill_(3.0)
    assert not find_differing(model, other, everything(encoder), ["x"])
    assert {name for name in read if name.startswith("heads.")} == {
        f"heads.x.{name}" for name, _ in model.heads["x"].named_parameters()
    }


def test_a_task_is_removed_without_changing_the_others(kind: str, encoder: str) -> None:
    model, less = trained(kind, encoder, [*OLD, NEW]), new_model(kind, encoder, OLD, seed=7)
    fits = take(less, model) == set(less.state_dict())
    if not fits or find_differing(model, less, everything(encoder), OLD):
        assert kind not in ALWAYS
        return
    rows = dict.fromkeys(OLD, torch.arange(3))
    scores = [each(everything(encoder), rows) for each in (model, less)]
    for task in OLD:
        torch.testing.assert_close(scores[0][task], scores[1][task])


def test_looking_changes_nothing(kind: str, encoder: str) -> None:
    model = trained(kind, encoder, OLD)
    first = next(model.parameters())
    first.requires_grad_(False)
    generator = torch.get_rng_state()
    find_reached(model, everything(encoder), OLD)
    assert torch.equal(torch.get_rng_state(), generator)
    assert not first.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training
