"""Every registered metric is a finite number or nan, whatever the rows, and equals its oracle.

Conventions where a score is undefined in some libraries and a number in others:

* No rows, or rows that all have weight 0: nan, for every metric.
* Correlations of constants: nan, as in scipy. MCC of constants: 0, as in scikit-learn.
* The area under a curve of one class: nan, as in scikit-learn (where it also warns).
* Precision, recall and F1 without predictions or references: 0, as in scikit-learn with
  ``zero_division=0``, and as in seqeval for spans; macro averages over no class at all: nan.
* Rows of a ranking without a relevant item, groups without a row to find, and texts without
  keyphrases: left out.
* BLEU of texts without a match, chrF and ROUGE of empty texts: 0, as in their packages.
"""

from __future__ import annotations

import json
import math
import unicodedata
import warnings
from importlib import import_module
from typing import Any, Literal

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings, strategies as st
from scipy import stats
from seqeval import metrics as seqeval
from sklearn import metrics as sklearn

from polytask.evaluation.options import EvaluationOptions
from polytask.evaluation.score import Outcome, score_outcome
from polytask.tasks import Metric, metrics
from tests.contracts.test_metrics import CASES, LABELS, PAIRS, Rows, build, every_case, rows_of

rouge = import_module("rouge_score.rouge_scorer")
few = settings(max_examples=10, deadline=None)


def empty(form: str) -> Any:
    """A row in which there is nothing to find and nothing was found."""
    nothing = {"label": "no", "choice": "no", "number": 0.0, "text": "", "vectors": 0.0}
    if form == "vectors":
        return 0.0, [[1.0, 0.0], [1.0, 0.0]]
    if form in ("preference", "approval"):
        return True, {"chosen": 0.0, "rejected": 0.0} if form == "preference" else 0.0
    return nothing.get(form, []), nothing.get(form, [])


def value_of(metric: Metric, rows: Rows, weights: Any = None) -> float:
    """The value of a metric; warnings are errors."""
    weights_N = np.ones(len(rows.references)) if weights is None else np.array(weights, float)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return metric.value(rows.evidence(metric), weights_N)


def chances(count: int, chance: float = 0.5) -> list[Any]:
    return [np.full(len(LABELS), chance)] * count


@every_case
def test_no_rows_have_no_value(kind: str, form: str) -> None:
    metric = build(kind, form)
    assert math.isnan(value_of(metric, Rows([], [], [], [])))
    assert math.isnan(metric([], [], []))
    assert metric.why_uninformative([]) == "no row has a label"
    entry = score_outcome(Outcome([], []), [metric], EvaluationOptions(bootstrap=3))
    assert entry == {"rows": 0, metric.name: {"value": None, "low": None, "high": None}}


@every_case
@few
@given(data=st.data())
def test_rows_without_weight_have_no_value(kind: str, form: str, data: st.DataObject) -> None:
    rows = data.draw(rows_of(form))
    assert math.isnan(value_of(build(kind, form), rows, np.zeros(len(rows.references))))


@every_case
@few
@given(data=st.data())
def test_it_is_a_number_or_nan_which_is_null_in_scores(
    kind: str, form: str, data: st.DataObject
) -> None:
    metric, rows = build(kind, form), data.draw(rows_of(form))
    for weights in (None, rows.weights):
        value = value_of(metric, rows, weights)
        assert math.isnan(value) or math.isfinite(value)
    groups = {"question": rows.groups}
    outcome = Outcome(rows.references, rows.predictions, rows.probabilities, groups=groups)
    entry = score_outcome(outcome, [metric], EvaluationOptions(bootstrap=5))[metric.name]
    value = value_of(metric, rows)
    assert entry["value"] == (None if math.isnan(value) else value)
    json.dumps(entry, allow_nan=False)
    said = metric.why_uninformative(rows.references)
    assert said is None or (said and not said.endswith("."))
    if math.isnan(value) and kind not in (
        "pearson",
        "spearman",
        "cosine_pearson",
        "cosine_spearman",
    ):
        labels_only = form == "labels" and not any(rows.predictions)
        assert said is not None or labels_only  # these also need predictions that differ


