"""What every balancing method must do. A new method is covered by being registered."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from polytask.balancing import Balancer, LossBalancer, balancers
from polytask.core.partition import Partition

NUM_TASKS = 3


class ToyModel(nn.Module):
    """One shared layer and one head per task."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(4, 5)
        self.heads = nn.ModuleList(nn.Linear(5, 1) for _ in range(NUM_TASKS))

    def losses(self) -> Tensor:
        hidden_BD = self.trunk(torch.arange(8.0).view(2, 4) / 8)
        return torch.stack([head(hidden_BD).square().mean() for head in self.heads])

    def partition(self) -> Partition:
        return Partition(list(self.trunk.parameters()), list(self.heads.parameters()))


def gradient(model: ToyModel) -> Tensor:
    assert model.trunk.weight.grad is not None
    return model.trunk.weight.grad.flatten()


@pytest.fixture(params=balancers.kinds())
def balancer(request: pytest.FixtureRequest) -> Balancer:
    return balancers.build(request.param, NUM_TASKS)


def test_fills_every_gradient_with_finite_numbers(balancer: Balancer) -> None:
    model = ToyModel()
    weights_T = balancer.backward(model.losses(), model.partition())
    assert weights_T.shape == (NUM_TASKS,)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_keeps_the_direction_when_all_tasks_agree(balancer: Balancer) -> None:
    model, alone = ToyModel(), ToyModel()
    alone.losses()[0].backward()
    balancer.backward(model.losses()[0].repeat(NUM_TASKS), model.partition())
    cosine = torch.cosine_similarity(gradient(model), gradient(alone), dim=0)
    assert_close(cosine, torch.tensor(1.0))


def test_state_survives_a_round_trip(balancer: Balancer) -> None:
    model = ToyModel()
    balancer.backward(model.losses(), model.partition())
    again = type(balancer)(NUM_TASKS)
    again.load_state_dict(balancer.state_dict())
    assert_close(dict(again.state_dict()), dict(balancer.state_dict()))


def test_an_absent_task_gets_no_weight_and_its_state_is_left_alone(balancer: Balancer) -> None:
    model = ToyModel()
    before = {name: value.clone() for name, value in balancer.state_dict().items()}
    present_t = torch.tensor([0, 2])
    balancer.accumulate(model.losses()[present_t], model.partition(), present_t)
    weights_T = balancer.resolve(model.partition())
    assert weights_T[1] == 0
    for name, value in balancer.named_parameters():
        assert value.grad is None or value.grad[1] == 0, name
    for name, value in balancer.state_dict().items():
        if value.shape == (NUM_TASKS,):
            assert_close(value[1], before[name][1], equal_nan=True)


def test_one_task_is_plain_gradient_descent_up_to_a_factor(balancer: Balancer) -> None:
    model, alone = ToyModel(), ToyModel()
    alone.losses()[1].backward()
    only_t = torch.tensor([1])
    balancer.accumulate(model.losses()[only_t], model.partition(), only_t)
    balancer.resolve(model.partition())
    cosine = torch.cosine_similarity(gradient(model), gradient(alone), dim=0)
    assert_close(cosine, torch.tensor(1.0))


def test_batches_of_a_step_add_up(balancer: Balancer) -> None:
    """Two halves of a step give the gradient of the whole one, whatever noise a method draws."""
    whole, halves = ToyModel(), ToyModel()
    all_T = torch.arange(NUM_TASKS)
    other = type(balancer)(NUM_TASKS)
    torch.manual_seed(1)
    balancer.backward(whole.losses(), whole.partition())
    for _ in range(2):
        torch.manual_seed(1)
        other.accumulate(halves.losses() / 2, halves.partition(), all_T)
    torch.manual_seed(1)
    other.resolve(halves.partition())
    assert_close(gradient(halves), gradient(whole))


def test_a_gradient_hook_scales_what_a_task_contributes(balancer: Balancer) -> None:
    """Training weighs rows by a hook on the losses; methods must differentiate through it."""
    model = ToyModel()
    losses_T = model.losses()
    losses_T.register_hook(lambda gradient_T: gradient_T * torch.zeros(NUM_TASKS))
    balancer.backward(losses_T, model.partition())
    assert gradient(model).abs().max() == 0


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
    weights_T = balancers.build("random", NUM_TASKS).backward(model.losses(), model.partition())
    assert_close(weights_T.sum(), torch.tensor(float(NUM_TASKS)))
    assert weights_T.unique().numel() == NUM_TASKS


def test_fixed_weights_are_those_of_the_recipe() -> None:
    model = ToyModel()
    method = balancers.build({"kind": "fixed", "weights": [1.0, 0.5, 2.0]}, NUM_TASKS)
    weights_T = method.backward(model.losses(), model.partition())
    assert_close(weights_T, torch.tensor([1.0, 0.5, 2.0]))


def test_pcgrad_equals_the_projection_of_two_conflicting_gradients() -> None:
    """With g1 = (1, 0), g2 = (-1, 1): g1' = (.5, .5), g2' = (0, 1)."""
    jacobian_TP = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    method = balancers.build("pcgrad", 2)
    weights_T = method.weights(jacobian_TP @ jacobian_TP.T)  # type: ignore[operator]
    assert_close(weights_T @ jacobian_TP, torch.tensor([0.5, 1.5]))
