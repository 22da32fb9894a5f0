"""A task whose loss reads the scores of another one, as ESMM: p(click) · p(buy | click)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close
from typing_extensions import override

import polytask
from polytask.balancing import balancers
from polytask.core.batch import Batch, Fields, Targets
from polytask.core.errors import RecipeError
from polytask.core.features import Features
from polytask.core.files import read_json
from polytask.data.augmentation import Mix, RowMixing
from polytask.modeling import MultiTaskModel
from polytask.modeling.readers import Readers, check_reads
from polytask.sharing.hard import Hard
from polytask.tasks import Head, HeadContext, Predictions, Task, tasks as registry
from polytask.tasks.classification import Classification
from tests.fakes import Cells
from tests.unit.test_step import make_stepper, update, values

ROWS = [([0.5, -1.0, 2.0]), ([1.5, 0.3, -0.7]), ([-0.2, 0.8, 0.1]), ([0.9, 0.9, -1.9])]
CLICKS, BOUGHT = [1, 0, 1, 1], [1, 0, 0, 1]


class Purchase(Classification):
    """Whether something is bought: a click, and a purchase after it.

    :param clicks: The task that predicts clicks.
    """

    def __init__(self, name: str, /, *, clicks: str = "click", **options: Any) -> None:
        super().__init__(name, **options)
        self.reads_scores = (clicks,)

    def chance(self, scores: Mapping[str, Tensor]) -> Tensor:
        """p(click and buy), of shape (b,)."""
        own_b, clicks_b = (
            scores[name].softmax(-1)[:, 1] for name in (self.name, *self.reads_scores)
        )
        return own_b * clicks_b

    @override
    def loss(self, scores: Any, values: Tensor) -> Tensor:
        return functional.binary_cross_entropy(self.chance(scores), values.float())

    @override
    def decode(self, scores: Any, rows: Sequence[Fields]) -> Predictions:
        chances_b = self.chance(scores)
        return Predictions([self.labels[int(chance > 0.5)] for chance in chances_b.tolist()])


def made(kind: type[Classification], name: str, **options: Any) -> Classification:
    task = kind(name, target=name, dropout=0, labels=["no", "yes"], **options)
    task.set_columns(("text",))
    task.fit(["no", "yes"])
    return task


def model_of(tasks: Sequence[Task]) -> MultiTaskModel:
    torch.manual_seed(0)
    encoder = Cells()
    encoder.fit([(0.0, 0.0, 0.0)])
    by_name = {task.name: task for task in tasks}
    return MultiTaskModel(Hard(encoder, [*by_name]), by_name)


def esmm() -> MultiTaskModel:
    return model_of([made(Classification, "click"), made(Purchase, "buy")])


def batch(clicks: Sequence[int] = (0, 1, 2, 3), bought: Sequence[int] = (0, 1, 2, 3)) -> Batch:
    """Rows with a label of each task where it is named."""
    encoder = Cells()
    inputs = encoder.collate(encoder.prepare([tuple(row) for row in ROWS]))
    labelled = {"click": (clicks, CLICKS), "buy": (bought, BOUGHT)}
    targets = {
        name: Targets(torch.tensor(rows), torch.tensor([labels[row] for row in rows]))
        for name, (rows, labels) in labelled.items()
        if rows
    }
    return Batch(inputs, targets, len(ROWS), tokens=12, padded=12)


def product(model: MultiTaskModel, bought: Sequence[int]) -> Tensor:
    """The loss of the reader, by hand."""
    inputs = batch().inputs
    features = model.sharing(inputs, {"click": torch.arange(4)})["click"]
    chances = [
        model.heads[name](features).softmax(-1)[list(bought), 1] for name in ("click", "buy")
    ]
    labels = torch.tensor([BOUGHT[row] for row in bought]).float()
    return functional.binary_cross_entropy(chances[0] * chances[1], labels)


@pytest.mark.parametrize(
    ("clicks", "bought"),
    [((0, 1, 2, 3), (0, 1, 2, 3)), ((0, 3), (1, 2)), ((0, 1), (1, 3)), ((), (0, 2))],
)
def test_gradients_are_those_of_the_product(clicks: Sequence[int], bought: Sequence[int]) -> None:
    model = esmm()
    loss = model.losses(batch(clicks, bought))["buy"]
    expected = product(model, bought)
    assert_close(loss, expected)
    parameters = [*model.parameters()]
    assert_close(torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters))


def test_the_loss_of_the_task_that_is_read_does_not_change() -> None:
    alone = model_of([made(Classification, "click")])
    read = esmm()
    read.load_state_dict({**read.state_dict(), **alone.state_dict()})
    one = alone.losses(batch().without(frozenset({"buy"})))["click"]
    for bought in ((), (0, 1, 2, 3), (2,)):
        assert_close(
            read.losses(batch((0, 2), bought))["click"], alone.losses(batch((0, 2), ()))["click"]
        )
    assert_close(read.losses(batch())["click"], one)


def test_the_reader_reaches_the_head_that_it_reads() -> None:
    partition = esmm().partition(batch())
    names = dict(esmm().named_parameters())
    reached = {name: set(partition.tasks_of[name]) for name in names}
    assert reached == {
        name: {"buy"} if name.startswith("heads.buy") else {"click", "buy"} for name in names
    }


@pytest.mark.parametrize("gradients", ["auto", "exact"])
@pytest.mark.parametrize(("clicks", "bought"), [((0, 1, 2, 3), (0, 1, 2, 3)), ((0, 3), (1, 2))])
def test_task_gradients_are_those_of_autograd(
    gradients: str, clicks: Sequence[int], bought: Sequence[int]
) -> None:
    model, plain = esmm(), esmm()
    balancer = balancers.build({"kind": "mgda", "gradients": gradients}, 2)
    balancer.attach(model)
    stepper = make_stepper(model, balancer, probe=batch())
    before = values(model)
    result = stepper.step([batch(clicks, bought)])
    losses = plain.losses(batch(clicks, bought))
    share = {"click": len(clicks) / 4, "buy": len(bought) / 4}
    private = [name for name in before if name.startswith("heads.buy")]
    torch.stack([share[t] * result.weights[t] * losses[t] for t in losses]).sum().backward()
    for name, parameter in plain.named_parameters():
        if name not in private:
            assert_close(
                update(model, before)[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name
            )


def test_decode_gets_the_scores_that_it_reads() -> None:
    model = esmm().eval()
    task = model.tasks["buy"]
    scores = model(batch().inputs, {"buy": torch.tensor([1, 3])})
    assert [*scores] == ["buy"]
    assert [*scores["buy"]] == ["buy", "click"]
    assert len(task.decode(scores["buy"], [("",)] * 2).labels) == 2


class TextHead(Head):
    reads_rows: ClassVar[bool] = True

    @override
    def forward(self, features: Features, *context: HeadContext) -> Tensor:
        return features.mean_BD


class Half(RowMixing):
    @override
    def draw(self, rows: int) -> Mix:
        return Mix(0.5, torch.arange(rows).flip(0))


def test_rows_of_tasks_that_read_each_other_are_not_mixed() -> None:
    model = esmm()
    plain = model.losses(batch())
    model.mixing = Half()
    assert_close(dict(model.losses(batch())), dict(plain))


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (
            [made(Purchase, "buy", clicks="clik"), made(Classification, "click")],
            "'clik', which is no task. Did you mean 'click'",
        ),
        (
            [made(Purchase, "buy", clicks="see"), made(Purchase, "see", clicks="buy")],
            "which reads the scores of 'buy' in turn",
        ),
        ([made(Purchase, "buy", clicks="buy")], "which reads the scores of 'buy' in turn"),
    ],
)
def test_what_cannot_be_read_is_a_mistake(tasks: list[Task], message: str) -> None:
    with pytest.raises(RecipeError, match=f"tasks.buy: reads the scores of .*{message}"):
        check_reads({task.name: task for task in tasks})


def test_tasks_that_read_other_columns_are_a_mistake() -> None:
    click, buy = made(Classification, "click"), made(Purchase, "buy")
    click.set_columns(("title",))
    with pytest.raises(RecipeError, match=r"but not the same rows: text .* here, title .* there"):
        check_reads({"click": click, "buy": buy})


def test_scores_that_need_targets_cannot_be_read() -> None:
    readers = Readers(
        {task.name: task for task in (made(Classification, "click"), made(Purchase, "buy"))}
    )
    heads = {"click": TextHead(), "buy": TextHead()}
    with pytest.raises(RecipeError, match="reads the scores of 'click', which need its targets"):
        readers.check_heads(heads)


def test_a_recipe_trains_and_predicts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_parts", dict(registry._parts))
    registry.register("purchase")(Purchase)
    rows: list[dict[str, Any]] = [
        {
            "text": f"a{n % 3} b",
            "click": "yes" if n % 2 else "no",
            "buy": "yes" if n % 4 == 1 else "no",
        }
        for n in range(24)
    ]
    rows[3]["click"] = rows[5]["buy"] = None
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(
        "data: {shop: {kind: jsonl, train: rows.jsonl, validation: rows.jsonl}}\n"
        "encoder: {kind: bag, dimension: 4, min_count: 1}\n"
        "tasks:\n"
        "  click: {kind: classification, target: click}\n"
        "  buy: {kind: purchase, target: buy, clicks: click}\n"
        "training: {epochs: 1, batch_rows: 8, device: cpu}\n"
    )
    run = polytask.train(tmp_path / "recipe.yaml", tmp_path / "run")
    reach = read_json(run.path / "model" / "reach.json")
    assert {*reach["heads.click.scorer.1.weight"]} == {"click", "buy"}
    [record] = polytask.predict(run.path, [{"text": "a1 b"}])
    assert {*record} == {"click", "buy"}
    with pytest.raises(RecipeError, match="buy reads the scores of click"):
        polytask.compare(tmp_path / "recipe.yaml", tmp_path / "compared")
