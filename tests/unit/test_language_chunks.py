"""Costs of tokens computed in chunks: the same losses, gradients and trained models, in less memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from polytask.assembly.run.training import train
from polytask.core.run_folder import RunFolder
from polytask.core.tensors import read_tensors
from polytask.encoders import encoders
from polytask.recipe import load
from polytask.tasks import language_head
from polytask.tasks.language_head import CausalHead
from tests.unit.test_tasks_preference import experiment

VOCABULARY = 300


def costs_and_gradients() -> list[Tensor]:
    torch.manual_seed(0)
    sizes = {"layers": 1, "width": 16, "heads": 2, "vocabulary": VOCABULARY, "causal": True}
    encoder = encoders.build({"kind": "transformer", **sizes}, ())
    encoder.fit([("a b c",)])
    head = CausalHead("t", 16)
    head.bind(encoder)
    read_nD = torch.randn(11, 16, requires_grad=True)
    kept_bK = torch.ones(1, 11, dtype=torch.bool)
    nats_bK = head.nats(read_nD, torch.arange(11), kept_bK)
    (nats_bK * torch.arange(11)).sum().backward()
    assert read_nD.grad is not None
    assert head.token_vectors.grad is not None
    return [nats_bK.detach(), read_nD.grad, head.token_vectors.grad]


def test_chunks_give_the_same_costs_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = costs_and_gradients()
    sizes: list[int] = []
    logits = CausalHead.logits

    def counted(self: CausalHead, read_nD: Tensor) -> Tensor:
        sizes.append(len(read_nD))
        return logits(self, read_nD)

    monkeypatch.setattr(language_head, "_MOST_SCORES", 4 * VOCABULARY + 1)
    monkeypatch.setattr(CausalHead, "logits", counted)
    for one, other in zip(whole, costs_and_gradients(), strict=True):
        torch.testing.assert_close(one, other)
    assert sizes[:3] == [4, 4, 3]
    assert max(sizes) == 4


@pytest.mark.parametrize("balancing", ["equal", "pcgrad"])
def test_training_in_chunks_gives_the_same_model(
    balancing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load(
        experiment(tmp_path, 2), [f"balancing.kind={balancing}", "training.precision=fp32"]
    )
    whole = RunFolder(train(recipe, tmp_path / "whole").path)
    monkeypatch.setattr(language_head, "_MOST_SCORES", 4 * VOCABULARY)
    parts = RunFolder(train(recipe, tmp_path / "parts").path)
    found, expected = read_tensors(parts.parameters), read_tensors(whole.parameters)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-4, rtol=1e-3)
