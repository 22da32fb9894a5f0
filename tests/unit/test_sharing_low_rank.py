"""The kinds of LoRA: known values, PEFT as an oracle, merging into weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from polytask.core.errors import RecipeError
from polytask.sharing import Architecture, architectures
from polytask.sharing.lora import Lora
from polytask.sharing.lora_experts import LoraExperts
from polytask.sharing.low_rank import FoldableLowRank, LowRank, Term
from polytask.sharing.mtl_lora import MtlLora
from polytask.sharing.task_lora import TaskLora
from tests.contracts.test_sharing import ROWS, disturb, everything, new_encoder, real_tokens

KINDS = ["hydra_lora", "lora", "lora_experts", "mtl_lora", "task_lora"]
FOLDABLE = ["lora", "lora_experts", "mtl_lora", "task_lora"]
WITH_LINEAR = ["bag", "transformer", "huggingface", "gpt2", "llama"]
ALL = dict.fromkeys(ROWS, torch.arange(5))


def build(kind: str, encoder: str, **options: Any) -> Architecture:
    torch.manual_seed(0)
    built = architectures.build({"kind": kind, **options}, new_encoder(encoder), list(ROWS))
    disturb(built)
    return built.eval()


def first_term(architecture: Architecture) -> Term:
    assert isinstance(architecture, LowRank)
    term = next(iter(architecture.terms.values()))
    assert isinstance(term, Term)
    return term


def copied(values: dict[str, Tensor], module: nn.Module) -> None:
    with torch.no_grad():
        for name, value in values.items():
            module.get_parameter(name).copy_(value)


@pytest.mark.parametrize("kind", FOLDABLE)
@pytest.mark.parametrize("encoder", WITH_LINEAR)
@torch.no_grad()
def test_merged_weights_give_what_the_terms_gave(kind: str, encoder: str) -> None:
    built = build(kind, encoder)
    assert isinstance(built, FoldableLowRank)
    plain = new_encoder(encoder).state_dict()
    for task, features in built(everything(encoder), ALL).items():
        merged = built.merge(task)
        assert list(merged.state_dict()) == list(plain)
        found = merged(everything(encoder))
        assert_close(real_tokens(found), real_tokens(features), rtol=1e-4, atol=1e-5)
        assert not torch.equal(
            found.tokens_BLD, new_encoder(encoder)(everything(encoder)).tokens_BLD
        )


@torch.no_grad()
def test_merging_leaves_the_architecture_as_it_was() -> None:
    built = build("task_lora", "transformer")
    assert isinstance(built, TaskLora)
    before = built(everything("transformer"), ROWS)
    built.merge("x")
    for task, features in built(everything("transformer"), ROWS).items():
        assert torch.equal(features.tokens_BLD, before[task].tokens_BLD)


def test_hidden_states_cannot_be_merged() -> None:
    built = build("lora", "bilstm")
    assert isinstance(built, Lora)
    with pytest.raises(RecipeError, match="no linear layers"):
        built.merge("x")


@pytest.mark.parametrize("kind", KINDS)
def test_targets_choose_linear_layers(kind: str) -> None:
    built = build(kind, "huggingface", targets=("query", "self.value"))
    assert isinstance(built, LowRank)
    assert {name.rsplit("/", 1)[-1] for name in built.terms} == {"query", "value"}
    assert len(built.terms) == 4


def test_an_unknown_target_is_named_with_those_there_are() -> None:
    with pytest.raises(RecipeError, match=r"'quer'.* attention\.self\.query, "):
        build("lora", "huggingface", targets=("quer",))
    with pytest.raises(RecipeError, match="has no linear layers"):
        build("lora", "cnn", targets=("query",))


@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_is_frozen_unless_told_otherwise(kind: str) -> None:
    for freeze in (True, False):
        built = build(kind, "transformer", freeze=freeze)
        assert isinstance(built, LowRank)
        assert {p.requires_grad for p in built.encoder.parameters()} == {not freeze}


def test_a_term_is_scaled_by_alpha_over_rank() -> None:
    term = first_term(build("lora", "transformer", rank=2, alpha=6.0, targets=("project",)))
    down, up = term.get_parameter("down.weight"), term.get_parameter("up.weight")
    given, output = torch.randn(3, 4, 16), torch.randn(3, 4, 48)
    assert_close(term(output, given), output + 3 * (given @ down.T @ up.T))


def test_mtl_lora_by_hand() -> None:
    built = build("mtl_lora", "transformer", rank=2, alpha=2.0, ups=2, temperature=0.5)
    assert isinstance(built, MtlLora)
    term = first_term(built)
    given, output = torch.randn(2, 4, 16), torch.zeros(2, 4, 48)
    built.present.tasks, built.present.place_V = ("z", "x"), torch.tensor([1, 0])
    down, up = term.get_parameter("down.weight"), term.get_parameter("up.weight")
    for row, task in enumerate(["x", "z"]):
        weights = torch.softmax(2 * term.get_parameter(f"mix.{task}"), 0)
        matrix = weights[0] * up[:, :2] + weights[1] * up[:, 2:]
        expected = given[row] @ down.T @ term.get_parameter(f"transform.{task}").T @ matrix.T
        assert_close(term(output, given)[row], expected)


def test_hydra_lora_by_hand() -> None:
    term = first_term(build("hydra_lora", "transformer", rank=2, alpha=2.0, heads=2))
    given, output = torch.randn(2, 4, 16), torch.zeros(2, 4, 48)
    down, up = term.get_parameter("down.weight"), term.get_parameter("up.weight")
    gates = torch.softmax(given @ term.get_parameter("router.weight").T, -1)
    low = given @ down.T
    expected = gates[..., :1] * (low @ up[:, :2].T) + gates[..., 1:] * (low @ up[:, 2:].T)
    assert_close(term(output, given), expected)


def test_lora_experts_by_hand() -> None:
    built = build("lora_experts", "transformer", rank=1, alpha=1.0, experts=2)
    assert isinstance(built, LoraExperts)
    term = first_term(built)
    given, output = torch.randn(1, 4, 16), torch.zeros(1, 4, 48)
    built.present.tasks, built.present.place_V = ("y",), torch.tensor([0])
    down, up = term.get_parameter("down.weight"), term.get_parameter("up.weight")
    gates = torch.softmax(built.gate.project.weight @ built.gate.vectors["y"], 0)
    experts = [given @ down[i : i + 1].T @ up[:, i : i + 1].T for i in range(2)]
    assert_close(term(output, given), gates[0] * experts[0] + gates[1] * experts[1])


@pytest.mark.parametrize(
    ("kind", "options"),
    [("mtl_lora", {"ups": 1}), ("hydra_lora", {"heads": 1}), ("lora_experts", {"experts": 1})],
)
@torch.no_grad()
def test_one_of_each_is_lora(kind: str, options: dict[str, int]) -> None:
    """With one B, one head, one expert, and Lambda the identity."""
    sizes = {"rank": 4, "alpha": 8.0}
    lora = build("lora", "huggingface", **sizes)
    other = build(kind, "huggingface", **sizes, **options)
    for name, parameter in other.named_parameters():
        if ".transform." in name:
            parameter.copy_(torch.eye(4))
    copied({n: p for n, p in lora.named_parameters() if n.startswith("terms.")}, other)
    expected = lora(everything("huggingface"), ROWS)
    for task, features in other(everything("huggingface"), ROWS).items():
        assert_close(real_tokens(features), real_tokens(expected[task]), rtol=1e-4, atol=1e-5)


def test_what_is_observed_adds_up() -> None:
    for kind, group in (
        ("mtl_lora", "mix/x/"),
        ("lora_experts", "gate/x/"),
        ("hydra_lora", "gate/"),
    ):
        built = build(kind, "transformer").train()
        built(everything("transformer"), ROWS)
        seen = [value for name, value in built.observe().items() if name.startswith(group)]
        assert len(seen) > 1
        assert sum(seen) == pytest.approx(1)


def add_by_peft(encoder: nn.Module, built: LowRank, task: str, **sizes: Any) -> None:
    """Let PEFT put the terms of a task into the model of an encoder."""
    peft = pytest.importorskip("peft")
    model = encoder.get_submodule("model")
    config = peft.LoraConfig(target_modules="all-linear", **sizes)
    peft.inject_adapter_in_model(config, model, adapter_name="a")
    adapted = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
    assert len(adapted) == len(built.terms)
    for name, module in adapted.items():
        own = dict(built.terms[f"model/{name.replace('.', '/')}"].named_parameters())
        down = own["down.weight"] if "down.weight" in own else own[f"down.{task}"]
        up = own["up.weight"] if "up.weight" in own else own[f"up.{task}"].T
        copied({"lora_A.a.weight": down, "lora_B.a.weight": up}, module)


@pytest.mark.parametrize("kind", ["lora", "task_lora"])
@pytest.mark.parametrize("encoder", ["huggingface", "gpt2", "llama"])
@torch.no_grad()
def test_it_equals_peft(kind: str, encoder: str) -> None:
    built = build(kind, encoder, rank=3, alpha=5.0)
    assert isinstance(built, LowRank)
    found = built(everything(encoder), ROWS)
    for task, rows_b in ROWS.items():
        other = new_encoder(encoder)
        add_by_peft(other, built, task, r=3, lora_alpha=5, fan_in_fan_out=encoder == "gpt2")
        expected = other.eval()(everything(encoder)).select(rows_b)
        assert_close(real_tokens(found[task]), real_tokens(expected), rtol=1e-4, atol=1e-5)
