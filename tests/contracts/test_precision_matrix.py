"""Every family of methods in every precision: the gradient is that of plain autograd, weighed."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.testing import assert_close
from transformers.models.bert.modeling_bert import BertModel
from typing_extensions import override

from polytask.balancing import Balancer, GramianBalancer, LossBalancer, TaskLosses, balancers
from polytask.balancing.base import JacobianBalancer
from polytask.core.partition import Partition, infer_partition
from tests.unit.test_step import ROWS as CELLS, make_batch, make_model, make_stepper, update, values

ROWS = [torch.tensor([0, 1, 2]), torch.tensor([3, 5]), torch.tensor([4, 6, 7])]
"""Of eight rows; every row is read by one task."""
TASKS = len(ROWS)
WIDTH = 8
SCALES = {"fp32": 1.0, "bf16": 1.0, "fp16": 2.0**10}
"""Of the losses; that of fp16 is small enough for these models to be differentiated."""
OVERFLOW = 2.0**40
TOLERANCE = {"fp32": 1e-4, "bf16": 0.05, "fp16": 0.01}
"""Of gradients and weights, relative."""
EACH_T = torch.arange(TASKS)
LABELLED = [row for row in CELLS if None not in row]


class Model(nn.Module):
    """An encoder of words and a head per task."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = self.build()
        self.heads = nn.ModuleList(nn.Linear(WIDTH, 2) for _ in ROWS)

    def build(self) -> nn.Module:
        """A BERT of two layers."""
        config = transformers.BertConfig(
            vocab_size=11, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=12, max_position_embeddings=9,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        return BertModel(config, add_pooling_layer=False)

    def features(self, ids_BL: Tensor) -> Tensor:
        hidden_BLD: Tensor = self.encoder(ids_BL).last_hidden_state
        return hidden_BLD.mean(1)

    def losses(self, seed: int) -> list[Tensor]:
        """Cross entropies in fp32, as autocast has them; of different sizes."""
        shape = (8, 4 + seed % 2)
        ids_BL = torch.randint(1, 11, shape, generator=torch.Generator().manual_seed(seed))
        features_BD = self.features(ids_BL)
        return [
            (place + 1)
            * nn.functional.cross_entropy(head(features_BD[rows_b]), ids_BL[rows_b, 0] % 2)
            for place, (head, rows_b) in enumerate(zip(self.heads, ROWS, strict=True))
        ]


class Recurrent(Model):
    """An LSTM. The processors of many machines have none in half precision."""

    @override
    def build(self) -> nn.Module:
        return nn.ModuleList([nn.Embedding(11, WIDTH), nn.LSTM(WIDTH, WIDTH, batch_first=True)])

    @override
    def features(self, ids_BL: Tensor) -> Tensor:
        table, recurrent = self.encoder.children()
        hidden_BLD: Tensor = recurrent(table(ids_BL))[0]
        return hidden_BLD[:, -1]


class Tied(Model):
    """A table that is looked up, and is the last matrix before the heads."""

    @override
    def build(self) -> nn.Module:
        return nn.ModuleList([nn.Embedding(11, WIDTH), nn.Linear(WIDTH, WIDTH)])

    @override
    def features(self, ids_BL: Tensor) -> Tensor:
        table, layer = self.encoder.children()
        hidden_BD = layer(table(ids_BL)).tanh().mean(1)
        scores_BV = nn.functional.linear(hidden_BD, table.get_parameter("weight"))
        return scores_BV[:, :WIDTH]


class LowRank(Model):
    """A frozen base, beside which two factors of rank two are trained."""

    @override
    def build(self) -> nn.Module:
        base = nn.ModuleList([nn.Embedding(11, WIDTH), nn.Linear(WIDTH, WIDTH)])
        factors = [nn.Linear(WIDTH, 2, bias=False), nn.Linear(2, WIDTH, bias=False)]
        return nn.ModuleList([base.requires_grad_(False), *factors])

    @override
    def features(self, ids_BL: Tensor) -> Tensor:
        base, down, up = self.encoder.children()
        table, layer = base.children()
        hidden_BLD = table(ids_BL)
        adapted_BLD: Tensor = layer(hidden_BLD) + up(down(hidden_BLD))
        return adapted_BLD.tanh().mean(1)


APPROXIMATE = ("features", "last_layer")
WAYS = ("exact", "grouped", "streamed", *APPROXIMATE)
GRAMIAN: dict[str, dict[str, Any]] = {
    **{f"pcgrad {way}": {"kind": "pcgrad", "gradients": way} for way in WAYS},
    **{f"mgda {way}": {"kind": "mgda", "gradients": way} for way in WAYS},
    "pcgrad every 2": {"kind": "pcgrad", "every": 2},
    "mgda every 2": {"kind": "mgda", "every": 2},
    "modo": {"kind": "modo", "step_size": 1e-3},
    "mgda with imtl_l": {"kind": "mgda", "losses": "imtl_l"},
}
METHODS: dict[str, dict[str, Any]] = {
    **{kind: {"kind": kind} for kind in ("equal", "uncertainty", "famo", "graddrop", "db_mtl")},
    **GRAMIAN,
    "db_mtl with imtl_l": {"kind": "db_mtl", "losses": "imtl_l"},
}


def built(method: Mapping[str, Any], model: nn.Module) -> Balancer:
    """The method; parameters of its own are not where they begin."""
    balancer = balancers.build(dict(method), TASKS)
    for parameter in balancer.parameters():
        parameter.data = torch.tensor([0.3, -0.2, 0.1])
    balancer.attach(model)
    return balancer


def autocast(precision: str) -> torch.autocast:
    half = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast("cpu", half, enabled=precision != "fp32")


def partition_of(model: Model) -> Partition:
    """In the order of the model, which compiling it does not change."""
    found = infer_partition(model.losses(0))
    shared, private = ({*map(id, part)} for part in (found.shared, found.private))
    every = [*model.parameters()]
    return Partition([p for p in every if id(p) in shared], [p for p in every if id(p) in private])


def samples(balancer: Balancer) -> list[int]:
    return [0, 1] if "halves" in balancer.needs else [0]


def run(
    balancer: Balancer,
    model: Model,
    seeds: Sequence[int],
    precision: str = "fp32",
    scale: float = 1,
) -> Tensor:
    """One step of one or more batches, as a training does it; ``.grad`` is scaled back.

    The second sample of methods that need two is of other rows, with a hundred added to the seed.
    """
    model.zero_grad()
    partition = partition_of(model)
    balancer.loss_scale = scale
    balancer.prepare(partition, exclusive_rows=True)
    numbers = samples(balancer)
    share_T = torch.full((TASKS,), 1 / len(seeds) / len(numbers))
    for seed in seeds:
        for number in numbers:
            with autocast(precision):
                losses = model.losses(seed + 100 * number)
            given = TaskLosses(losses, range(TASKS), share_T, number, ROWS)
            balancer.accumulate(given, partition)
    weights_T = balancer.resolve(partition)
    for parameter in [*partition.shared, *partition.private]:
        if parameter.grad is not None:
            parameter.grad /= scale
    return weights_T


def plain(model: Model, parameters: Sequence[nn.Parameter], seed: int, precision: str) -> Tensor:
    """The gradient of every task, jacobian_TP, by nothing but autograd."""
    rows = []
    scale = SCALES[precision]
    for task in range(TASKS):
        with autocast(precision):
            loss = model.losses(seed)[task]
        found = torch.autograd.grad(loss * scale, [*parameters], materialize_grads=True)
        rows.append(torch.cat([piece.flatten() for piece in found]) / scale)
    return torch.stack(rows)


def gradient(parameters: Sequence[nn.Parameter]) -> Tensor:
    return torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
    )


