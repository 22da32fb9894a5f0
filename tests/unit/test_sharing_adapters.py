"""Adapters and their kin: where they are, known values, and options that change who owns what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm
from torch.testing import assert_close

from polytask.core.errors import RecipeError
from polytask.sharing import Architecture, architectures
from polytask.sharing.adapter import Adapter
from polytask.sharing.adapter_fusion import Fusion
from polytask.sharing.bitfit import BitFit
from polytask.sharing.bottleneck import OwnAdapter, OwnNorm
from polytask.sharing.hyperformer import HyperFormer
from polytask.sharing.pal import OwnAttention
from polytask.sharing.peft_base import PresentRows
from polytask.sharing.sublayers import norms, sublayer_outputs
from tests.contracts.test_sharing import (
    ROWS,
    disturb,
    everything,
    inputs_of,
    new_encoder,
    partition,
    real_tokens,
)

TASKS = ("x", "y")
VARIANTS: list[dict[str, Any]] = [
    {"kind": "adapter", "placement": "houlsby"},
    {"kind": "bitfit", "private": True},
    {"kind": "pal", "freeze": True},
    {"kind": "task_token", "freeze": True},
]
ENCODERS = ["bag", "bilstm", "transformer", "huggingface", "gpt2", "llama", "bytes"]


@pytest.fixture(params=VARIANTS, ids=lambda variant: variant["kind"])
def variant(request: pytest.FixtureRequest) -> dict[str, Any]:
    options: dict[str, Any] = request.param
    return options


def build(
    options: dict[str, Any], encoder: str, tasks: Mapping[str, Tensor] = ROWS
) -> Architecture:
    torch.manual_seed(0)
    return architectures.build(options, new_encoder(encoder), list(tasks)).eval()


def present(*places: int) -> PresentRows:
    """Rows of the tasks x and y."""
    found = PresentRows()
    found.tasks, found.place_V = TASKS, torch.tensor(places)
    return found


def drawn(module: nn.Module) -> dict[str, Tensor]:
    """The parameters of a module, with random values."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return dict(module.named_parameters())


