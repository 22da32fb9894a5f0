from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import AdamW
from typing_extensions import override

from polytask.core.batch import Fields, Inputs
from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.core.features import Features
from polytask.modeling import MultiTaskModel
from polytask.sharing import architectures
from polytask.tasks import tasks
from polytask.training.optimiser import build_optimiser
from polytask.training.options import OptimiserOptions

TASKS = ("tone", "topic")


class Stack(Encoder):
    """An embedding, three layers, a norm over two axes and a last projection; nothing is run."""

    width = 4

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.norm = nn.LayerNorm((2, 4))
        self.last = nn.Linear(4, 4)

    @property
    @override
    def layers(self) -> Sequence[nn.Module]:
        return list(self.blocks)

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        raise NotImplementedError

    @override
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        raise NotImplementedError

    @override
    def num_tokens(self, inputs: Inputs) -> int:
        raise NotImplementedError

    @override
    def collate(self, rows: Sequence[Inputs]) -> Collated:
        raise NotImplementedError

    @override
    def forward(self, inputs: Collated) -> Features:
        raise NotImplementedError

    @override
    def save(self, folder: Path) -> None:
        raise NotImplementedError

    @override
    def restore(self, folder: Path) -> None:
        raise NotImplementedError


class Learned(nn.Module):
    """A balancer's own parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.log_variance_T = Parameter(torch.zeros(2))
        self.mixing_TT = Parameter(torch.zeros(2, 2))


def model_of(sharing: str = "hard") -> MultiTaskModel:
    fitted = {
        name: tasks.build({"kind": "classification", "labels": ["no", "yes"]}, name)
        for name in TASKS
    }
    for task in fitted.values():
        task.fit(["no", "yes"])
    return MultiTaskModel(architectures.build(sharing, Stack(), list(TASKS)), fitted)


def options_of(**values: object) -> OptimiserOptions:
    return OptimiserOptions.model_validate(values)


def settings_of(optimiser: AdamW, model: nn.Module) -> dict[str, tuple[float, float]]:
    """Name to peak rate and decay."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group["initial_lr"], group["weight_decay"])
        for group in optimiser.param_groups
        for parameter in group["params"]
        if parameter in names
    }


def test_only_weights_decay() -> None:
    model = model_of()
    found = settings_of(build_optimiser(model, nn.Identity(), options_of()), model)
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, (rate, decay) in found.items():
        assert decay == (0.0 if name.endswith("bias") or ".norm." in name else 0.01), name
        assert rate == 3e-5


def test_layers_have_lower_rates_the_further_down_they_are() -> None:
    model = model_of()
    options = options_of(learning_rate=0.8, head_learning_rate=2.0, layer_decay=0.5)
    found = settings_of(build_optimiser(model, nn.Identity(), options), model)
    rates = {name: rate for name, (rate, _) in found.items() if name.endswith("weight")}
    prefix = "sharing.encoder."
    assert {name.removeprefix(prefix): rate for name, rate in rates.items()} == {
        "table.weight": pytest.approx(0.1),
        "blocks.0.weight": pytest.approx(0.2),
        "blocks.1.weight": pytest.approx(0.4),
        "blocks.2.weight": pytest.approx(0.8),
        "norm.weight": pytest.approx(0.8),
        "last.weight": pytest.approx(0.8),
        **{name: 2.0 for name in rates if name.startswith("heads.")},
    }
    assert sum(name.startswith("heads.") for name in rates) == 2


def test_every_encoder_of_an_architecture_counts_as_one() -> None:
    model = model_of("independent")
    options = options_of(learning_rate=0.8, head_learning_rate=2.0, layer_decay=0.5)
    found = settings_of(build_optimiser(model, nn.Identity(), options), model)
    tables = {name: rate for name, (rate, _) in found.items() if "table" in name}
    assert list(tables.values()) == pytest.approx([0.1, 0.1])
    assert {name for name, (rate, _) in found.items() if rate == 2.0} == {
        name for name in found if name.startswith("heads.")
    }


def test_a_task_has_its_own_rate_outside_the_encoder() -> None:
    model = model_of()
    model.heads["shared"] = nn.Linear(4, 4)
    tasks_of = {
        name: tuple(task for task in TASKS if f"heads.{task}." in name) or TASKS
        for name, _ in model.named_parameters()
    }
    options = options_of(
        learning_rate=0.8,
        head_learning_rate=2.0,
        layer_decay=0.5,
        task_learning_rates={"topic": 5.0},
    )
    found = settings_of(build_optimiser(model, nn.Identity(), options, tasks_of), model)
    rates = {name: rate for name, (rate, _) in found.items() if not name.startswith("sharing.")}
    assert rates == {name: 5.0 if name.startswith("heads.topic.") else 2.0 for name in rates}
    without = options_of(learning_rate=0.8, head_learning_rate=2.0, layer_decay=0.5)
    plain = settings_of(build_optimiser(model, nn.Identity(), without), model)
    assert {n: plain[n] for n in plain if "sharing." in n} == {
        n: found[n] for n in found if "sharing." in n
    }


