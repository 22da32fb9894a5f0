"""Classification, multilabel and regression: labels, weights, losses with known values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from polytask.core.accounting import UNKNOWN_LABEL, LeftOut
from polytask.core.errors import DataError, RecipeError
from polytask.core.features import Features
from polytask.encoders import encoders
from polytask.tasks import Task, tasks
from polytask.tasks.heads import AttentionPool, FirstPool, MeanPool
from polytask.tasks.losses import total


def fitted(kind: str, labels: list[Any], /, **options: Any) -> Task:
    task = tasks.build({"kind": kind, **options}, "mood")
    task.fit([task.reference({"label": label}) for label in labels])
    return task


@pytest.mark.parametrize(
    ("value", "text"),
    [("no", "no"), ("yes", "yes"), (1, "1"), (2.0, "2"), (True, "true"), (-1, "-1"), ("0", "0")],
)
def test_labels_are_text(value: object, text: str) -> None:
    assert fitted("classification", [value]).labels == (text,)


@pytest.mark.parametrize("value", [None, "", math.nan])
def test_missing_labels(value: object) -> None:
    task = fitted("classification", ["a"])
    assert task.reference({"label": value}) is None


def test_a_list_of_labels_that_holds_null_is_refused() -> None:
    task = tasks.build({"kind": "multilabel"}, "topics")
    with pytest.raises(
        DataError, match=r"expected labels in the list, found null in \['a', None\]"
    ):
        task.reference({"label": ["a", None]})


def test_learned_labels_are_sorted_as_numbers_and_then_as_words() -> None:
    task = fitted("classification", ["b", "10", 9, "a", "-1", "1.5", "nan"])
    assert task.labels == ("-1", "1.5", "9", "10", "a", "b", "nan")


def test_given_labels_keep_their_order_and_refuse_others() -> None:
    task = fitted("classification", ["no"], labels=["yes", "no", 1])
    assert task.labels == ("yes", "no", "1")
    with pytest.raises(
        DataError, match=r"task mood: no label 'yess'\. Did you mean 'yes'\? Labels"
    ):
        task.reference({"label": "yess"})
    with pytest.raises(RecipeError, match=r"tasks\.mood\.labels: 'a' is given twice"):
        tasks.build({"kind": "classification", "labels": ["a", "b", "a"]}, "mood")


def test_an_endless_number_or_a_list_is_no_label() -> None:
    task = fitted("classification", ["a"])
    with pytest.raises(DataError, match=r"found inf.*kind: regression"):
        task.reference({"label": math.inf})
    with pytest.raises(DataError, match=r"found \['a'\].*kind: multilabel"):
        task.reference({"label": ["a"]})


def test_cross_entropy_of_equal_scores_is_log_c() -> None:
    task = fitted("classification", ["a", "b", "c"])
    loss = total(task.loss(torch.zeros(2, 3), torch.tensor([0, 2])))
    assert loss.item() == pytest.approx(math.log(3))


def test_balanced_weights_are_those_of_sklearn() -> None:
    labels = ["a"] * 6 + ["b"] * 3 + ["c"]
    task = fitted("classification", labels, class_weights="balanced")
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    assert task.state()["weights"] == pytest.approx(expected.tolist())


def test_balanced_weights_do_not_change_the_scale_of_the_loss() -> None:
    labels = ["a"] * 6 + ["b"] * 3 + ["c"]
    task = fitted("classification", labels, class_weights="balanced", labels=["a", "b", "c", "d"])
    values = task.collate([task.encode(label, {}) for label in labels])
    assert total(task.loss(torch.zeros(10, 4), values)).item() == pytest.approx(math.log(4))


def test_class_weights_by_label() -> None:
    task = fitted("classification", ["0", "1", "1"], class_weights={1: 3.0})
    scores = torch.zeros(1, 2)
    assert total(task.loss(scores, torch.tensor([0]))).item() == pytest.approx(math.log(2))
    assert total(task.loss(scores, torch.tensor([1]))).item() == pytest.approx(3 * math.log(2))
    with pytest.raises(RecipeError, match=r"tasks\.mood\.class_weights: no label 'joyy'.*'joy'"):
        fitted("classification", ["joy", "anger"], class_weights={"joyy": 2})


def test_label_smoothing_prefers_doubt_to_certainty() -> None:
    values, sure = torch.tensor([0]), torch.tensor([[50.0, 0.0]])
    assert total(fitted("classification", ["a", "b"]).loss(sure, values)) < 1e-6
    smooth = fitted("classification", ["a", "b"], label_smoothing=0.2)
    assert total(smooth.loss(sure, values)).item() == pytest.approx(0.1 * 50, rel=1e-4)


def test_probabilities_are_softmax_or_sigmoid() -> None:
    scores = torch.tensor([[0.0, math.log(3)]])
    (one,) = fitted("classification", ["a", "b"]).decode(scores, [("",)]).probabilities
    assert one == pytest.approx([0.25, 0.75])
    (many,) = fitted("multilabel", [["a"], ["b"]]).decode(scores, [("",)]).probabilities
    assert many == pytest.approx([0.5, 0.75])
    assert fitted("regression", [1.0]).decode(scores[:, :1], [("",)]).probabilities == []


def test_label_sets_are_lists_or_text_with_a_delimiter() -> None:
    task = fitted("multilabel", ["b|a|b", "", "10|9"], delimiter="|")
    assert task.labels == ("9", "10", "a", "b")
    assert task.reference({"label": " b | a |b"}) == ["a", "b"]
    assert task.reference({"label": ""}) == []
    assert task.reference({"label": ["a"]}) == ["a"]
    with pytest.raises(DataError, match=r"expected a list of labels, found 'a,b'.*set delimiter"):
        fitted("multilabel", [["a"]]).reference({"label": "a,b"})


def test_known_labels_of_a_set_are_learned_though_others_are_not() -> None:
    task = fitted("multilabel", [["a"], ["b"]])
    assert task.encode(["a", "new"], {}) == [1.0, 0.0]
    assert task.encode(["new"], {}) == LeftOut(UNKNOWN_LABEL)
    assert task.encode([], {}) == [0.0, 0.0]


def test_threshold_of_multilabel() -> None:
    scores = torch.tensor([[0.0, math.log(3), -5.0]])
    labels = [["a"], ["b"], ["c"]]
    for threshold, expected in ((0.5, ["a", "b"]), (0.7, ["b"]), (0.8, [])):
        task = fitted("multilabel", labels, threshold=threshold)
        assert task.decode(scores, [("",)]).labels == [expected]


def test_balanced_multilabel_weighs_rare_labels_up_to_the_rows_without() -> None:
    labels = [["a", "all"], ["all"], ["all"], ["all"]]
    task = fitted("multilabel", labels, class_weights="balanced")
    assert task.state()["weights"] == [3.0, 1.0]


def test_regression_standardises_and_decodes_back() -> None:
    task = fitted("regression", [2.0, "4", 6])
    deviation = math.sqrt(8 / 3)
    assert [task.encode(x, {}) for x in (2.0, 4.0, 6.0)] == pytest.approx(
        [-2 / deviation, 0, 2 / deviation]
    )
    assert task.decode(torch.tensor([[0.0], [1.0]]), [("",)] * 2).labels == pytest.approx(
        [4, 4 + deviation]
    )


def test_a_constant_target_is_only_shifted() -> None:
    task = fitted("regression", [0.1] * 3)
    assert task.encode(0.1, {}) == pytest.approx(0, abs=1e-12)
    assert task.decode(torch.tensor([[2.0]]), [("",)]).labels == pytest.approx([2.1])


def test_regression_losses() -> None:
    scores, values = torch.tensor([[3.0], [0.5]]), torch.tensor([0.0, 0.0])
    mse = total(fitted("regression", [0.0, 1.0]).loss(scores, values))
    assert mse.item() == pytest.approx((9 + 0.25) / 2)
    huber = total(fitted("regression", [0.0, 1.0], loss="huber").loss(scores, values))
    assert huber.item() == pytest.approx((2.5 + 0.125) / 2)


@pytest.mark.parametrize("value", ["high", True, "inf", [1.0], math.inf])
def test_what_is_no_number_is_refused(value: object) -> None:
    task = fitted("regression", [1.0])
    with pytest.raises(DataError, match="task mood: column 'label': expected a finite number"):
        task.reference({"label": value})


def test_missing_numbers() -> None:
    task = fitted("regression", [1.0])
    assert [task.reference({"label": value}) for value in (None, "", "nan", math.nan)] == [None] * 4


def test_official_files_hold_one_answer_per_line() -> None:
    lines = fitted("multilabel", [["a"], ["b"]]).scorer_lines([], [["a", "b"], []], [])
    assert lines == ["a,b", ""]
    assert fitted("regression", [1.0]).scorer_lines([], [0.25, 3.0], []) == ["0.25", "3.0"]
    assert fitted("classification", ["a"]).scorer_lines([], ["a", "a"], []) == ["a", "a"]


def test_metrics_that_do_not_measure_a_task_are_refused_with_those_that_do() -> None:
    task = fitted("regression", [1.0])
    with pytest.raises(RecipeError) as error:
        task.build_metrics(["accuracy", "rmse", {"kind": "f1", "average": "micro"}])
    accuracy, f1 = error.value.mistakes
    assert accuracy == (
        "tasks.mood.metrics: accuracy measures label or choice or tags or words, but the task predicts "
        "number. Choose from: group_map, group_mrr, mae, pearson, rmse, spearman."
    )
    assert f1.startswith("tasks.mood.metrics: micro_f1 measures label or labels")
    assert [metric.name for metric in task.build_metrics(["rmse"])] == ["rmse"]


def test_heads_are_shared_by_name() -> None:
    own, named = (
        tasks.build("classification", "a"),
        tasks.build({"kind": "classification", "head": "a"}, "b"),
    )
    assert own.head_key == named.head_key == "a"
    own.fit(["x", "y"])
    named.fit(["x", "y"])
    assert own.head_shape == named.head_shape
    named.fit(["x", "z"])
    assert own.head_shape != named.head_shape


@pytest.mark.parametrize("pool", [MeanPool(4), FirstPool(4), AttentionPool(4)])
def test_pools_of_one_token_agree_on_it(pool: nn.Module) -> None:
    token_B1D = torch.randn(3, 1, 4)
    longer_BLD = torch.cat([token_B1D, torch.full((3, 2, 4), 7.0)], dim=1)
    mask_BL = torch.tensor([[True, False, False]] * 3)
    torch.testing.assert_close(pool(Features(token_B1D, mask_BL[:, :1])), token_B1D[:, 0])
    torch.testing.assert_close(pool(Features(longer_BLD, mask_BL)), token_B1D[:, 0])


def test_attention_finds_the_token_that_its_query_asks_for() -> None:
    pool = AttentionPool(2)
    with torch.no_grad():
        pool.key.weight.copy_(torch.eye(2))
        pool.key.bias.zero_()
        pool.query.weight.copy_(torch.tensor([[100.0, 0.0]]))
    tokens_BLD = torch.tensor([[[0.0, 1.0], [1.0, 2.0], [0.0, 3.0]]])
    pooled_BD = pool(Features(tokens_BLD, torch.ones(1, 3, dtype=torch.bool)))
    torch.testing.assert_close(pooled_BD, tokens_BLD[:, 1])


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("classification", ["yes", "no"]),
        ("multilabel", [["a"], ["a", "b"]]),
        ("regression", [1.5, 4.0]),
    ],
)
def test_pairs_of_texts_are_the_business_of_the_encoder(kind: str, labels: list[Any]) -> None:
    fields = [("a red car", "a car"), ("two dogs run", "a cat sleeps")]
    encoder = encoders.build({"kind": "bag", "min_count": 1}, ())
    encoder.fit(fields)
    inputs = encoder.prepare(fields)
    task = fitted(kind, labels)
    targets = [
        task.encode(task.reference({"label": label}), row)
        for label, row in zip(labels, inputs, strict=True)
    ]
    scores = task.head(encoder.width)(encoder(encoder.collate(inputs)))
    total(task.loss(scores, task.collate(targets))).backward()
    assert len(task.decode(scores, fields).labels) == 2
    assert any(p.grad is not None and bool(p.grad.any()) for p in encoder.parameters())


def test_two_weights_for_one_label_are_refused() -> None:
    weights: list[Any] = [{1: 2.0, "1": 3.0}, {"Good": 2.0, "good": 3.0}]
    for given, labels in zip(weights, (["1", "2"], ["good", "good", "bad"]), strict=True):
        options = {"class_weights": given, "merge_labels": True}
        task = tasks.build({"kind": "classification", **options}, "t")
        with pytest.raises(RecipeError, match=r"tasks.t.class_weights: .* is given twice"):
            task.fit(labels)


@pytest.mark.parametrize("delimiter", [None, ","])
def test_text_that_spells_a_list_of_labels_is_refused(delimiter: str | None) -> None:
    task = tasks.build({"kind": "multilabel", "delimiter": delimiter}, "t")
    for text in ("['a', 'b']", '["a"]', "[1, 2]"):
        with pytest.raises(DataError, match=r"column 'label'.*spells a list.*JSON Lines"):
            task.reference({"label": text})