def assert_near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert found.isfinite().all()
    assert (found - expected).norm() <= tolerance * expected.norm()


def losses_of(model: Model, seeds: Sequence[int]) -> Tensor:
    return torch.tensor([[loss.item() for loss in model.losses(seed)] for seed in seeds])


def decided(method: Mapping[str, Any], model: Model, seeds: Sequence[int]) -> Tensor:
    """The weights that a Gramian method gives for the inner products of plain fp32 gradients.

    Of two samples, each has mean gradients of its own.
    """
    twin = built({**method, "gradients": "exact"}, model)
    assert isinstance(twin, GramianBalancer)
    shared = partition_of(model).shared
    first_TP, *second_TP = (
        torch.stack([plain(model, shared, seed + 100 * number, "fp32") for seed in seeds]).mean(0)
        for number in samples(twin)
    )
    inner_T = torch.ones(TASKS)
    if twin.inner is not None:
        inner_T = twin.inner.weigh(EACH_T, losses_of(model, seeds).mean(0))
    gramian_TT = first_TP @ (*second_TP, first_TP)[0].T
    with twin.seed_draws():
        return twin.weights(inner_T[:, None] * gramian_TT * inner_T) * inner_T


def expected(
    twin: Balancer, model: Model, seeds: Sequence[int], precision: str, weights_T: Tensor
) -> Tensor:
    """The gradient of the shared and then of the private parameters, from plain ones.

    :param weights_T: Those of a Gramian method.
    """
    partition = partition_of(model)
    size = sum(parameter.numel() for parameter in partition.shared)
    seeds = [seed + 100 * number for number in samples(twin) for seed in seeds]
    parameters = [*partition.shared, *partition.private]
    jacobian_NTP = torch.stack([plain(model, parameters, seed, precision) for seed in seeds])
    losses_NT = losses_of(model, seeds)
    if isinstance(twin, LossBalancer):
        weights_NT = torch.stack([twin.weigh(EACH_T, losses_T) for losses_T in losses_NT])
        return (weights_NT[:, :, None] * jacobian_NTP).sum(1).mean(0)
    jacobian_TP, private_P = jacobian_NTP.mean(0)[:, :size], jacobian_NTP.mean(0)[:, size:].sum(0)
    if isinstance(twin, GramianBalancer):
        return torch.cat([weights_T @ jacobian_TP, private_P])
    assert isinstance(twin, JacobianBalancer)
    twin.losses_t = losses_NT.mean(0)
    inner_T = torch.ones(TASKS)
    if twin.inner is not None:
        inner_T = twin.inner.weigh(EACH_T, twin.losses_t)
    with twin.seed_draws():
        return torch.cat([twin.combine(inner_T[:, None] * jacobian_TP), private_P])


