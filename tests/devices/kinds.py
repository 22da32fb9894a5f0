"""Every architecture and balancer on ``other``; collected by ``test_other_device`` alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from polytask import api
from polytask.balancing import balancers
from polytask.recipe import load
from polytask.sharing import architectures
from tests.devices import other

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
SMALL = [
    "training.steps=2",
    "training.precision=fp32",
    "evaluation.bootstrap=0",
    "data.reviews.size=64",
    "data.reviews.validation=16",
    "data.reviews.test=16",
]
LAYERS = "{kind: transformer, vocabulary: 300, layers: 2, width: 16, heads: 2, feed_forward: 32}"
CNN = "{kind: cnn, dimension: 8, filters: 8}"
OPTIONS = {"tree": "{kind: tree, branches: {1: [[sentiment, stars], [topic, aspects]]}}"}


def test_tensors_of_two_devices_do_not_mix() -> None:
    values = torch.ones(3, device=other.NAME)
    assert values.device.type == other.NAME
    assert (values + torch.tensor(1.0)).cpu().tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(RuntimeError, match="two devices"):
        values + torch.ones(3)


@pytest.mark.parametrize("kind", architectures.kinds())
def test_an_architecture(kind: str, tmp_path: Path) -> None:
    train(tmp_path, f"encoder={LAYERS}", f"sharing={OPTIONS.get(kind, kind)}")


@pytest.mark.parametrize("kind", balancers.kinds())
def test_a_balancer(kind: str, tmp_path: Path) -> None:
    train(tmp_path, f"encoder={CNN}", f"balancing={kind}")


@pytest.mark.parametrize("gradients", ["exact", "streamed", "features", "last_layer"])
def test_task_gradients(gradients: str, tmp_path: Path) -> None:
    train(tmp_path, f"encoder={LAYERS}", f"balancing={{kind: upgrad, gradients: {gradients}}}")


def train(folder: Path, *changes: str) -> None:
    run = api.train(load(QUICKSTART, [*SMALL, *changes]), folder / "run")
    scores = api.evaluate(run.path, "test")
    assert set(scores["tasks"]) == {"sentiment", "topic", "stars", "aspects"}
