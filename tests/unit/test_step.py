"""One update: every row counts the same, absent tasks do not count, what is broken is left out."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from typing_extensions import override

from polytask.balancing import Balancer, balancers
from polytask.core.batch import Batch, Targets
from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.errors import TrainingError
from polytask.core.features import Features
from polytask.data.augmentation import Mix, RowMixing
from polytask.modeling import MultiTaskModel
from polytask.sharing import Architecture
from polytask.sharing.hard import Hard
from polytask.tasks import tasks
from polytask.training.step import Stepper
from tests.fakes import Cells

WIDTH = 3
LABELS = ("no", "yes")
Rows = Sequence[tuple[list[float], str | None, float | None]]
"""Cells, a class and a number; None where it is missing."""

ROWS: Rows = [
    ([0.5, -1.0, 2.0], "yes", None),
    ([1.5, 0.3, -0.7], "no", 0.4),
    ([-0.2, 0.8, 0.1], "yes", -1.2),
    ([0.9, 0.9, -1.9], "no", None),
    ([-1.1, 0.0, 0.6], "yes", None),
    ([0.4, -0.5, 1.0], "no", None),
    ([2.0, 1.0, 0.0], "yes", 0.9),
    ([-0.6, 0.2, -0.3], "no", None),
]


class Small(Hard):
    """Hard sharing of an encoder that has to stay small."""

    @override
    def penalty(self) -> Tensor:
        return self.encoder.get_parameter("columns").square().sum()


def make_model(
    names: Sequence[str] = ("kind", "amount"), sharing: type[Architecture] = Hard
) -> MultiTaskModel:
    torch.manual_seed(0)
    encoder = Cells()
    encoder.fit([tuple([0.0] * WIDTH)])
    made = {
        "kind": tasks.build({"kind": "classification", "target": "kind", "dropout": 0}, "kind"),
        "amount": tasks.build({"kind": "regression", "target": "amount", "dropout": 0}, "amount"),
    }
    made["kind"].fit(LABELS)
    made["amount"].fit([-1.0, 1.0])
    chosen = {name: made[name] for name in names}
    return MultiTaskModel(sharing(encoder, list(chosen)), chosen)


def make_batch(rows: Rows) -> Batch:
    encoder = Cells()
    cells = [cells for cells, _, _ in rows]
    inputs = encoder.collate(encoder.prepare([tuple(each) for each in cells]))
    targets: dict[str, Targets] = {}
    for position, (task, kind) in enumerate([("kind", torch.long), ("amount", torch.float)], 1):
        found = [(at, row[position]) for at, row in enumerate(rows) if row[position] is not None]
        if found:
            values = [LABELS.index(v) if isinstance(v, str) else v for _, v in found]
            rows_b = torch.tensor([at for at, _ in found])
            targets[task] = Targets(rows_b, torch.tensor(values, dtype=kind))
    return Batch(inputs, targets, len(rows), tokens=WIDTH * len(rows), padded=WIDTH * len(rows))


def make_stepper(
    model: MultiTaskModel,
    balancing: str | Balancer = "equal",
    probe: Batch | None = None,
    **options: Any,
) -> Stepper:
    """Plain gradient descent with rate 1, so that an update is the gradient."""
    balancer = (
        balancers.build(balancing, len(model.tasks)) if isinstance(balancing, str) else balancing
    )
    labelled = make_batch([row for row in ROWS if None not in row]) if probe is None else probe
    learned = [*model.parameters(), *balancer.parameters()]
    settings = {"clip": 0.0, "not_finite": "stop", **options}
    return Stepper(
        model,
        balancer,
        model.partition(labelled),
        torch.optim.SGD(learned, lr=1.0),
        contextlib.nullcontext,
        torch.amp.GradScaler("cpu", enabled=False),
        torch.device("cpu"),
        **settings,
        validation=itertools.repeat(labelled),
    )


def values(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def update(module: nn.Module, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: before[name] - tensor for name, tensor in values(module).items()}


def test_every_label_counts_the_same_whatever_the_sizes_of_its_task() -> None:
    model, plain = make_model(), make_model()
    before = values(model)
    make_stepper(model).step([make_batch(ROWS)])
    total = torch.tensor(0.0)
    for row in ROWS:  # one by one: 8 classes, 3 numbers
        total = total + torch.stack([*plain.losses(make_batch([row])).values()]).sum()
    (total / len(ROWS)).backward()
    for name, parameter in plain.named_parameters():
        assert parameter.grad is not None
        assert_close(update(model, before)[name], parameter.grad, msg=name)


def test_losses_are_means_over_all_labels_of_the_step() -> None:
    model = make_model()
    losses = model.losses(make_batch(ROWS))
    result = make_stepper(model).step([make_batch(ROWS[:3]), make_batch(ROWS[3:])])
    assert list(result.losses) == ["kind", "amount"]
    for name, loss in losses.items():
        assert result.losses[name] == pytest.approx(loss.item(), rel=1e-5)
    assert result.rows == 8
    assert result.tokens == result.padded == 24


@pytest.mark.parametrize("balancing", ["equal", "fixed", "uncertainty", "dwa", "pcgrad"])
def test_two_accumulated_batches_equal_one(balancing: str) -> None:
    rows = [row for row in ROWS if None not in row] * 2
    whole, parts = make_stepper(make_model(), balancing), make_stepper(make_model(), balancing)
    before = values(whole.model)
    torch.manual_seed(0)
    one = whole.step([make_batch(rows)])
    torch.manual_seed(0)
    two = parts.step([make_batch(rows[:3]), make_batch(rows[3:])])
    assert two.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-5)
    assert two.weights == pytest.approx(one.weights, rel=1e-5)
    assert any(bool(change.abs().max() > 1e-3) for change in update(whole.model, before).values())
    for module, other in [(whole.model, parts.model), (whole.balancer, parts.balancer)]:
        for name, tensor in values(module).items():
            assert_close(values(other)[name], tensor, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("balancing", balancers.kinds())
def test_a_stopped_task_contributes_nothing(balancing: str) -> None:
    model = make_model()
    stepper = make_stepper(model, balancing)
    before, state = values(model), values(stepper.balancer)
    result = stepper.step([make_batch(ROWS).without(frozenset({"amount"}))])
    assert set(result.losses) == set(result.weights) == {"kind"}
    change = update(model, before)
    for name in change:
        if name.startswith("heads.amount"):
            assert not change[name].any(), name
    assert any(change[name].any() for name in change if name.startswith("heads.kind"))
    for name, tensor in values(stepper.balancer).items():
        if tensor.shape == (2,):
            assert_close(tensor[1], state[name][1])


def test_what_one_task_reads_beside_a_stopped_one_is_as_if_that_had_no_labels() -> None:
    stopped, absent = make_model(), make_model()
    make_stepper(stopped).step([make_batch(ROWS).without(frozenset({"amount"}))])
    make_stepper(absent).step([make_batch([(cells, kind, None) for cells, kind, _ in ROWS])])
    assert_close(values(stopped), values(absent))


def broken(rows: Rows) -> Rows:
    """The same rows, a number of which is infinite."""
    return [(cells, kind, amount and math.inf) for cells, kind, amount in rows]


def test_a_broken_loss_is_named_before_anything_changes() -> None:
    model = make_model()
    before = values(model)
    with pytest.raises(TrainingError, match=r"not finite: amount \(inf\)"):
        make_stepper(model).step([make_batch(broken(ROWS))])
    assert_close(values(model), before)


@pytest.mark.parametrize("balancing", balancers.kinds())
def test_a_broken_loss_is_left_out(balancing: str) -> None:
    model, without = make_model(), make_model()
    torch.manual_seed(0)
    result = make_stepper(model, balancing, not_finite="skip").step([make_batch(broken(ROWS))])
    torch.manual_seed(0)
    make_stepper(without, balancing).step([make_batch(ROWS).without(frozenset({"amount"}))])
    assert result.skipped == ("amount",)
    assert set(result.losses) == {"kind"}
    assert_close(values(model), values(without))


def test_a_task_is_left_out_only_where_it_is_broken() -> None:
    result = make_stepper(make_model(), not_finite="skip").step(
        [make_batch(ROWS), make_batch(broken(ROWS))]
    )
    assert result.skipped == ("amount",)
    assert math.isfinite(result.losses["amount"])
    assert math.isfinite(result.gradient_norm)


def test_a_step_without_a_finite_loss_changes_nothing() -> None:
    model = make_model(["amount"])
    before = values(model)
    result = make_stepper(model, not_finite="skip").step([make_batch(broken(ROWS))])
    assert result.losses == result.weights == {}
    assert result.skipped == ("amount",)
    assert_close(values(model), before)


def break_gradients(model: MultiTaskModel) -> None:
    model.get_parameter("sharing.encoder.columns").register_hook(lambda grad: grad * math.nan)


def test_a_broken_gradient_stops() -> None:
    model = make_model()
    break_gradients(model)
    before = values(model)
    with pytest.raises(TrainingError, match="gradient is not finite although every loss is"):
        make_stepper(model).step([make_batch(ROWS)])
    assert_close(values(model), before)


def learners() -> list[str]:
    found = [k for k in balancers.kinds() if "losses_after" in balancers.part(k).needs]
    return [*found, "uncertainty", "imtl_l", "gradnorm", "uw_so"]


@pytest.mark.parametrize("balancing", learners())
def test_a_step_that_overflows_in_fp16_teaches_nothing(balancing: str) -> None:
    """The scaler leaves the step out, and tries again with a smaller scale."""
    model = make_model()
    stepper = make_stepper(model, balancing)
    stepper.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, backoff_factor=2.0**-30)
    stepper.autocast = lambda: torch.autocast("cpu", torch.float16)
    batch = make_batch([row for row in ROWS if None not in row] * 2)
    before = [values(model), {k: v for k, v in values(stepper.balancer).items() if k != "draws"}]
    assert not math.isfinite(stepper.step([batch]).gradient_norm)
    for module, state in zip([model, stepper.balancer], before, strict=True):
        for name, tensor in state.items():
            assert_close(module.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
    assert math.isfinite(stepper.step([batch]).gradient_norm)
    assert any(update(model, before[0])[name].any() for name in before[0])


def test_a_broken_gradient_is_skipped() -> None:
    model = make_model()
    break_gradients(model)
    before = values(model)
    result = make_stepper(model, not_finite="skip").step([make_batch(ROWS)])
    assert result.skipped == ("gradient",)
    assert_close(values(model), before)


class Counting(RowMixing):
    """Mixes nothing, and counts the rows."""

    rows = 0

    @override
    def draw(self, rows: int) -> Mix:
        self.rows += rows
        return Mix(1.0, torch.arange(rows))


@pytest.mark.parametrize("balancing", balancers.kinds())
def test_training_rows_alone_are_augmented(balancing: str) -> None:
    model = make_model()
    model.mixing = mixing = Counting()
    stepper = make_stepper(model, balancing)
    stepper.step([make_batch(ROWS[:2])])
    times = 2 if "losses_after" in stepper.balancer.needs else 1
    assert mixing.rows == 3 * times  # three labels; the validation rows have six


@pytest.mark.parametrize("clip", [0.01, 1e6])
def test_the_gradient_is_clipped_by_its_norm_over_all_parameters(clip: float) -> None:
    model = make_model()
    before = values(model)
    result = make_stepper(model, clip=clip).step([make_batch(ROWS)])
    length = torch.cat([change.flatten() for change in update(model, before).values()]).norm()
    assert result.gradient_norm > 0.01
    assert float(length) == pytest.approx(min(clip, result.gradient_norm), rel=1e-3)


def test_the_penalty_of_an_architecture_counts_once_a_step() -> None:
    model, plain = make_model(sharing=Small), make_model()
    columns = values(model)["sharing.encoder.columns"]
    batches = [make_batch(ROWS[:4]), make_batch(ROWS[4:])]
    make_stepper(model).step(batches)
    make_stepper(plain).step(batches)
    difference = values(plain)["sharing.encoder.columns"] - values(model)["sharing.encoder.columns"]
    assert_close(difference, 2 * columns)


@pytest.mark.parametrize("balancing", ["equal", "pcgrad", "graddrop"])
def test_methods_do_not_see_the_penalty(balancing: str) -> None:
    model, plain = make_model(sharing=Small), make_model()
    columns = values(model)["sharing.encoder.columns"]
    for each in (model, plain):
        torch.manual_seed(0)
        make_stepper(each, balancing).step([make_batch(ROWS)])
    difference = values(plain)["sharing.encoder.columns"] - values(model)["sharing.encoder.columns"]
    assert_close(difference, 2 * columns, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("balancing", ["equal", "uncertainty", "pcgrad", "graddrop"])
def test_a_penalty_trains_what_no_task_reaches(balancing: str) -> None:
    """As a discriminator, which reads what the tasks read, but is not read by them."""

    class Watched(Hard):
        """Its features have to be what an extra parameter says."""

        def __init__(self, encoder: Encoder, names: Sequence[str], /) -> None:
            super().__init__(encoder, names)
            self.scale = torch.nn.Parameter(torch.tensor(2.0))

        @override
        def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
            found = super().forward(inputs, rows)
            self.term = (self.scale * next(iter(found.values())).mean_BD).square().mean()
            return found

        @override
        def penalty(self) -> Tensor:
            return self.term

    model, plain = make_model(sharing=Watched), make_model()
    torch.manual_seed(0)
    make_stepper(plain, balancing).step([make_batch(ROWS)])
    term = penalty_of(model)
    names = [*model.trainable()]
    extra = torch.autograd.grad(term, [*model.trainable().values()], materialize_grads=True)
    before = values(model)
    torch.manual_seed(0)
    result = make_stepper(model, balancing).step([make_batch(ROWS)])
    assert result.sharing["penalty"] == pytest.approx(float(term.detach()))
    for name, gradient in zip(names, extra, strict=True):
        alone = values(plain).get(name, before[name])
        assert_close(values(model)[name], alone - gradient, rtol=1e-4, atol=1e-5)
    assert not values(model)["sharing.scale"].equal(before["sharing.scale"])


def penalty_of(model: MultiTaskModel) -> Tensor:
    model.losses(make_batch(ROWS))
    term = model.sharing.penalty()
    assert term is not None
    return term


def test_the_rows_of_a_compiled_model_may_be_penalised() -> None:
    """Its graph is differentiated for the penalty, and then for the losses."""

    class Bounded(Hard):
        """Features that have to stay small."""

        @override
        def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
            found = super().forward(inputs, rows)
            self.size = torch.stack([each.mean_BD.mean() for each in found.values()]).square().sum()
            return found

        @override
        def penalty(self) -> Tensor:
            return self.size

    model, compiled = make_model(sharing=Bounded), make_model(sharing=Bounded)
    compiled.sharing.compile(backend="aot_eager")
    for each in (model, compiled):
        result = make_stepper(each).step([make_batch(ROWS)])
        assert result.sharing["penalty"] > 0
    for name, value in values(model).items():
        assert_close(values(compiled)[name], value, rtol=1e-4, atol=1e-5)


def test_a_penalty_on_what_is_frozen_is_left_out() -> None:
    model = make_model(sharing=Small)
    model.get_parameter("sharing.encoder.columns").requires_grad_(False)
    before = values(model)
    result = make_stepper(model).step([make_batch(ROWS)])
    assert "penalty" not in result.sharing
    changed = [name for name, value in values(model).items() if not value.equal(before[name])]
    assert changed
    assert all(name.startswith("heads.") for name in changed)
