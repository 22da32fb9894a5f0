"""Metrics equal those of scikit-learn, scipy and seqeval."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from seqeval import metrics as seqeval
from sklearn import metrics as sklearn
from sklearn.preprocessing import MultiLabelBinarizer

from polytask.tasks import Metric, metrics
from polytask.tasks.spans import detect_scheme, read_spans, span_prefixes, windows_of, write_spans

LABELS = ("a", "b", "c", "d")
RATES = {
    "precision": sklearn.precision_score,
    "recall": sklearn.recall_score,
    "f1": sklearn.f1_score,
}
SPAN_RATES = {
    "span_precision": seqeval.precision_score,
    "span_recall": seqeval.recall_score,
    "span_f1": seqeval.f1_score,
}
few = settings(max_examples=25, deadline=None)
label = st.sampled_from(LABELS)
weight = st.floats(0.5, 4)
averages = pytest.mark.parametrize("average", ["macro", "micro", "weighted"])


def weighted(metric: Metric, weights: Any, *columns: Any) -> float:
    references, predictions, *probabilities = columns
    evidence = metric.evidence(references, predictions, probabilities[0] if probabilities else ())
    return metric.value(evidence, np.array(weights, dtype=np.float64))


def transpose(rows: list[Any]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


@averages
@pytest.mark.parametrize("kind", RATES)
@few
@given(rows=st.lists(st.tuples(label, label, weight), min_size=1, max_size=15))
def test_class_scores_equal_sklearn(kind: str, average: str, rows: list[Any]) -> None:
    references, predictions, weights = transpose(rows)
    expected = RATES[kind](
        references, predictions, average=average, sample_weight=weights, zero_division=0
    )
    metric = metrics.build({"kind": kind, "average": average}, LABELS)
    assert weighted(metric, weights, references, predictions) == pytest.approx(expected)


@averages
@pytest.mark.parametrize("kind", RATES)
@few
@given(
    rows=st.lists(
        st.tuples(st.lists(label, unique=True), st.lists(label, unique=True), weight),
        min_size=1,
        max_size=15,
    ).filter(lambda rows: len({label for row in rows for label in row[0] + row[1]}) > 1)
)
def test_multilabel_scores_equal_sklearn(kind: str, average: str, rows: list[Any]) -> None:
    references, predictions, weights = transpose(rows)
    present = sorted({label for row in references + predictions for label in row})
    binarizer = MultiLabelBinarizer(classes=present).fit([])
    expected = RATES[kind](
        binarizer.transform(references),
        binarizer.transform(predictions),
        average=average,
        sample_weight=weights,
        zero_division=0,
    )
    metric = metrics.build({"kind": kind, "average": average}, LABELS)
    assert weighted(metric, weights, references, predictions) == pytest.approx(expected)


@pytest.mark.parametrize("kind", RATES)
@few
@given(rows=st.lists(st.tuples(label, label, weight), min_size=1, max_size=15))
def test_scores_of_one_class_equal_sklearn(kind: str, rows: list[Any]) -> None:
    references, predictions, weights = transpose(rows)
    for one in LABELS:
        expected = RATES[kind](
            references,
            predictions,
            labels=[one],
            average="macro",
            sample_weight=weights,
            zero_division=0,
        )
        metric = metrics.build({"kind": kind, "label": one}, LABELS)
        assert weighted(metric, weights, references, predictions) == pytest.approx(expected)


@few
@given(rows=st.lists(st.tuples(label, label, weight), min_size=1, max_size=15))
def test_accuracy_and_mean_f1_equal_sklearn(rows: list[Any]) -> None:
    references, predictions, weights = transpose(rows)
    columns = (weights, references, predictions)
    accuracy = sklearn.accuracy_score(references, predictions, sample_weight=weights)
    assert weighted(metrics.build("accuracy", LABELS), *columns) == pytest.approx(accuracy)
    mean_f1 = sklearn.f1_score(
        references,
        predictions,
        labels=["a", "c"],
        average="macro",
        sample_weight=weights,
        zero_division=0,
    )
    metric = metrics.build({"kind": "mean_f1", "labels": ["a", "c"]}, LABELS)
    assert weighted(metric, *columns) == pytest.approx(mean_f1)


@few
@given(rows=st.lists(st.tuples(label, label, st.integers(1, 4)), min_size=2, max_size=15))
def test_mcc_equals_sklearn(rows: list[Any]) -> None:
    references, predictions, weights = transpose(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sklearn suspects that one label is a mistake
        expected = sklearn.matthews_corrcoef(references, predictions, sample_weight=weights)
    metric = metrics.build("mcc", LABELS)
    assert weighted(metric, weights, references, predictions) == pytest.approx(expected, abs=1e-12)


chance = st.integers(0, 4).map(lambda quarter: quarter / 4)


@few
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["no", "yes"]), chance, weight), min_size=2, max_size=20
    ).filter(lambda rows: len({row[0] for row in rows}) == 2)
)
def test_auc_of_two_labels_equals_sklearn(rows: list[Any]) -> None:
    references, scores, weights = transpose(rows)
    expected = sklearn.roc_auc_score(
        [reference == "yes" for reference in references], scores, sample_weight=weights
    )
    probabilities = [np.array([1 - score, score]) for score in scores]
    metric = metrics.build("auc", ("no", "yes"))
    found = weighted(metric, weights, references, references, probabilities)
    assert found == pytest.approx(expected)


@few
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abc"), st.tuples(*[st.integers(1, 5)] * 3), weight),
        min_size=3,
        max_size=20,
    ).filter(lambda rows: len({row[0] for row in rows}) == 3)
)
def test_auc_of_more_labels_equals_sklearn(rows: list[Any]) -> None:
    references, parts, weights = transpose(rows)
    probabilities = np.array(parts) / np.sum(parts, axis=1, keepdims=True)
    expected = sklearn.roc_auc_score(
        references, probabilities, multi_class="ovr", sample_weight=weights
    )
    metric = metrics.build("auc", ("a", "b", "c"))
    found = weighted(metric, weights, references, references, list(probabilities))
    assert found == pytest.approx(expected)


def test_auc_of_label_sets_leaves_out_labels_on_all_rows_or_none() -> None:
    references = [["a", "b"], ["b"], ["a", "b"], ["b"]]
    probabilities = [np.array([p, 0.5, 0.5]) for p in (0.9, 0.4, 0.3, 0.2)]
    metric = metrics.build("auc", ("a", "b", "c"))
    assert metric(references, references, probabilities) == pytest.approx(0.75)


number = st.integers(-20, 20).map(lambda tenth: tenth / 10)


@few
@given(rows=st.lists(st.tuples(number, number), min_size=2, max_size=20))
def test_correlations_equal_scipy(rows: list[Any]) -> None:
    references, predictions = transpose(rows)
    constant = len(set(references)) == 1 or len(set(predictions)) == 1
    for kind, oracle in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        expected = np.nan if constant else oracle(references, predictions).statistic
        found = metrics.build(kind, ())(references, predictions)
        assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


@few
@given(rows=st.lists(st.tuples(number, number, weight), min_size=1, max_size=20))
def test_errors_equal_sklearn(rows: list[Any]) -> None:
    references, predictions, weights = transpose(rows)
    oracles = {"rmse": sklearn.root_mean_squared_error, "mae": sklearn.mean_absolute_error}
    for kind, oracle in oracles.items():
        expected = oracle(references, predictions, sample_weight=weights)
        found = weighted(metrics.build(kind, ()), weights, references, predictions)
        assert found == pytest.approx(expected)


def tag_rows(prefixes: str) -> st.SearchStrategy[Any]:
    """Rows of a reference and a prediction of the same length, valid or not."""
    typed = [f"{prefix}-{kind}" for prefix in prefixes for kind in ("PER", "LOC")]
    tag = st.sampled_from(["O", *typed])
    row = st.integers(1, 8).flatmap(
        lambda size: st.tuples(*[st.lists(tag, min_size=size, max_size=size)] * 2)
    )
    return st.lists(row, min_size=1, max_size=6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@averages
@pytest.mark.parametrize("kind", SPAN_RATES)
@few
@given(rows=st.one_of(tag_rows("BI"), tag_rows("BIES")))
def test_span_scores_equal_seqeval(kind: str, average: str, rows: list[Any]) -> None:
    references, predictions = transpose(rows)
    if not any(tag != "O" for row in references + predictions for tag in row):
        return
    expected = SPAN_RATES[kind](references, predictions, average=average, zero_division=0)
    metric = metrics.build({"kind": kind, "average": average}, ())
    assert metric(references, predictions) == pytest.approx(expected)


@few
@given(rows=st.one_of(tag_rows("BI"), tag_rows("BIES")))
def test_spans_are_those_of_seqeval(rows: list[Any]) -> None:
    for tags in transpose(rows)[0]:
        expected = [
            (kind, first, last + 1)
            for kind, first, last in seqeval.sequence_labeling.get_entities(tags)
        ]
        assert read_spans(tags) == expected


@few
@given(rows=st.one_of(tag_rows("BI"), tag_rows("BIES"), tag_rows("BMES"), tag_rows("BILU")))
def test_written_spans_read_back(rows: list[Any]) -> None:
    for tags in transpose(rows)[0]:
        for scheme in ("bio", "bmes"):
            written = write_spans(read_spans(tags), len(tags), span_prefixes(scheme, tags))
            assert len(written) == len(tags)
            assert read_spans(written) == read_spans(tags)
            unknown = {tag[0] for tag in written} in ({"O"}, set("S"), set("U"))
            found = detect_scheme(Counter(windows_of(written)))
            assert found == ("none" if unknown else scheme)
