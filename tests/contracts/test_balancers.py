"""What every balancing method must do. A new method is covered by being registered."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from polytask.balancing import Balancer, GramianBalancer, LossBalancer, TaskLosses, balancers
from polytask.core.partition import Partition

NUM_TASKS = 3


class ToyModel(nn.Module):
    """One shared layer and one head per task."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(4, 5)
        self.heads = nn.ModuleList(nn.Linear(5, 1) for _ in range(NUM_TASKS))

    def losses(self) -> list[Tensor]:
        hidden_BD = self.trunk(torch.arange(8.0).view(2, 4) / 8)
        return [head(hidden_BD).square().mean() for head in self.heads]

    def partition(self) -> Partition:
        return Partition(list(self.trunk.parameters()), list(self.heads.parameters()))


def gradient(model: ToyModel) -> Tensor:
    assert model.trunk.weight.grad is not None
    return model.trunk.weight.grad.flatten()


def run(
    balancer: Balancer,
    model: ToyModel,
    tasks: Sequence[int] = range(NUM_TASKS),
) -> Tensor:
    """One step; methods that need two samples of rows get the same rows twice."""
    share = 0.5 if "halves" in balancer.needs else 1.0
    for sample in [0, 1] if balancer.needs & {"halves", "validation"} else [0]:
        chosen = [model.losses()[task] for task in tasks]
        losses = TaskLosses(chosen, tasks, torch.full((len(tasks),), share), sample)
        balancer.accumulate(losses, model.partition())
    return balancer.resolve(model.partition())


@pytest.fixture(params=balancers.kinds())
def balancer(request: pytest.FixtureRequest) -> Balancer:
    return balancers.build(request.param, NUM_TASKS)


def test_fills_every_gradient_with_finite_numbers(balancer: Balancer) -> None:
    model = ToyModel()
    weights_T = run(balancer, model)
    assert weights_T.shape == (NUM_TASKS,)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_keeps_the_direction_when_all_tasks_agree(balancer: Balancer) -> None:
    """Equal gradients; a method may still prefer a task, but not another direction."""
    model, alone = ToyModel(), ToyModel()
    alone.losses()[0].backward()
    for sample in [0, 1] if balancer.needs & {"halves", "validation"} else [0]:
        same = [model.losses()[0]] * NUM_TASKS
        losses = TaskLosses(same, range(NUM_TASKS), torch.ones(NUM_TASKS), sample)
        balancer.accumulate(losses, model.partition())
    balancer.resolve(model.partition())
    assert_close(gradient(model) / gradient(model).norm(), gradient(alone) / gradient(alone).norm())


def test_state_survives_a_round_trip(balancer: Balancer) -> None:
    model = ToyModel()
    run(balancer, model)
    again = type(balancer)(NUM_TASKS)
    again.load_state_dict(balancer.state_dict())
    assert_close(dict(again.state_dict()), dict(balancer.state_dict()))


def test_an_absent_task_gets_no_weight_and_its_state_is_left_alone(balancer: Balancer) -> None:
    model = ToyModel()
    before = {name: value.clone() for name, value in balancer.state_dict().items()}
    assert run(balancer, model, [0, 2])[1] == 0
    for name, value in balancer.named_parameters():
        assert value.grad is None or value.grad[1] == 0, name
    for name, value in balancer.state_dict().items():
        if value.shape == (NUM_TASKS,):
            assert_close(value[1], before[name][1], equal_nan=True)


def test_one_task_is_plain_gradient_descent_up_to_a_factor(balancer: Balancer) -> None:
    model, alone = ToyModel(), ToyModel()
    alone.losses()[1].backward()
    run(balancer, model, [1])
    cosine = torch.cosine_similarity(gradient(model), gradient(alone), dim=0)
    assert_close(cosine, torch.tensor(1.0))


def test_heads_of_gradient_methods_get_their_own_gradient(balancer: Balancer) -> None:
    model, plain = ToyModel(), ToyModel()
    torch.stack(plain.losses()).sum().backward()
    run(balancer, model)
    if not isinstance(balancer, LossBalancer):
        assert_close(
            [p.grad for p in model.heads.parameters()], [p.grad for p in plain.heads.parameters()]
        )


