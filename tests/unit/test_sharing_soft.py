"""Encoders that are tied, kept apart, masked, or read by each other's tasks: known values."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from polytask.encoders import encoders
from polytask.sharing import Architecture, architectures
from polytask.sharing.l2_distance import sum_squared_distances
from polytask.sharing.layers import hidden_layers
from polytask.sharing.per_task import LinearPerTask
from polytask.sharing.rows import TaskRows
from polytask.sharing.shared_private import overlap, reverse_gradient
from polytask.sharing.task_attention import attention, exchange
from polytask.sharing.trace_norm import polar_factor, trace_norm
from tests.contracts.input_rows import TINY_BERT
from tests.contracts.test_sharing import (
    ROWS,
    TEXTS,
    disturb,
    everything,
    losses,
    new_encoder,
)


def build(kind: str, encoder: str = "bag", **options: Any) -> Any:
    torch.manual_seed(0)
    return architectures.build({"kind": kind, **options}, new_encoder(encoder), [*ROWS])


def penalty(architecture: Architecture) -> Tensor:
    term = architecture.penalty()
    assert term is not None
    return term


def test_squared_distance_is_to_the_mean() -> None:
    copies = [torch.tensor([place, 2.0], requires_grad=True) for place in (1.0, 3.0)]
    assert sum_squared_distances(copies) == 2
    gradients = torch.autograd.grad(sum_squared_distances(copies), copies)
    assert_close(torch.stack(gradients), torch.tensor([[-2.0, 0.0], [2.0, 0.0]]))
    assert sum_squared_distances([*torch.ones(3, 4)]) == 0


def test_the_distance_of_one_encoder_counts_with_the_weight() -> None:
    tied = build("l2_distance", weight=0.5)
    assert penalty(tied) < 1e-12
    moved = next(tied.encoders["x"].parameters())
    with torch.no_grad():
        moved += 0.1
    # Of three encoders, one is 2/3 of the way from the mean, and two are 1/3.
    expected = 0.5 * moved.numel() * 0.01 * (4 / 9 + 2 / 9)
    assert_close(float(penalty(tied).detach()), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("kind", ["l2_distance", "trace_norm"])
def test_a_term_pulls_encoders_together(kind: str) -> None:
    tied = build(kind, weight=1.0)
    disturb(tied)
    copies = [next(encoder.parameters()) for encoder in tied.encoders.values()]
    before = sum_squared_distances(copies)
    found = torch.autograd.grad(penalty(tied), copies)
    after = [p - 0.01 * g for p, g in zip(copies, found, strict=True)]
    assert sum_squared_distances(after) < before


@pytest.mark.parametrize("kind", ["l2_distance", "trace_norm"])
def test_nothing_is_tied_where_nothing_is_trained(kind: str) -> None:
    frozen = new_encoder("bag").requires_grad_(False)
    assert architectures.build(kind, frozen, [*ROWS]).penalty() is None


def test_trace_norm_of_orthogonal_weights_is_the_sum_of_their_lengths() -> None:
    assert_close(trace_norm(torch.tensor([[3.0, 0.0], [0.0, 4.0]])), torch.tensor(7.0))


def test_trace_norm_of_equal_weights_is_their_length_and_its_gradient_their_direction() -> None:
    weights_TP = torch.tensor([[3.0, 4.0], [3.0, 4.0]], requires_grad=True)
    value = trace_norm(weights_TP)
    length = 5 * math.sqrt(2)
    assert_close(value.detach(), torch.tensor(length))
    [found] = torch.autograd.grad(value, [weights_TP])
    assert_close(found, weights_TP.detach() / length)


def test_trace_norm_is_that_of_the_singular_values() -> None:
    weights_TP = torch.randn(3, 7, generator=torch.manual_seed(1)).requires_grad_()
    found, expected = trace_norm(weights_TP), torch.linalg.matrix_norm(weights_TP, "nuc")
    assert_close(found, expected)
    pair = [torch.autograd.grad(value, [weights_TP])[0] for value in (found, expected)]
    assert_close(*pair)


def test_small_differences_count_in_the_trace_norm_and_zeros_do_not() -> None:
    weights_TP = torch.tensor([[3.0, 4.0], [3.0, 4.0 + 1e-5]])
    lengths_T = torch.linalg.svdvals(polar_factor(weights_TP).double())
    assert_close(lengths_T, torch.ones(2).double(), rtol=0, atol=1e-3)
    assert not polar_factor(torch.zeros(3, 5)).any()


def test_at_the_start_the_gradient_of_the_trace_norm_is_finite() -> None:
    tied = build("trace_norm", "transformer", weight=1.0)
    for gradient in torch.autograd.grad(penalty(tied), [*tied.parameters()]):
        assert gradient.isfinite().all()


def test_a_reversed_gradient_changes_its_sign_alone() -> None:
    values = torch.tensor([1.0, -2.0], requires_grad=True)
    passed = reverse_gradient(values)
    assert torch.equal(passed, values)
    [found] = torch.autograd.grad((passed * torch.tensor([3.0, 4.0])).sum(), [values])
    assert found.tolist() == [-3, -4]


def test_overlap_is_the_norm_of_the_product() -> None:
    shared_bD, private_bD = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[3.0, 0.0]] * 2)
    # Rows of length one: S^T H = [[1, 0], [1, 0]], its squared norm is 2, divided by b^2 = 4.
    assert_close(overlap(shared_bD, private_bD), torch.tensor(0.5))
    one_bD, other_bD = torch.randn(2, 5, 3, generator=torch.manual_seed(2))
    product_DD = functional.normalize(one_bD).T @ functional.normalize(other_bD) / 5
    assert_close(overlap(one_bD, other_bD), product_DD.square().sum())


def test_what_does_not_go_together_over_the_rows_is_orthogonal() -> None:
    private_bD = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert overlap(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), private_bD) == 0


def test_the_discriminator_learns_what_the_shared_encoder_unlearns() -> None:
    built = build("shared_private", adversarial=0.5, orthogonality=0.0).train().requires_grad_()
    disturb(built)
    torch.manual_seed(3)
    losses(built, "bag")
    torch.manual_seed(3)
    features = built.shared(everything("bag"))
    rows = TaskRows.of(ROWS)
    scores_VT = built.discriminator(rows.take(features.mean_BD))
    plain = 0.5 * functional.cross_entropy(scores_VT, rows.place_V)
    term = penalty(built)
    assert_close(term, plain)
    assert_close(built.observe()["adversarial"], 2 * float(plain.detach()))
    for module, sign in ((built.discriminator, 1), (built.shared, -1)):
        found = torch.autograd.grad(term, [*module.parameters()], retain_graph=True)
        expected = torch.autograd.grad(plain, [*module.parameters()], retain_graph=True)
        assert any(gradient.any() for gradient in found)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, sign * other)


def test_shared_and_private_features_are_side_by_side_and_start_equal() -> None:
    built = build("shared_private", "transformer").eval()
    plain = new_encoder("transformer")(everything("transformer")).tokens_BLD
    found = built(everything("transformer"), ROWS)["x"].tokens_BLD
    assert_close(found, torch.cat([plain, plain], dim=-1)[ROWS["x"]])
    assert built.penalty() is None


@pytest.mark.parametrize("encoder", ["bag", "transformer", "bytes"])
def test_a_mask_multiplies_the_features_of_its_task_alone(encoder: str) -> None:
    built = build("mtan", encoder).eval()
    with torch.no_grad():
        built.masks[-1].output.biases["y"].fill_(math.log(3.0))  # twice the sigmoid is 1.5
        for mask in built.masks[:-1]:
            disturb(mask)
    plain = new_encoder(encoder)(everything(encoder)).tokens_BLD
    found = built(everything(encoder), ROWS)
    assert_close(found["y"].tokens_BLD, 1.5 * plain[ROWS["y"]])
    assert_close(found["x"].tokens_BLD, plain[ROWS["x"]])


def test_masks_read_the_masked_states_of_the_layer_below() -> None:
    built = build("mtan", "transformer").eval()
    disturb(built)
    before = built(everything("transformer"), ROWS)
    with torch.no_grad():
        built.masks[0].output.biases["y"] += 1
    after = built(everything("transformer"), ROWS)
    assert torch.equal(before["x"].tokens_BLD, after["x"].tokens_BLD)
    assert not torch.allclose(before["y"].tokens_BLD, after["y"].tokens_BLD)


def test_layers_that_are_computed_again_are_masked_once() -> None:
    config = {**TINY_BERT, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    found = []
    for again in (False, True):
        torch.manual_seed(0)
        options = {"config": config, "vocabulary": 400, "gradient_checkpointing": again}
        encoder = encoders.build({"kind": "huggingface", "max_length": 16, **options}, ())
        encoder.fit([(text,) for text in TEXTS])
        built = architectures.build("mtan", encoder, [*ROWS]).train()
        torch.manual_seed(1)
        disturb(built)
        inputs = encoder.collate(encoder.prepare([(text,) for text in TEXTS]))
        features = built(inputs, ROWS)
        torch.stack([each.mean_BD.square().sum() for each in features.values()]).sum().backward()
        found.append([p.grad for p in built.parameters() if p.grad is not None])
    for plain, checkpointed in zip(*found, strict=True):
        assert_close(checkpointed, plain)


def test_every_task_sums_up_layers_by_its_own_weights() -> None:
    built = build("scalar_mix", "transformer").eval()
    states: list[Tensor] = []
    lowest = hidden_layers(built.encoder)[0]
    lowest.register_forward_hook(lambda _module, _inputs, output: states.append(output))
    with torch.no_grad():
        built.weights["y"].copy_(torch.tensor([2.0, -0.5]))
    plain = new_encoder("transformer")(everything("transformer")).tokens_BLD
    found = built(everything("transformer"), ROWS)
    assert_close(found["x"].tokens_BLD, plain[ROWS["x"]])
    assert_close(found["y"].tokens_BLD, (2 * states[0] - 0.5 * plain)[ROWS["y"]])
    assert built.observe()["weight/y/layer_1"] == 2.0


@pytest.mark.parametrize("kind", ["mtan", "scalar_mix", "task_attention"])
def test_rows_are_encoded_once(kind: str) -> None:
    built = build(kind).eval()
    sizes: list[int] = []
    built.encoder.register_forward_hook(
        lambda _module, _inputs, output: sizes.append(len(output.mask_BL))
    )
    built(everything("bag"), dict.fromkeys(ROWS, torch.arange(len(TEXTS))))
    assert sizes == [len(TEXTS)]


def test_attention_is_a_softmax_over_the_other_tasks() -> None:
    query_VLH = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    projected_VLTH = torch.zeros(1, 1, 3, 4)
    projected_VLTH[0, 0, :, 0] = torch.tensor([100.0, 2 * math.log(3.0), 0.0])
    shares_VLT = attention(query_VLH, projected_VLTH, torch.tensor([0]))
    assert_close(shares_VLT, torch.tensor([[[0.0, 0.75, 0.25]]]))


def test_a_single_task_attends_to_itself() -> None:
    shares_VLT = attention(torch.ones(2, 3, 4), torch.ones(2, 3, 1, 4), torch.zeros(2).long())
    assert torch.equal(shares_VLT, torch.ones(2, 3, 1))


def test_an_exchange_adds_the_shares_of_others_to_what_is_its_own() -> None:
    projected_VLTH = torch.tensor([1.0, 10.0, 100.0]).view(1, 1, 3, 1).expand(2, 1, 3, 1)
    shares_VLT = torch.tensor([[[0.0, 0.5, 0.5]], [[1.0, 0.0, 0.0]]])
    found_VLH = exchange(shares_VLT, projected_VLTH, torch.tensor([0, 2]))
    assert found_VLH.flatten().tolist() == [1 + 55, 100 + 1]


def test_what_tasks_attend_to_is_observed_in_training() -> None:
    built = build("task_attention").train()
    assert built.observe() == {}
    losses(built, "bag")
    seen = built.observe()
    assert len(seen) == 6
    assert_close(seen["attention/x/y"] + seen["attention/x/z"], 1.0)


def test_linear_layers_of_tasks_are_those_of_torch() -> None:
    torch.manual_seed(0)
    layers, rows = LinearPerTask([*ROWS], 4, 3), TaskRows.of({"z": ROWS["z"], "x": ROWS["x"]})
    read_VLI = torch.randn(4, 2, 4)
    found = layers(read_VLI, rows).split(rows.counts)
    for task, read, given in zip(rows.tasks, read_VLI.split(rows.counts), found, strict=True):
        assert_close(given, functional.linear(read, layers.weights[task], layers.biases[task]))
    assert not any(p.any() for p in LinearPerTask([*ROWS], 4, 3, zero=True).parameters())
