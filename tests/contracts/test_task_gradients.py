"""All ways of coming by task gradients give the same numbers, whatever the model looks like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional
from torch.testing import assert_close

from polytask.balancing import TaskLosses, balancers
from polytask.balancing.engine import PROVIDERS, TaskGradients
from polytask.core import graph
from polytask.core.partition import Partition, infer_partition

EXACT = ["exact", "streamed"]


@dataclass
class Case:
    """A model, and the losses of its tasks on rows made from a seed."""

    model: nn.Module
    losses: Callable[[int], list[Tensor]]

    def partition(self) -> Partition:
        return infer_partition(self.losses(0))


def layers() -> Case:
    """A trunk of three layers and two heads; the second of the two has two layers."""
    trunk = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 5))
    heads = nn.ModuleList([nn.Linear(5, 1), nn.Sequential(nn.Linear(5, 3), nn.Tanh())])

    def losses(seed: int) -> list[Tensor]:
        hidden_BD = trunk(rows(seed, 4))
        return [head(hidden_BD).square().mean() for head in heads]

    return Case(nn.ModuleList([trunk, heads]), losses)


def partly_shared() -> Case:
    """Three tasks; the last leaves the trunk half-way, and a branch serves the first two alone."""
    low, middle, branch = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 5)
    heads = nn.ModuleList(nn.Linear(5, 1) for _ in range(3))

    def losses(seed: int) -> list[Tensor]:
        low_BD = low(rows(seed, 4)).tanh()
        high_BD = branch(middle(low_BD).tanh()) + low_BD
        return [
            heads[0](high_BD).square().mean(),
            heads[1](high_BD).exp().mean(),
            heads[2](low_BD).square().mean(),
        ]

    return Case(nn.ModuleList([low, middle, branch, heads]), losses)


def tied() -> Case:
    """A language model whose output weights are its embedding, and a classifier."""
    table, layer, head = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def losses(seed: int) -> list[Tensor]:
        words_BL = torch.randint(7, (3, 5), generator=torch.Generator().manual_seed(seed))
        hidden_BLD = functional.gelu(layer(table(words_BL))) + table(words_BL)
        scores_BLV = hidden_BLD @ table.weight.T
        return [
            functional.cross_entropy(scores_BLV[:, :-1].flatten(0, 1), words_BL[:, 1:].flatten()),
            head(hidden_BLD.mean(1)).logsumexp(1).mean(),
        ]

    return Case(nn.ModuleList([table, layer, head]), losses)


def frozen() -> Case:
    """The lowest and a middle part are frozen."""
    case = layers()
    trunk: nn.Module = next(iter(case.model.children()))
    for name, parameter in trunk.named_parameters():
        parameter.requires_grad_(name.startswith(("2.bias", "4")))
    return case


def attention() -> Case:
    """Residual streams, layer norms and attention."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    heads = nn.ModuleList(nn.Linear(8, 2) for _ in range(3))

    def losses(seed: int) -> list[Tensor]:
        hidden_BLD = encoder(rows(seed, 32).view(-1, 4, 8))
        return [
            head(hidden_BLD[place::2].mean(1)).logsumexp(1).mean()
            for head, place in zip(heads, [0, 1, 0], strict=True)
        ]

    return Case(nn.ModuleList([encoder, heads]), losses)


def nothing_shared() -> Case:
    """A model per task."""
    models = nn.ModuleList(nn.Linear(4, 1) for _ in range(2))
    return Case(models, lambda seed: [m(rows(seed, 4)).square().mean() for m in models])


def rows(seed: int, width: int) -> Tensor:
    return torch.randn(6, width, generator=torch.Generator().manual_seed(seed))


CASES = [layers, partly_shared, tied, frozen, attention]


@pytest.fixture(params=CASES, ids=lambda make: make.__name__)
def case(request: pytest.FixtureRequest) -> Case:
    torch.manual_seed(0)
    made: Case = request.param()
    return made


def plain_jacobian(case: Case, shared: Sequence[nn.Parameter], seeds: Sequence[int]) -> Tensor:
    """The mean over batches of one gradient per task, by nothing but autograd."""
    total = []
    for task in range(len(case.losses(0))):
        loss = torch.stack([case.losses(seed)[task] for seed in seeds]).mean()
        jacobian = torch.autograd.grad(loss, [*shared], materialize_grads=True)
        total.append(torch.cat([piece.flatten() for piece in jacobian]))
    return torch.stack(total)


def collected(case: Case, kind: str, partition: Partition, seeds: Sequence[int]) -> TaskGradients:
    gradients = PROVIDERS[kind]()
    for seed in seeds:
        losses = case.losses(seed)
        scale_t = torch.full((len(losses),), 1 / len(seeds))
        gradients.add(TaskLosses(losses, range(len(losses)), scale_t), partition)
    return gradients


@pytest.mark.parametrize("seeds", [[1], [1, 2]], ids=["one batch", "two batches"])
@pytest.mark.parametrize("kind", EXACT)
def test_inner_products_and_weighted_sums_are_those_of_autograd(
    case: Case, kind: str, seeds: list[int]
) -> None:
    partition = case.partition()
    jacobian_TP = plain_jacobian(case, partition.shared, seeds)
    gradients = collected(case, kind, partition, seeds)
    tasks = range(len(jacobian_TP))
    assert_close(gradients.gramian(tasks), jacobian_TP @ jacobian_TP.T)
    weights_T = torch.rand(len(tasks))
    gradients.weigh(weights_T, tasks, partition)
    found = [p.grad.flatten() for p in partition.shared if p.grad is not None]
    assert_close(torch.cat(found), weights_T @ jacobian_TP)