@pytest.mark.parametrize("encoder", ENCODERS)
@torch.no_grad()
def test_variants_start_as_the_encoder(variant: dict[str, Any], encoder: str) -> None:
    plain = new_encoder(encoder)(everything(encoder))
    for task, features in build(variant, encoder)(everything(encoder), ROWS).items():
        expected = real_tokens(plain.select(ROWS[task]))
        assert_close(real_tokens(features), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
@torch.no_grad()
def test_variants_mix_tasks(variant: dict[str, Any], encoder: str) -> None:
    built = build(variant, encoder)
    disturb(built)
    mixed = built(everything(encoder), ROWS)
    for task, rows_b in ROWS.items():
        alone = built(inputs_of(encoder, *rows_b.tolist()), {task: torch.arange(len(rows_b))})
        assert_close(real_tokens(mixed[task]), real_tokens(alone[task]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_variants_share_nothing(variant: dict[str, Any], encoder: str) -> None:
    """All that is trained belongs to one task."""
    owners = partition(build(variant, encoder), encoder).tasks_of
    assert owners
    assert {len(tasks) for tasks in owners.values()} == {1}


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("huggingface", ["attention.output.dense", "output.dense"]),
        ("transformer", ["attention_output", "feed_forward.4"]),
        ("gpt2", ["attn.c_proj", "mlp.c_proj"]),
        ("llama", ["self_attn.o_proj", "mlp.down_proj"]),
        ("bilstm", [""]),
    ],
)
def test_adapters_come_after_sublayers(encoder: str, expected: list[str]) -> None:
    ready = new_encoder(encoder)
    for layer, outputs in zip(ready.layers, sublayer_outputs(ready), strict=True):
        assert list(outputs) == [layer.get_submodule(name) for name in expected]


@pytest.mark.parametrize(
    ("placement", "adapters", "own_norms"), [("houlsby", 4, 4), ("pfeiffer", 2, 0)]
)
def test_placements_of_adapters(placement: str, adapters: int, own_norms: int) -> None:
    built = build({"kind": "adapter", "placement": placement}, "huggingface")
    assert isinstance(built, Adapter)
    assert (len(built.adapters), len(built.norms)) == (adapters, own_norms)


def test_an_adapter_by_hand() -> None:
    adapter = OwnAdapter(present(1, 0), TASKS, 6, 2)
    own = drawn(adapter)
    hidden = torch.randn(2, 3, 6)
    for row, task in enumerate(["y", "x"]):
        low = hidden[row] @ own[f"down.{task}"].T + own[f"inner.{task}"]
        expected = hidden[row] + gelu(low) @ own[f"up.{task}"] + own[f"outer.{task}"]
        assert_close(adapter(hidden)[row], expected)


def test_norms_of_a_task_are_norms() -> None:
    """With the gain of one over that of the frozen norm, it is a norm of any gain and bias."""
    encoder = new_encoder("huggingface")
    norm = norms(encoder)[0]
    assert isinstance(norm, nn.LayerNorm)
    gain, bias, hidden = torch.randn(16), torch.randn(16), torch.randn(1, 4, 16)
    own = OwnNorm(present(1), TASKS, 16)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
        own.gain["y"].copy_(gain / norm.weight)
        own.shift["y"].copy_(bias - norm.bias * gain / norm.weight)
    assert_close(
        own(norm(hidden)), layer_norm(hidden, (16,), gain, bias, norm.eps), rtol=1e-4, atol=1e-4
    )


def test_fusion_is_attention_over_the_outputs_of_adapters() -> None:
    fusion = Fusion(present(1), TASKS, 6, 2)
    own = drawn(fusion)
    hidden = torch.randn(1, 3, 6)
    outputs = torch.stack(
        [
            hidden[0] + gelu(hidden[0] @ own[f"down.{t}"].T + own[f"inner.{t}"]) @ own[f"up.{t}"]
            for t in TASKS
        ]
    )
    scores = ((hidden[0] @ own["query.y"].T) * (outputs @ own["key.y"].T)).sum(-1)
    expected = (scores.softmax(0).unsqueeze(-1) * (outputs @ own["value.y"].T)).sum(0)
    assert_close(fusion(hidden)[0], expected, rtol=1e-4, atol=1e-4)


def test_attention_to_adapters_is_observed() -> None:
    built = build({"kind": "adapter_fusion"}, "transformer").train()
    assert built.observe() == {}
    built(everything("transformer"), {"x": ROWS["x"], "z": ROWS["z"]})
    seen = built.observe()
    assert set(seen) == {f"attention/{task}/{other}" for task in "xz" for other in "xyz"}
    assert sum(seen[f"attention/x/{other}"] for other in "xyz") == pytest.approx(1)


def test_projected_attention_by_hand() -> None:
    attention = OwnAttention(present(1), TASKS, 4, 1)
    matrix = drawn(attention)["project.y"]
    hidden, mask = torch.randn(1, 3, 4), torch.tensor([[True, True, False]])
    query, key, value = (hidden[0] @ part.T for part in matrix.chunk(3))
    weights = (query @ key[:2].T / 2).softmax(-1)
    assert_close(attention(hidden, mask)[0], weights @ value[:2])


def test_projected_attention_has_whole_heads() -> None:
    with pytest.raises(RecipeError, match=r"sharing.inner: 6 is no multiple of the 4 heads"):
        build({"kind": "pal", "inner": 6, "heads": 4}, "transformer")


def test_the_encoder_beside_projected_attention_is_trained() -> None:
    built = build({"kind": "pal"}, "transformer")
    owners = partition(built, "transformer").tasks_of
    assert all(len(owners[name]) == 3 for name in owners if name.startswith("encoder."))


def test_bitfit_trains_biases_alone() -> None:
    built = build({"kind": "bitfit"}, "huggingface")
    trained = [name for name, p in built.named_parameters() if p.requires_grad]
    assert trained == [name for name, _ in built.named_parameters() if name.endswith("bias")]
    assert len(trained) > 10


def test_bitfit_shifts_the_layers_of_an_encoder_without_biases() -> None:
    built = build({"kind": "bitfit"}, "llama")
    assert isinstance(built, BitFit)
    assert len(built.shifts) == 2
    assert {n for n, p in built.named_parameters() if p.requires_grad} == {
        "shifts.0.shift",
        "shifts.1.shift",
    }


@torch.no_grad()
def test_tasks_of_equal_vectors_have_equal_adapters() -> None:
    built = build({"kind": "hyperformer"}, "transformer")
    assert isinstance(built, HyperFormer)
    disturb(built)
    rows = dict.fromkeys(ROWS, torch.arange(5))
    built.maker.task["y"].copy_(built.maker.task["x"])
    found = built(everything("transformer"), rows)
    assert_close(real_tokens(found["x"]), real_tokens(found["y"]))
    assert not torch.equal(real_tokens(found["x"]), real_tokens(found["z"]))
