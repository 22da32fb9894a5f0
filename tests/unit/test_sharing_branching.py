"""Layers that are chosen: known values, and what draws by chance must keep to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from polytask.encoders import encoders
from polytask.sharing import Architecture, architectures
from polytask.sharing.adashare import distances
from polytask.sharing.gumbel import choose
from polytask.sharing.learned_branching import select_parents
from tests.contracts.input_rows import TINY_BERT
from tests.contracts.test_sharing import (
    ROWS,
    WITHOUT_LAYERS,
    everything,
    inputs_of,
    losses,
    new_architecture,
    new_encoder,
)

KINDS = ["adashare", "learned_branching"]
FAR = 50.0


def build(kind: str, encoder: str = "transformer", **options: Any) -> Any:
    torch.manual_seed(0)
    return architectures.build({"kind": kind, **options}, new_encoder(encoder), [*ROWS]).eval()


def by_layers(encoder: Any, *layers: Any) -> Tensor:
    """The features of a transformer of these layers, whatever it has itself."""
    handed = iter(layers)

    class Given(torch.nn.Module):
        def forward(self, *arguments: Any) -> Any:
            return next(handed)(*arguments)

    encoder.stack = torch.nn.ModuleList(Given() for _ in layers)
    found: Tensor = encoder(everything("transformer")).tokens_BLD
    return found


@pytest.fixture(autouse=True)
def _untouched_generator() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_a_choice_is_exactly_one_of_all() -> None:
    chosen_BC = choose(torch.randn(1000, 3), 0.3, by_chance=True)
    assert {*chosen_BC.unique().tolist()} == {0.0, 1.0}
    assert torch.equal(chosen_BC.sum(1), torch.ones(1000))


def test_choices_come_as_often_as_their_odds_say() -> None:
    odds_C = torch.tensor([0.2, 0.5, 0.3])
    chosen_BC = choose(odds_C.log().expand(20_000, 3), 1.0, by_chance=True)
    assert_close(chosen_BC.mean(0), odds_C, atol=0.02, rtol=0)


def test_the_likeliest_is_chosen_where_chance_has_no_say() -> None:
    logits_C = torch.tensor([0.1, 0.3, 0.2], requires_grad=True)
    chosen_C = choose(logits_C, 2.0, by_chance=False)
    assert chosen_C.tolist() == [0, 1, 0]
    [found] = torch.autograd.grad(chosen_C[1], [logits_C])
    soft_C = (logits_C / 2).softmax(-1)
    [expected] = torch.autograd.grad(soft_C[1], [logits_C])
    assert_close(found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_state_of_chance_gives_the_same_pass(kind: str) -> None:
    made = build(kind).train()
    found = []
    for seed in (1, 1, 2, 3, 4, 5):
        torch.manual_seed(seed)
        made.zero_grad()
        torch.stack([*losses(made, "transformer").values()]).sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in made.parameters() if p.grad is not None]))
    assert torch.equal(found[0], found[1])
    assert not all(torch.equal(found[0], each) for each in found[2:])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_drawn_outside_of_training(kind: str) -> None:
    made = build(kind)
    before = torch.get_rng_state()
    made(everything("transformer"), ROWS)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_are_computed_again_see_the_same_draw(kind: str) -> None:
    """Also where another batch went through in between."""
    found = []
    for again in (False, True):
        torch.manual_seed(0)
        options = {"config": TINY_BERT, "vocabulary": 400, "max_length": 16}
        encoder = encoders.build(
            {"kind": "huggingface", "gradient_checkpointing": again, "dropout": 0, **options}, ()
        )
        encoder.fit([("a b c",), ("d e f g",)])
        made: Architecture = architectures.build(kind, encoder, [*ROWS]).train()
        for logits in made.parameters():
            if logits.ndim == 1 and logits.shape[0] < 3:
                torch.nn.init.zeros_(logits.data)
        total = torch.zeros(())
        for positions, rows in [((0, 1, 2, 3, 4), ROWS), ((1, 2), {"y": torch.tensor([0, 1])})]:
            given = made(inputs_of("huggingface", *positions), rows)
            total = total + sum(each.mean_BD.square().sum() for each in given.values())
        total.backward()
        found.append([p.grad for p in made.parameters()])
    for plain, repeated in zip(*found, strict=True):
        assert_close(repeated, plain)


def test_a_task_passes_by_what_it_skips() -> None:
    made = build("adashare")
    with torch.no_grad():
        made.odds["x"][:] = -FAR
    [first], [second] = ([*layer.copies.values()] for layer in made.encoder.layers)
    found = made(everything("transformer"), ROWS)
    short_BLD = by_layers(new_encoder("transformer"), first)
    whole_BLD = by_layers(new_encoder("transformer"), first, second)
    assert not torch.allclose(short_BLD, whole_BLD)
    assert_close(found["x"].tokens_BLD, short_BLD[ROWS["x"]])
    assert_close(found["y"].tokens_BLD, whole_BLD[ROWS["y"]])


@pytest.mark.parametrize(("encoder", "layers"), [("bilstm", 1), (WITHOUT_LAYERS, 0), ("bag", 0)])
def test_a_layer_that_reads_another_width_is_never_skipped(encoder: str, layers: int) -> None:
    made = build("adashare", encoder)
    assert [len(odds) for odds in made.odds.values()] == [layers] * len(made.odds)


def test_policies_start_close_to_selecting_everything() -> None:
    made = build("adashare").train()
    made(everything("transformer"), {"y": ROWS["y"]})
    assert made.observe() == {"selected/y/layer_2": pytest.approx(0.95, abs=0.01)}


def test_policies_are_apart_most_at_the_lowest_layers() -> None:
    """Four layers, of which the first is not counted: weights 1/2, 1/4, 0."""
    selected_tN = torch.tensor([[1.0, 0.5, 1.0]])
    selected_TN = torch.tensor([[1.0, 0.5, 1.0], [0.0, 1.0, 0.0]])
    assert distances(selected_tN, selected_TN, 4).sum().item() == pytest.approx(
        0.5 * 1 + 0.25 * 0.5
    )


def test_the_term_of_a_policy_moves_the_tasks_present_only() -> None:
    torch.manual_seed(0)
    encoder = encoders.build({"kind": "bilstm", "layers": 3, "hidden": 2, "min_count": 1}, ())
    encoder.fit([("a b",)])
    options = {"kind": "adashare", "sparsity": 0.5, "sharing": 2.0}
    made: Any = architectures.build(options, encoder, [*ROWS]).train()
    with torch.no_grad():
        for task, odds in {"x": 0.0, "y": math.log(3), "z": -math.log(3)}.items():
            made.odds[task].fill_(odds)
    made(encoder.collate(encoder.prepare([("a",)])), {"x": torch.tensor([0])})
    term = made.penalty()
    sparse, apart = 2 * math.log(0.5), 1 / 3 * (0.25 + 0.25)
    assert term.item() == pytest.approx(0.5 * sparse + 2.0 * apart)
    term.backward()
    assert [task for task, odds in made.odds.items() if odds.grad is not None] == ["x"]


def test_a_copy_reads_its_parent() -> None:
    hidden_CBLD = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1, 1)
    parents_CC = torch.tensor([[0.0, 0, 1], [1, 0, 0], [1, 0, 0]])
    assert select_parents(parents_CC, hidden_CBLD).flatten().tolist() == [3, 1, 1]


def scattered(layer: Any) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize(("x", "parents"), [(0, [0, 1]), (1, [0, 1]), (0, [1, 1]), (1, [1, 0])])
def test_a_task_reads_the_way_down_its_tree(x: int, parents: list[int]) -> None:
    made = build("learned_branching")
    scattered(made)
    with torch.no_grad():
        made.branches["x"].copy_(FAR * torch.eye(2)[x])
        made.parents[0].copy_(FAR * torch.eye(2)[parents])
    encoder = made.encoder_of("x")
    lower, upper = ([*layer.copies.values()] for layer in encoder.layers)
    found = made(everything("transformer"), ROWS)["x"].tokens_BLD
    observed = made.observe()
    expected_BLD = by_layers(encoder, lower[parents[x]], upper[x])
    assert_close(found, expected_BLD[ROWS["x"]])
    assert observed["branch/x/layer_2"] == 1 + x
    assert observed["branch/x/layer_1"] == 1 + parents[x]


def test_copies_that_lead_to_no_task_get_nothing() -> None:
    made = build("learned_branching")
    torch.stack([*losses(made, "transformer", {"x": ROWS["x"]}).values()]).sum().backward()
    for layer in made.encoder_of("x").layers:
        first, other = layer.copies.values()
        assert any(parameter.grad.any() for parameter in first.parameters())
        assert not any(parameter.grad.any() for parameter in other.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_found_and_asked_as_before(kind: str) -> None:
    made = new_architecture(kind, "llama")
    layers, plain = made.encoder_of("x").layers, new_encoder("llama").layers
    assert len(layers) == len(plain)
    for layer, before in zip(layers, plain, strict=True):
        assert layer.hidden_size == before.hidden_size
        with pytest.raises(AttributeError, match="nonsense"):
            attrgetter("nonsense")(layer)