@pytest.mark.parametrize("kind", EXACT)
def test_batches_of_one_task_each_add_up_to_the_same(case: Case, kind: str) -> None:
    partition = case.partition()
    jacobian_TP = plain_jacobian(case, partition.shared, [1])
    gradients, tasks = PROVIDERS[kind](), range(len(jacobian_TP))
    for task in tasks:
        losses = TaskLosses([case.losses(1)[task]], [task], torch.ones(1))
        gradients.add(losses, partition)
    assert_close(gradients.gramian(tasks), jacobian_TP @ jacobian_TP.T)
    weights_T = torch.rand(len(tasks))
    gradients.weigh(weights_T, tasks, partition)
    found = [p.grad.flatten() for p in partition.shared if p.grad is not None]
    assert_close(torch.cat(found), weights_T @ jacobian_TP)


@pytest.mark.parametrize("kind", ["features", "last_layer"])
def test_approximations_see_every_task_in_batches_of_one_task_each(case: Case, kind: str) -> None:
    partition, gradients = case.partition(), PROVIDERS[kind]()
    tasks = range(len(case.losses(0)))
    for task in tasks:
        gradients.add(TaskLosses([case.losses(1)[task]], [task], torch.ones(1)), partition)
    assert gradients.gramian(tasks).diagonal().min() > 0


@pytest.mark.parametrize("kind", [*EXACT, "features", "last_layer", "weighted"])
def test_heads_get_the_gradient_of_their_own_loss(case: Case, kind: str) -> None:
    partition = case.partition()
    sum(case.losses(1)).backward()  # type: ignore[union-attr]
    expected = [parameter.grad for parameter in partition.private]
    case.model.zero_grad()
    collected(case, kind, partition, [1])
    assert_close([parameter.grad for parameter in partition.private], expected)


@pytest.mark.parametrize("kind", ["features", "last_layer", "weighted"])
def test_an_approximation_of_the_weights_weighs_exact_gradients(case: Case, kind: str) -> None:
    partition = case.partition()
    jacobian_TP = plain_jacobian(case, partition.shared, [1])
    gradients = collected(case, kind, partition, [1])
    tasks = range(len(jacobian_TP))
    weights_T = torch.rand(len(tasks))
    gradients.weigh(weights_T, tasks, partition)
    found = [p.grad.flatten() for p in partition.shared if p.grad is not None]
    assert_close(torch.cat(found), weights_T @ jacobian_TP)


def test_features_are_where_the_heads_begin() -> None:
    case = layers()
    trunk, heads = case.model.children()
    hidden_BD = trunk(rows(1, 4)).detach().requires_grad_()
    pieces = [
        torch.autograd.grad(head(hidden_BD).square().mean(), hidden_BD)[0].flatten()
        for head in heads.children()
    ]
    jacobian_TF = torch.stack(pieces)
    gradients = collected(case, "features", case.partition(), [1])
    assert_close(gradients.gramian([0, 1]), jacobian_TF @ jacobian_TF.T)


def test_the_last_layer_is_the_matrix_before_the_heads() -> None:
    case = layers()
    trunk, _ = case.model.children()
    [last] = [p for name, p in trunk.named_parameters() if name == "4.weight"]
    jacobian_TP = plain_jacobian(case, [last], [1, 2])
    gradients = collected(case, "last_layer", case.partition(), [1, 2])
    assert_close(gradients.gramian([0, 1]), jacobian_TP @ jacobian_TP.T)


def test_streaming_holds_a_few_parameters_at_a_time() -> None:
    losses = attention().losses(1)
    roots = [*map(get_gradient_edge, losses)]
    found = [*graph.split_at_bottlenecks(roots, graph.trace(losses))]
    sizes = [sum(graph.leaf_of(leaf.node).numel() for leaf in stretch.leaves) for stretch in found]
    shared = infer_partition(losses).shared
    assert sum(sizes) == sum(parameter.numel() for parameter in shared)
    assert max(sizes) < sum(sizes) / 2


@pytest.mark.parametrize("kind", EXACT)
def test_where_nothing_is_shared_every_model_gets_its_own_gradient(kind: str) -> None:
    case = nothing_shared()
    method = balancers.build({"kind": "pcgrad", "gradients": kind}, 2)
    method.backward(case.losses(1))
    found = [parameter.grad for parameter in case.model.parameters()]
    case.model.zero_grad()
    sum(case.losses(1)).backward()  # type: ignore[union-attr]
    assert_close(found, [parameter.grad for parameter in case.model.parameters()])


@pytest.mark.parametrize("method", ["equal", "pcgrad", "graddrop"])
def test_no_two_parameters_have_one_gradient_tensor(method: str) -> None:
    """Clipping scales gradients in place, and would scale a common one twice."""
    one, other = (nn.Parameter(torch.ones(3)) for _ in range(2))
    balancers.build(method, 2).backward([(one + other).square().sum(), (one + other).sum()])
    assert one.grad is not None
    assert other.grad is not None
    one.grad.mul_(0)
    assert other.grad.abs().min() > 0
