"""Gradients of low-rank factors: exact where nothing else is trained, and else of these alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from polytask.balancing import Balancer, GramianBalancer, TaskLosses, balancers
from polytask.balancing.engine import PROVIDERS, Recorder, TaskGradients
from polytask.core.errors import RecipeError
from polytask.core.partition import Partition, infer_partition

TASKS = range(3)


class LowRank(nn.Module):
    """Two frozen layers: beside the first LoRA's two matrices, after the second an adapter."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.base = nn.ModuleList([nn.Linear(8, 12), nn.Linear(12, 8)]).requires_grad_(False)
        self.lora = nn.ParameterDict({"A": torch.randn(2, 8), "B": torch.randn(12, 2)})
        self.down, self.up = nn.Linear(8, 2), nn.Linear(2, 8)
        self.norm = nn.LayerNorm(8).requires_grad_(False)
        self.heads = nn.ModuleList(nn.Linear(8, 2) for _ in TASKS)

    def losses(self, seed: int) -> list[Tensor]:
        given_BD = torch.randn(6, 8, generator=torch.Generator().manual_seed(seed))
        first, second = self.base
        hidden_BD = (first(given_BD) + given_BD @ self.lora["A"].T @ self.lora["B"].T).tanh()
        hidden_BD = second(hidden_BD)
        hidden_BD = self.norm(hidden_BD + self.up(self.down(hidden_BD).tanh()))
        return [head(hidden_BD).logsumexp(-1).square().mean() for head in self.heads]

    @property
    def factors(self) -> list[nn.Parameter]:
        return [*self.lora.values(), *self.down.parameters(), *self.up.parameters()]


class AlsoTrained(LowRank):
    """The norm, and one of the two large matrices, are trained as well."""

    def __init__(self) -> None:
        super().__init__()
        self.norm.requires_grad_(True)
        self.base[1].requires_grad_(True)


def jacobian(model: LowRank, parameters: list[nn.Parameter], seeds: list[int]) -> Tensor:
    """The mean over batches of one gradient per task, by nothing but autograd."""
    rows = []
    for task in TASKS:
        loss = torch.stack([model.losses(seed)[task] for seed in seeds]).mean()
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    return torch.stack(rows)


def collected(model: LowRank, partition: Partition, seeds: list[int]) -> TaskGradients:
    gradients = PROVIDERS["adapters"](Recorder(model, layers=False))
    share_T = torch.full((len(TASKS),), 1 / len(seeds))
    for seed in seeds:
        gradients.add(TaskLosses(model.losses(seed), TASKS, share_T), partition)
    return gradients


@pytest.mark.parametrize("seeds", [[1], [1, 2]], ids=["one batch", "two batches"])
@pytest.mark.parametrize("kind", [LowRank, AlsoTrained])
def test_inner_products_are_those_of_the_factors(kind: type[LowRank], seeds: list[int]) -> None:
    model = kind()
    jacobian_TP = jacobian(model, model.factors, seeds)
    gradients = collected(model, infer_partition(model.losses(0)), seeds)
    assert_close(gradients.gramian(TASKS), jacobian_TP @ jacobian_TP.T)


def test_where_nothing_else_is_trained_they_are_exact() -> None:
    model = LowRank()
    partition = infer_partition(model.losses(0))
    assert {*map(id, partition.shared)} == {*map(id, model.factors)}
    exact = PROVIDERS["exact"]()
    exact.add(TaskLosses(model.losses(1), TASKS, torch.ones(len(TASKS))), partition)
    assert_close(collected(model, partition, [1]).gramian(TASKS), exact.gramian(TASKS))


@pytest.mark.parametrize("kind", [LowRank, AlsoTrained])
def test_all_that_tasks_share_gets_the_weighted_sum(kind: type[LowRank]) -> None:
    model = kind()
    partition = infer_partition(model.losses(0))
    jacobian_TP = jacobian(model, [*partition.shared], [1])
    model.zero_grad()
    weights_T = torch.rand(len(TASKS))
    collected(model, partition, [1]).weigh(weights_T, TASKS, partition)
    found = [p.grad.flatten() for p in partition.shared if p.grad is not None]
    assert_close(torch.cat(found), weights_T @ jacobian_TP)


def built(model: LowRank) -> Balancer:
    balancer = balancers.build({"kind": "mgda", "gradients": "adapters"}, len(TASKS))
    balancer.attach(model)
    return balancer


def test_a_method_weighs_by_them() -> None:
    model = AlsoTrained()
    weights_T = built(model).backward(model.losses(1))
    assert not any(p.requires_grad is False and p.grad is not None for p in model.parameters())
    method = balancers.build("mgda", len(TASKS))
    assert isinstance(method, GramianBalancer)
    jacobian_TP = jacobian(model, model.factors, [1])
    expected_T = method.weights(jacobian_TP @ jacobian_TP.T)
    assert_close(weights_T, expected_T)


def test_it_is_refused_where_there_are_no_factors() -> None:
    model = LowRank()
    for parameter in model.base.parameters():
        parameter.requires_grad_(True)
    with pytest.raises(RecipeError, match="no trained low-rank matrix"):
        built(model).backward(model.losses(1))


def test_it_is_refused_where_the_model_has_not_been_seen() -> None:
    balancer = balancers.build({"kind": "mgda", "gradients": "adapters"}, len(TASKS))
    with pytest.raises(RecipeError, match="call attach"):
        balancer.backward(LowRank().losses(1))