@every_case
@few
@given(data=st.data(), count=st.integers(1, 4))
def test_constant_and_empty_rows(kind: str, form: str, data: st.DataObject, count: int) -> None:
    """All rows alike, with tied scores; and rows with nothing in them."""
    metric = build(kind, form)
    for reference, prediction in (data.draw(PAIRS[form]), empty(form)):
        rows = Rows([reference] * count, [prediction] * count, chances(count), [1] * count)
        value = value_of(metric, rows)
        assert math.isnan(value) or math.isfinite(value)
        metric.why_uninformative(rows.references)


@pytest.mark.parametrize("kind", ["rmse", "mae", "pearson", "spearman", "perplexity", "auc"])
@pytest.mark.parametrize("number", [math.nan, math.inf, 1e200])
def test_predictions_of_a_model_that_diverged(kind: str, number: float) -> None:
    metric = metrics.build(kind, ("no", "yes"))
    if kind == "auc":
        rows = Rows(["no", "yes"], ["no", "no"], [np.full(2, number), np.zeros(2)], [])
    else:
        numbers = [[number], [1.0]] if kind == "perplexity" else [number, 1.0]
        rows = Rows([1.0, 2.0], numbers, [], [])
    value = value_of(metric, rows)
    assert math.isnan(value) or math.isfinite(value)


@pytest.mark.parametrize("kind", ["rmse", "mae", "pearson", "spearman"])
def test_a_prediction_that_is_not_a_number_makes_numbers_undefined_as_in_scipy(kind: str) -> None:
    actual, predicted = [1.0, 2.0, 3.0, 4.0], [1.0, math.nan, 3.0, 2.0]
    assert math.isnan(stats.spearmanr(actual, predicted).statistic)
    rows = Rows(actual, predicted, [], [])
    assert math.isnan(value_of(metrics.build(kind, ()), rows))
    assert math.isfinite(value_of(metrics.build(kind, ()), Rows(actual, actual, [], [])))


@pytest.mark.parametrize("kind", ["mrr", "map", "ndcg", "gain"])
def test_scores_that_are_not_numbers_rank_nothing(kind: str) -> None:
    metric, lost = metrics.build(kind, ()), [0.3, math.nan]
    assert math.isnan(metric([[1.0, 0.0]], [lost]))
    assert metric([[1.0, 0.0], [1.0, 0.0]], [lost, [0.5, 0.1]]) == 1


@pytest.mark.parametrize("kind", ["retrieval_mrr", "retrieval_recall"])
@pytest.mark.parametrize("vector", [[1.0, 0.0], [0.0, 0.0], [math.nan, math.nan]])
def test_equal_vectors_of_all_texts_find_nothing(kind: str, vector: list[float]) -> None:
    """A model that has collapsed is never best."""
    metric = metrics.build(kind, ())
    assert math.isnan(metric([1.0] * 4, [[vector, vector]] * 4))
    apart = [[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]]
    assert metric([1.0, 1.0], apart) == 1


UNINFORMATIVE: list[tuple[Any, list[Any], str]] = [
    ("pearson", [1.0], "only one row has a label"),
    ("spearman", [2.0, 2.0], "all numbers are equal"),
    ("cosine_pearson", [2.0, 2.0], "all numbers are equal"),
    ("auc", ["yes", "yes"], "no label is on some rows and not on others"),
    ("mcc", ["yes", "yes"], "all rows have the label 'yes'"),
    ({"kind": "f1", "label": "yes"}, ["no"], "no row has the label 'yes'"),
    ({"kind": "mean_f1", "labels": ["no", "yes"]}, ["no"], "no row has the label 'yes'"),
    ("f1", [[], []], "all rows are without labels"),
    ("span_f1", [["O", "O"]], "all rows are without labels"),
    ("map", [[0.0, 0.0]], "no row has a relevant item"),
    ({"kind": "group_map", "group": "q"}, ["no"], "no row has the label 'yes'"),
    ({"kind": "group_mrr", "group": "q"}, [0.0, -1.0], "no number is above 0"),
    ("keyphrase_f1", [[]], "no text has phrases"),
    ("retrieval_mrr", [0.5], "no number is 1 or more"),
    ("retrieval_mrr", [1.0], "only one row has a label"),
    ("uas", [[]], "no row has words"),
    ("bleu", ["他喜欢猫。"], "13a finds no words in this script; use tokenize: zh"),
    ("bleu", ["ねこがすきです"], "13a finds no words in this script; use tokenize: char"),
    ("squad_f1", [[{"text": "黑猫"}]], "its words are cut at spaces, which this script lacks"),
]