def test_batches_of_a_step_add_up(balancer: Balancer) -> None:
    """The same rows in two batches of half the share are the whole step, whatever is drawn."""
    whole, halves = ToyModel(), ToyModel()
    other = type(balancer)(NUM_TASKS)
    run(balancer, whole)
    samples = [0, 1] if balancer.needs & {"halves", "validation"} else [0]
    for sample in [*samples, *samples]:
        share_T = torch.full((NUM_TASKS,), 0.25 if "halves" in balancer.needs else 0.5)
        losses = TaskLosses(halves.losses(), range(NUM_TASKS), share_T, sample)
        other.accumulate(losses, halves.partition())
    other.resolve(halves.partition())
    assert_close(gradient(halves), gradient(whole))


def test_it_names_itself(balancer: Balancer) -> None:
    kind = next(k for k in balancers.kinds() if balancers.part(k) is type(balancer))
    line, _ = balancers.describe(kind)
    assert line.endswith(".")
    assert "\n" not in line


def test_uncertainty_equals_equation_10() -> None:
    method = balancers.build({"kind": "uncertainty", "initial": math.log(4.0)}, 2)
    assert isinstance(method, LossBalancer)
    value = method.objective(torch.tensor([2.0, 6.0]))
    assert_close(value, torch.tensor(2.0 / 8 + 6.0 / 8 + 2 * math.log(2.0)))


def test_dynamic_weight_average_equals_equation_7() -> None:
    method = balancers.build({"kind": "dwa", "temperature": 2.0}, 2)
    assert isinstance(method, LossBalancer)
    for epoch, losses in enumerate([(4.0, 1.0), (2.0, 1.0), (9.0, 9.0)]):
        method.observe({"epoch": epoch, "losses": dict(enumerate(losses))})
    expected_T = 2 * torch.tensor([0.5 / 2, 1.0 / 2]).softmax(0)
    assert_close(method.get_buffer("weights_T"), expected_T)


def test_random_weights_sum_to_the_number_of_tasks() -> None:
    model = ToyModel()
    weights_T = balancers.build("random", NUM_TASKS).backward(model.losses())
    assert_close(weights_T.sum(), torch.tensor(float(NUM_TASKS)))
    assert weights_T.unique().numel() == NUM_TASKS


def test_fixed_weights_are_those_of_the_recipe() -> None:
    model = ToyModel()
    method = balancers.build({"kind": "fixed", "weights": [1.0, 0.5, 2.0]}, NUM_TASKS)
    weights_T = method.backward(model.losses())
    assert_close(weights_T, torch.tensor([1.0, 0.5, 2.0]))


def test_pcgrad_equals_the_projection_of_two_conflicting_gradients() -> None:
    """With g1 = (1, 0), g2 = (-1, 1): g1' = (.5, .5), g2' = (0, 1)."""
    jacobian_TP = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    method = balancers.build("pcgrad", 2)
    weights_T = method.weights(jacobian_TP @ jacobian_TP.T)  # type: ignore[operator]
    assert_close(weights_T @ jacobian_TP, torch.tensor([0.5, 1.5]))


HALVES = [kind for kind in balancers.kinds() if "halves" in balancers.part(kind).needs]


@pytest.mark.parametrize("kind", HALVES)
def test_halves_that_agree_look_like_the_whole_step(kind: str) -> None:
    """Their product is then the Gramian of the step's mean gradients."""
    model, balancer, twin = ToyModel(), *(balancers.build(kind, NUM_TASKS) for _ in range(2))
    shared = [*model.trunk.parameters()]
    rows = [torch.autograd.grad(model.losses()[task], shared) for task in range(NUM_TASKS)]
    jacobian_TP = torch.stack([torch.cat([piece.flatten() for piece in row]) for row in rows])
    assert isinstance(twin, GramianBalancer)
    expected_T = twin.weights(jacobian_TP @ jacobian_TP.T)
    assert_close(run(balancer, model), expected_T)
    assert not torch.allclose(expected_T, torch.ones(NUM_TASKS), atol=1e-3)