def check_update(method: Mapping[str, Any], model: Model, precision: str) -> None:
    balancer = built(method, model)
    weights_T = run(balancer, model, TWO_BATCHES, precision, SCALES[precision])
    partition = partition_of(model)
    found_P = gradient([*partition.shared, *partition.private])
    expected_P = expected(built(method, model), model, TWO_BATCHES, precision, weights_T)
    size = sum(parameter.numel() for parameter in partition.shared)
    for part in (slice(0, size), slice(size, None)):
        assert_near(found_P[part], expected_P[part], TOLERANCE[precision])


@pytest.fixture(params=[*METHODS.values()], ids=[*METHODS])
def method(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


each_precision = pytest.mark.parametrize("precision", TOLERANCE)
TWO_BATCHES = (1, 2)


@each_precision
@pytest.mark.parametrize("name", [name for name in GRAMIAN if name.split()[-1] not in APPROXIMATE])
def test_weights_are_those_of_exact_inner_products(name: str, precision: str) -> None:
    method = GRAMIAN[name]
    model = Model()
    weights_T = run(built(method, model), model, TWO_BATCHES, precision, SCALES[precision])
    assert_near(weights_T, decided(method, model, TWO_BATCHES), TOLERANCE[precision])


@each_precision
def test_the_update_is_the_weighted_sum_of_plain_gradients(
    method: dict[str, Any], precision: str
) -> None:
    check_update(method, Model(), precision)


CASES = [(kind, precision) for kind in (Tied, LowRank) for precision in TOLERANCE]


@pytest.mark.parametrize(("kind", "precision"), [(Recurrent, "fp32"), *CASES])
@pytest.mark.parametrize("gradients", ["auto", "exact", "streamed", *APPROXIMATE])
def test_it_is_whatever_the_model_looks_like(
    kind: type[Model], gradients: str, precision: str
) -> None:
    check_update({"kind": "mgda", "gradients": gradients}, kind(), precision)


@pytest.mark.parametrize("kind", ["pcgrad", "mgda"])
@each_precision
def test_kept_weights_weigh_the_gradients_of_their_own_step(kind: str, precision: str) -> None:
    model = Model()
    balancer = built({"kind": kind, "every": 2}, model)
    first_T = run(balancer, model, [1], precision, SCALES[precision])
    second_T = run(balancer, model, [2], precision, SCALES[precision])
    assert torch.equal(first_T, second_T)
    shared = partition_of(model).shared
    expected_P = first_T @ plain(model, shared, 2, precision)
    assert_near(gradient(shared), expected_P, TOLERANCE[precision])


def state(balancer: Balancer) -> dict[str, Tensor]:
    """Without the count of a loss method, which never sees gradients and so no overflow."""
    unaware = [
        f"{name}.draws".removeprefix(".")
        for name, part in balancer.named_modules()
        if isinstance(part, LossBalancer)
    ]
    return {k: v.clone() for k, v in balancer.state_dict().items() if k not in unaware}


def test_a_step_that_overflows_leaves_no_trace(method: dict[str, Any]) -> None:
    model = Model()
    balancer, twin = built(method, model), built(method, model)
    for each in (balancer, twin):
        for seed in range(method.get("every", 1)):
            run(each, model, [seed], "fp16", SCALES["fp16"])
    before = state(balancer)
    run(balancer, model, [8], "fp16", OVERFLOW)
    assert not gradient([*model.parameters()]).isfinite().all()
    assert_close(state(balancer), before, rtol=0, atol=0)
    found_T = run(balancer, model, [9], "fp16", SCALES["fp16"])
    found_P = gradient([*model.parameters()])
    assert_close(found_T, run(twin, model, [9], "fp16", SCALES["fp16"]))
    assert_close(found_P, gradient([*model.parameters()]))
    assert_close(state(balancer), state(twin))


@functools.cache
def trained(name: str, precision: str, *, inside: bool = False) -> tuple[Tensor, Tensor]:
    """How far a plain loop moves the parameters of a model, and of a method.

    In fp16 the first step overflows, and is done again.
    """
    model = Model()
    balancer = built(METHODS[name], model)
    learned = [*model.parameters(), *balancer.parameters()]
    optimiser = torch.optim.SGD(learned, lr=1e-3)
    scaler = torch.amp.GradScaler(
        "cpu", OVERFLOW, backoff_factor=SCALES["fp16"] / OVERFLOW, enabled=precision == "fp16"
    )
    before = [parameter.detach().clone() for parameter in learned]
    for seed in [1, 1, 2] if scaler.is_enabled() else [1, 2]:
        optimiser.zero_grad()
        with autocast(precision):
            losses = model.losses(seed)
            if inside:
                balancer.backward(losses, rows=ROWS, scaler=scaler)
        if not inside:
            balancer.backward(losses, rows=ROWS, scaler=scaler)
        scaler.unscale_(optimiser)
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        scaler.step(optimiser)
        scaler.update()
    moved = [(p.detach() - old).flatten() for p, old in zip(learned, before, strict=True)]
    own = len([*balancer.parameters()])
    return torch.cat(moved[: len(moved) - own]), torch.cat(
        [torch.zeros(0), *moved[len(moved) - own :]]
    )


@pytest.mark.parametrize(
    ("precision", "inside"),
    [("bf16", False), ("bf16", True), ("fp16", False)],
    ids=["bf16", "backward inside of autocast", "fp16"],
)
@pytest.mark.parametrize("name", [name for name in METHODS if name != "modo"])
def test_a_plain_loop_learns_what_it_learns_in_full_precision(
    name: str, precision: str, *, inside: bool
) -> None:
    # rounding turns a few of the coordinates whose signs are nearly as likely as not
    tolerance = 0.3 if name == "graddrop" else 2 * TOLERANCE[precision]
    halves, wholes = trained(name, precision, inside=inside), trained(name, "fp32")
    for found_P, expected_P in zip(halves, wholes, strict=True):
        assert_near(found_P, expected_P, tolerance)


@pytest.mark.parametrize("name", [name for name in METHODS if "grouped" not in name])
def test_clipping_sees_the_balanced_gradient(name: str) -> None:
    """An update is the gradient here, for the learning rate is one."""
    updates = {}
    for clip in (0.0, 0.01):
        model = make_model()
        balancer = balancers.build(METHODS[name], len(model.tasks))
        before = values(model)
        torch.manual_seed(0)  # of the halves
        result = make_stepper(model, balancer, clip=clip).step([make_batch(LABELLED)])
        updates[clip] = torch.cat([change.flatten() for change in update(model, before).values()])
    norm_of_own = math.sqrt(max(result.gradient_norm**2 - float(updates[0.0].norm()) ** 2, 0.0))
    assert (norm_of_own > 1e-3) == (len([*balancer.parameters()]) > 0)
    assert_near(updates[0.01], updates[0.0] * 0.01 / result.gradient_norm, 1e-3)
