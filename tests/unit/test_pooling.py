"""How the tokens of a row become one vector."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from polytask.core.features import Features
from polytask.encoders import encoders
from polytask.tasks import tasks
from polytask.tasks.heads import pool_of

MASK_BL = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
FEATURES = Features(torch.arange(9.0).view(3, 3, 1), MASK_BL)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("mean", [0.5, 4.0, 0.0]),
        ("first", [0, 3, 6]),
        ("last", [1, 5, 6]),
        ("auto", [0.5, 4.0, 0.0]),
    ],
)
def test_pools_read_real_tokens(pool: Any, expected: list[float]) -> None:
    assert pool_of(pool, 1)(FEATURES).squeeze(1).tolist() == expected


SIZES = {
    "gpt2": {"n_embd": 8, "n_head": 2, "n_layer": 1},
    "bert": {
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "intermediate_size": 8,
    },
}
ENCODERS: dict[str, tuple[dict[str, Any], bool]] = {
    "gpt2": ({"kind": "huggingface", "config": {"model_type": "gpt2", **SIZES["gpt2"]}}, True),
    "bert": ({"kind": "huggingface", "config": {"model_type": "bert", **SIZES["bert"]}}, False),
    "causal": ({"kind": "transformer", "causal": True, "layers": 1, "width": 8, "heads": 2}, True),
    "both": ({"kind": "transformer", "layers": 1, "width": 8, "heads": 2}, False),
}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("kind", ["classification", "multiple_choice", "regression"])
def test_the_last_token_is_read_where_it_has_read_all(name: str, kind: str) -> None:
    options, takes_last = ENCODERS[name]
    encoder = encoders.build({**options, "vocabulary": 300, "max_length": 16}, ())
    encoder.fit([("a b c",)])
    task: Any = tasks.build(kind, "t")
    if kind == "classification":
        task.fit(["x", "y"])
    head = task.head(8)
    assert isinstance(encoder, nn.Module)
    head.bind(encoder)
    found = getattr(head, "each", head).pool(FEATURES).squeeze(1).tolist()
    assert found == ([1, 5, 6] if takes_last else [0.5, 4.0, 0.0])
