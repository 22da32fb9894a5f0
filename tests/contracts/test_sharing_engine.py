"""Task gradients are those of autograd in every architecture, however rows and labels lie."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from typing_extensions import override

from polytask.balancing import Balancer, GramianBalancer, balancers
from polytask.core.batch import Batch, Targets
from polytask.modeling import MultiTaskModel
from polytask.sharing import architectures
from polytask.tasks import Task, tasks
from polytask.training.step import Stepper
from tests.contracts.test_sharing import disturb, everything, new_architecture

ENCODER = "transformer"
NAMES = ("x", "y", "z")
LABELS = {
    "a data set per task": {"x": [0, 3], "y": [1], "z": [2, 4]},
    "all labels on the same rows": {name: [0, 1, 2, 3, 4] for name in NAMES},
    "labels missing": {"x": [0, 1, 3], "z": [1, 2]},
}


class Ones(GramianBalancer):
    """Gives every task gradient a weight of one, which is the plain sum."""

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        return gramian_TT.new_ones(len(gramian_TT))


def classification(name: str) -> Task:
    task = tasks.build({"kind": "classification", "dropout": 0}, name)
    task.fit(["no", "yes"])
    return task


def new_model(kind: str) -> MultiTaskModel:
    """In the mode of evaluation: no dropout, and nothing that is drawn."""
    architecture = new_architecture(kind, ENCODER, dict.fromkeys(NAMES, torch.zeros(0)))
    disturb(architecture)
    torch.manual_seed(1)
    return MultiTaskModel(architecture, {name: classification(name) for name in NAMES}).eval()


def batch(labels: str) -> Batch:
    targets = {
        name: Targets(torch.tensor(rows), torch.tensor(rows) % 2)
        for name, rows in LABELS[labels].items()
    }
    return Batch(everything(ENCODER), targets, 5)


def update(model: MultiTaskModel, balancer: Balancer, labelled: Batch) -> dict[str, Tensor]:
    """What one step of plain descent takes off each parameter."""
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    device = next(model.parameters()).device
    partition = model.partition(batch("all labels on the same rows").to(device))
    balancer.attach(model)
    trained = [*model.trainable().values()]
    stepper = Stepper(
        model, balancer, partition, torch.optim.SGD(trained, lr=1.0), contextlib.nullcontext,
        torch.amp.GradScaler("cpu", enabled=False), device, 0.0, "stop",
    )  # fmt: skip
    stepper.step([labelled])
    return {name: before[name] - value for name, value in model.named_parameters()}


class Seen(Ones):
    """Keeps the inner products that it is shown."""

    @override
    def weights(self, gramian_TT: Tensor) -> Tensor:
        self.seen_TT = gramian_TT
        return super().weights(gramian_TT)


@pytest.mark.parametrize("kind", architectures.kinds())
def test_providers_agree(kind: str) -> None:
    """What tasks own takes no part in the inner products, although the graph leads there."""
    exact, streamed = (Seen(len(NAMES), gradients=way) for way in ("exact", "streamed"))
    for balancer in (exact, streamed):
        update(new_model(kind), balancer, batch("labels missing"))
    assert_close(streamed.seen_TT, exact.seen_TT, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("kind", architectures.kinds())
def test_task_gradients_add_up_to_the_plain_gradient(kind: str, labels: str) -> None:
    plain = update(new_model(kind), balancers.build("equal", len(NAMES)), batch(labels))
    found = update(new_model(kind), Ones(len(NAMES)), batch(labels))
    assert any(step.any() for step in plain.values())
    for name, step in plain.items():
        assert_close(found[name], step, rtol=1e-3, atol=1e-5, msg=name)