@pytest.mark.parametrize(("kind", "references", "reason"), UNINFORMATIVE)
def test_why_references_tell_nothing(kind: Any, references: list[Any], reason: str) -> None:
    found = metrics.build(kind, ("no", "yes")).why_uninformative(references)
    assert found is not None
    assert found.startswith(reason)


@pytest.mark.parametrize(
    ("kind", "references"),
    [
        ("pearson", [1.0, 2.0]), ("auc", ["no", "yes"]), ("mcc", ["no", "yes"]),
        ({"kind": "f1", "label": "yes"}, ["no", "yes"]), ("span_f1", [["O", "B-x"]]),
        ("map", [[0.0, 1.0]]), ({"kind": "group_map", "group": "q"}, ["no", "yes"]),
        ({"kind": "group_mrr", "group": "q"}, [0.0, 1.0]), ("bleu", ["he likes cats"]), ("rouge", ["他喜欢猫。"]),
        ({"kind": "bleu", "tokenize": "zh"}, ["他喜欢猫。"]), ("bleu", ["그는 고양이를 좋아한다"]),
    ],
)  # fmt: skip
def test_references_that_tell_something(kind: Any, references: list[Any]) -> None:
    assert metrics.build(kind, ("no", "yes")).why_uninformative(references) is None


label = st.sampled_from(LABELS)
label_rows = st.lists(st.tuples(label, label), min_size=1, max_size=8)
constant_rows = st.tuples(label, label, st.integers(1, 4)).map(lambda one: [one[:2]] * one[2])


@few
@given(rows=label_rows | constant_rows)
def test_labels_equal_sklearn_even_with_one_class(rows: list[Any]) -> None:
    actual, predicted = map(list, zip(*rows, strict=True))
    for kind, oracle in (
        ("f1", sklearn.f1_score),
        ("precision", sklearn.precision_score),
        ("recall", sklearn.recall_score),
    ):
        expected = oracle(actual, predicted, average="macro", zero_division=0)
        assert build(kind, "label")(actual, predicted) == pytest.approx(expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a single label
        expected = sklearn.matthews_corrcoef(actual, predicted)
    assert build("mcc", "label")(actual, predicted) == pytest.approx(expected)
    assert build("accuracy", "label")(actual, predicted) == sklearn.accuracy_score(
        actual, predicted
    )


@few
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=8))
def test_the_area_of_tied_scores_equals_sklearn(rows: list[tuple[bool, float]]) -> None:
    actual, scores = map(list, zip(*rows, strict=True))
    value = metrics.build("auc", ("no", "yes"))(
        ["yes" if one else "no" for one in actual], actual, [np.array([1 - s, s]) for s in scores]
    )
    if len({*actual}) == 1:
        assert math.isnan(value)
    else:
        assert value == pytest.approx(sklearn.roc_auc_score(actual, scores))


numbers = st.sampled_from([-1.0, 0.0, 0.5, 2.0])


@few
@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=8))
def test_correlations_of_ties_equal_scipy(rows: list[tuple[float, float]]) -> None:
    actual, predicted = map(list, zip(*rows, strict=True))
    for kind, oracle in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.ConstantInputWarning)
            expected = float(oracle(actual, predicted)[0])
        value = build(kind, "number")(actual, predicted)
        assert value == pytest.approx(expected, nan_ok=True)


tag_rows = st.lists(
    st.lists(st.sampled_from(["O", "B-x", "I-x"]), min_size=1, max_size=4), max_size=4
)