def test_a_rate_of_a_task_that_trains_nothing_alone_is_refused() -> None:
    model = model_of()
    tasks_of = {name: TASKS for name, _ in model.named_parameters()}
    options = options_of(task_learning_rates={"topic": 5.0})
    with pytest.raises(RecipeError, match=r"task_learning_rates\.topic: the task trains no param"):
        build_optimiser(model, nn.Identity(), options, tasks_of)


def test_parameters_of_the_balancer_do_not_decay_and_have_the_rate_of_the_heads() -> None:
    balancer = Learned()
    options = options_of(head_learning_rate=2.0)
    optimiser = build_optimiser(model_of(), balancer, options)
    last = optimiser.param_groups[-1]
    assert last["params"] == list(balancer.parameters())
    assert (last["initial_lr"], last["weight_decay"]) == (2.0, 0.0)


def test_frozen_parameters_are_left_out_and_tied_ones_taken_once() -> None:
    model = model_of()
    encoder = model.sharing.encoder_of("tone")
    assert isinstance(encoder, Stack)
    encoder.table.requires_grad_(False)
    tied = nn.Linear(4, 4, bias=False)
    tied.weight = encoder.last.weight
    model.heads["tied"] = tied
    options = options_of(learning_rate=0.8, head_learning_rate=2.0)
    optimiser = build_optimiser(model, nn.Identity(), options)
    every = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    assert len(every) == len(set(every)) == len(list(model.parameters())) - 1
    assert settings_of(optimiser, model)["sharing.encoder.last.weight"] == (0.8, 0.01)


def test_the_order_is_that_of_the_model() -> None:
    options = options_of(layer_decay=0.5)
    states = [build_optimiser(model_of(), Learned(), options).state_dict() for _ in range(2)]
    assert states[0]["param_groups"] == states[1]["param_groups"]


def test_an_update_is_that_of_the_paper() -> None:
    """Algorithm 2 of Loshchilov and Hutter, first step: the moments cancel to the sign."""
    model = model_of()
    options = options_of(learning_rate=0.1, weight_decay=0.5, epsilon=1e-12)
    optimiser = build_optimiser(model, nn.Identity(), options)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, -3.0)
    optimiser.step()
    decays = {name: decay for name, (_, decay) in settings_of(optimiser, model).items()}
    for name, parameter in model.named_parameters():
        expected = before[name] * (1 - 0.1 * decays[name]) + 0.1
        torch.testing.assert_close(parameter.detach(), expected)


@pytest.mark.parametrize("layout", ["expanded", "transposed"])
def test_gradients_may_have_any_strides(layout: str) -> None:
    """The fused kernel of PyTorch 2.13 misreads such gradients on a CPU."""
    expected = torch.arange(16.0).view(4, 4) - 5 if layout == "transposed" else torch.ones(4, 4)
    strided = expected.T.contiguous().T if layout == "transposed" else torch.ones(1).expand(4, 4)
    results = []
    for gradient in (expected, strided):
        torch.manual_seed(0)
        model = model_of()
        optimiser = build_optimiser(model, nn.Identity(), options_of(learning_rate=0.1))
        encoder = model.sharing.encoder_of("tone")
        assert isinstance(encoder, Stack)
        for _ in range(2):
            encoder.last.weight.grad = gradient
            optimiser.step()
        results.append(encoder.last.weight.detach())
    assert torch.equal(*results)


def test_parameters_with_strides_are_not_left_to_the_fused_kernel() -> None:
    model = model_of()
    options = options_of()
    assert build_optimiser(model, nn.Identity(), options).defaults["fused"] is True
    encoder = model.sharing.encoder_of("tone")
    assert isinstance(encoder, Stack)
    encoder.last.weight = Parameter(encoder.last.weight.detach().T)
    assert build_optimiser(model, nn.Identity(), options).defaults["fused"] is False


def test_a_fused_update_has_the_same_bits_whatever_the_threads_and_addresses() -> None:
    def run(offset: int, threads: int) -> Tensor:
        torch.set_num_threads(threads)
        generator = torch.Generator().manual_seed(0)
        memory = torch.empty(70_005)
        weight = Parameter(memory[offset : offset + 70_001])
        weight.data.copy_(torch.randn(70_001, generator=generator))
        optimiser = AdamW([weight], lr=0.01, fused=True)
        for _ in range(5):
            weight.grad = torch.randn(70_001, generator=generator)
            optimiser.step()
        return weight.detach()

    threads = torch.get_num_threads()
    try:
        first = run(0, 1)
        assert all(torch.equal(first, run(offset, n)) for offset, n in ((1, 1), (0, 2), (3, 2)))
    finally:
        torch.set_num_threads(threads)
