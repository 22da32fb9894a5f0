"""Architectures over encoders that read no texts: they work, or say what they need."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.core.features import Features, GridLayout
from polytask.sharing import Architecture, architectures
from tests.contracts.test_encoders_of_any_kind import png
from tests.contracts.test_sharing import OPTIONS_OF_TASKS
from tests.fakes import Cells, Pictures

TASKS = ["shape", "shade"]
NEEDS_TOKENS = {"prompt", "deep_prompt"}
"""Architectures that change the tokens of a text, and with them those of an encoder with layers."""


class Layered(Pictures):
    """The same with two layers that architectures may hold on to."""

    @override
    def restore(self, folder: object) -> None:
        self.fit(())

    @override
    def fit(self, rows: object) -> None:
        super().fit(())
        self.stack = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.GELU()) for _ in range(2))

    @property
    @override
    def layers(self) -> Sequence[nn.Module]:
        return [*self.stack]

    @override
    def forward(self, inputs: Collated) -> Features:
        features = super().forward(inputs)
        tokens_BLD = features.tokens_BLD
        for layer in self.stack:
            tokens_BLD = layer(tokens_BLD)
        return Features(tokens_BLD, features.mask_BL, GridLayout(8, 1))


ENCODERS: dict[str, type[Encoder]] = {"pictures": Pictures, "layered": Layered, "cells": Cells}


@cache
def fitted(name: str) -> tuple[Encoder, Collated]:
    torch.manual_seed(0)
    encoder = ENCODERS[name]()
    rows = (
        [(0.5, -1.0), (1.5, 2.0), (3.0, None)] if name == "cells" else [(png(s),) for s in range(3)]
    )
    encoder.fit(rows)
    read = [encoder.read(one, None) for one in encoder.prepare(rows)]
    return encoder.eval(), encoder.collate(read)


def built(kind: str, name: str) -> Architecture:
    options = OPTIONS_OF_TASKS[kind](TASKS) if kind in OPTIONS_OF_TASKS else {}
    torch.manual_seed(0)
    encoder = copy.deepcopy(fitted(name)[0])
    return architectures.build({"kind": kind, **options}, encoder, TASKS)


def built_or_refused(kind: str, name: str) -> Architecture | RecipeError:
    try:
        return built(kind, name).eval()
    except RecipeError as refused:
        return refused


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("kind", architectures.kinds())
def test_it_works_or_says_what_it_needs(kind: str, name: str) -> None:
    architecture = built_or_refused(kind, name)
    if isinstance(architecture, RecipeError):
        words = str(architecture)
        assert any(word in words for word in ("Choose", "another", "expected", "found"))
        assert name != "layered" or kind in NEEDS_TOKENS
        return
    encoder, inputs = fitted(name)
    rows_B = torch.arange(inputs.size)
    found = architecture(inputs, dict.fromkeys(TASKS, rows_B))
    expected: Features = encoder(inputs)
    losses: dict[str, Tensor] = {}
    for task, features in found.items():
        assert features.tokens_BLD.shape[:2] == expected.mask_BL.shape
        assert torch.equal(features.mask_BL, expected.mask_BL)
        assert type(features.layout) is type(expected.layout)
        if architecture.starts_as_encoder:
            torch.testing.assert_close(features.tokens_BLD, expected.tokens_BLD)
        losses[task] = features.tokens_BLD[features.mask_BL].square().sum()
    trained = [p for p in architecture.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(
        torch.stack([*losses.values()]).sum(), trained, allow_unused=True
    )
    assert any(gradient is not None for gradient in gradients)


@pytest.mark.parametrize("kind", sorted(NEEDS_TOKENS))
def test_learned_tokens_do_not_take_the_place_of_a_picture(kind: str) -> None:
    with pytest.raises(RecipeError, match="looks no tokens up in a table"):
        built(kind, "layered")