@few
@given(tag_rows.filter(bool), st.booleans())
def test_spans_equal_seqeval_even_without_any(rows: list[list[str]], found: bool) -> None:
    predicted = [list(row) if found else ["O"] * len(row) for row in rows]
    for kind, oracle in (("span_f1", seqeval.f1_score), ("span_recall", seqeval.recall_score)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = oracle(rows, predicted, zero_division=0)
        assert build(kind, "tags")(rows, predicted) == pytest.approx(expected)


sentence = st.lists(st.sampled_from(["the", "cat", "sat", "mats."]), max_size=6).map(" ".join)
texts = st.lists(
    st.tuples(sentence, st.lists(sentence, min_size=1, max_size=3)), min_size=1, max_size=4
)


def streams(references: list[list[str]]) -> list[Any]:
    """References as sacreBLEU wants them: None where a row has fewer."""
    most = max(map(len, references))
    return [[row[at] if at < len(row) else None for row in references] for at in range(most)]


@pytest.mark.parametrize("tokenize", ["13a", "intl", "char", "zh"])
@settings(max_examples=30, deadline=None)
@given(rows=texts)
def test_bleu_equals_sacrebleu(tokenize: str, rows: list[Any]) -> None:
    """Also without a match in some orders, of empty texts, of one to three references a row."""
    written, right = map(list, zip(*rows, strict=True))
    expected = sacrebleu.corpus_bleu(written, streams(right), tokenize=tokenize, force=True)
    metric = metrics.build({"kind": "bleu", "tokenize": tokenize}, ())
    assert 100 * metric(right, written) == pytest.approx(expected.score)


def test_bleu_is_smoothed_where_an_order_has_no_match() -> None:
    written, right = (
        ["the cat sat on mats", "a dog is here"],
        ["the cat sat by mats", "a dog was there"],
    )
    assert 100 * metrics.build("bleu", ())(right, written) == pytest.approx(31.2394, abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(rows=texts)
def test_chrf_equals_sacrebleu(rows: list[Any]) -> None:
    written, right = map(list, zip(*rows, strict=True))
    expected = sacrebleu.corpus_chrf(written, streams(right)).score
    assert 100 * metrics.build("chrf", ())(right, written) == pytest.approx(expected)


ascii_text = st.text(st.characters(codec="ascii"), max_size=12) | sentence


@pytest.mark.parametrize("stemmer", [True, False])
@pytest.mark.parametrize("variant", ["1", "2", "L"])
@few
@given(right=ascii_text, written=ascii_text)
def test_rouge_of_ascii_equals_the_package(
    variant: str, stemmer: bool, right: str, written: str
) -> None:
    kind = f"rouge{variant}"
    expected = rouge.RougeScorer([kind], use_stemmer=stemmer).score(right, written)[kind].fmeasure
    metric = metrics.build({"kind": "rouge", "variant": variant, "stemmer": stemmer}, ())
    assert metric([right], [written]) == pytest.approx(expected)


SCRIPTS = [
    "他喜欢黑猫",
    "ねこがすきです",
    "그는 고양이를 좋아한다",
    "वह बिल्ली है",
    "แมวดำ",
    "القط هنا",
    "Кот здесь",
    "café noir",
]


@pytest.mark.parametrize("text", SCRIPTS)
@pytest.mark.parametrize(
    "kind", ["rouge", "text_match", "chrf", "keyphrase_f1", "squad_f1", "cmrc_f1"]
)
def test_equal_texts_of_every_script_score_one_and_others_less(kind: str, text: str) -> None:
    """Composed or decomposed, they are the same text."""

    def as_form(text: str) -> Any:
        if kind in ("rouge", "text_match", "chrf"):
            return text
        return [{"text": text, "start": 0}]

    metric = metrics.build(kind, ())
    forms: list[Literal["NFC", "NFD"]] = ["NFC"] if kind == "chrf" else ["NFC", "NFD"]
    for form in forms:  # sacreBLEU compares characters as they are
        same = unicodedata.normalize(form, text)
        assert metric([as_form(text)], [as_form(same)]) == pytest.approx(1)
    other = SCRIPTS[(SCRIPTS.index(text) + 1) % len(SCRIPTS)]
    assert metric([as_form(text)], [as_form(other)]) == 0


def test_rouge_compares_chinese_by_character() -> None:
    """Three of four characters each way: F1 is 3/4."""
    metric = metrics.build({"kind": "rouge", "variant": "1"}, ())
    assert metric(["黑猫在家"], ["白猫在家"]) == pytest.approx(0.75)


def test_marks_of_hindi_belong_to_their_letters() -> None:
    metric = metrics.build({"kind": "rouge", "variant": "1"}, ())
    assert metric(["कि"], ["का"]) == 0


def test_every_metric_was_driven() -> None:
    assert {kind for kind, _ in CASES} == set(metrics.kinds())
