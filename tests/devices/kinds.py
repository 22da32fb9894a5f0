"""Every architecture and balancer on ``other``; collected by ``test_other_device`` alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils._pytree import tree_map

from polytask import api
from polytask.balancing import balancers
from polytask.recipe import load
from polytask.sharing import architectures
from tests.devices import other
from tests.distributed import worker
from tests.thinning import every

QUICKSTART = Path("quickstart")
SMALL = [
    "training.steps=2",
    "training.precision=fp32",
    "evaluation.bootstrap=0",
    "data.reviews.size=64",
    "data.reviews.validation=16",
    "data.reviews.test=16",
    "encoder={kind: transformer, vocabulary: 300, layers: 2, width: 16, heads: 2, feed_forward: 32}",
]

OPTIONS = {"tree": "{kind: tree, branches: {1: [[sentiment, stars], [topic, aspects]]}}"}


def test_tensors_of_two_devices_do_not_mix() -> None:
    values = torch.ones(3, device=other.NAME)
    assert values.device.type == other.NAME
    assert (values + torch.tensor(1.0)).cpu().tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(RuntimeError, match="two devices"):
        values + torch.ones(3)


@pytest.mark.parametrize("kind", every(9, architectures.kinds()))
def test_an_architecture(kind: str, tmp_path: Path) -> None:
    train(tmp_path, f"sharing={OPTIONS.get(kind, kind)}")


@pytest.mark.parametrize("kind", every(3, balancers.kinds()))
def test_a_method_does_the_same(kind: str) -> None:
    found, expected = worker.train(kind, 0, 1, device=other.NAME), worker.train(kind, 0, 1)
    assert_close(tree_map(Tensor.cpu, found), expected, rtol=0, atol=0)


PROVIDERS = ["exact", "streamed", "features", "last_layer"]
NEEDY = ["auto_lambda", "famo", "sdmgrad", "uncertainty"]
"""Of validation rows, losses after the step, two samples, and parameters of their own."""


@pytest.mark.parametrize(
    "balancing",
    every(2, [*NEEDY, *(f"{{kind: upgrad, gradients: {name}}}" for name in PROVIDERS)]),
)
def test_what_methods_need(balancing: str, tmp_path: Path) -> None:
    train(tmp_path, f"balancing={balancing}")


def train(folder: Path, change: str) -> None:
    run = api.train(load(QUICKSTART, [*SMALL, change]), folder / "run")
    scores = api.evaluate(run.path, "test")
    assert set(scores["tasks"]) == {"sentiment", "topic", "stars", "aspects"}
