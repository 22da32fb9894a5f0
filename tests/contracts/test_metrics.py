"""What every registered metric promises."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from polytask.tasks import Metric, metrics, tasks

LABELS = ("no", "yes", "1")
TAGS = ("O", "B-x", "I-x", "B-y", "I-y")
OPTIONS: dict[str, dict[str, Any]] = {
    "mean_f1": {"labels": ["no", 1]},
    "group_map": {"group": "question", "label": "yes"},
    "group_mrr": {"group": "question", "label": "yes"},
}

label = st.sampled_from(LABELS)
label_list = st.lists(label, unique=True, max_size=3).map(sorted)
number = st.integers(-3, 3).map(float)


@st.composite
def tag_pair(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    size = draw(st.integers(1, 5))
    row = st.lists(st.sampled_from(TAGS), min_size=size, max_size=size)
    return draw(row), draw(row)


words = st.lists(st.sampled_from(["ab", "cd", "efg"]), min_size=1, max_size=5).map(" ".join)
costs = st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=1, max_size=4)
LEAST = {"perplexity": 1.0}
"""The best value of metrics of which lower is better, where that is not 0."""


@st.composite
def item_pair(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    size = draw(st.integers(1, 5))
    row = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=size, max_size=size)
    return draw(row), draw(row)


@st.composite
def vector_pair(draw: st.DrawFn) -> tuple[float, list[list[float]]]:
    angles = st.integers(0, 11).map(lambda step: math.tau * step / 12 + 0.1)
    return draw(number), [[math.cos(a), math.sin(a)] for a in (draw(angles), draw(angles))]


said = st.sampled_from(["the cat", "Cat!", "a dog", "黑猫，", "黑猫 x", ""]).map(
    lambda text: {"text": text, "start": 0}
)
phrases = st.lists(
    st.sampled_from(["neural nets", "Neural net", "bus", "query", "queries"]).map(
        lambda text: {"text": text, "places": []}
    ),
    max_size=3,
)
answers = st.lists(said.filter(lambda answer: answer["text"]), max_size=2)


@st.composite
def tree_pair(draw: st.DrawFn) -> tuple[list[list[Any]], list[list[Any]]]:
    size = draw(st.integers(1, 4))
    arc = st.tuples(st.integers(0, size), st.sampled_from(["det", "nsubj", "nsubj:pass"])).map(list)
    row = st.lists(arc, min_size=size, max_size=size)
    return draw(row), draw(row)


relation = st.fixed_dictionaries(
    {
        "head": st.sampled_from([[0, 1], [2, 4]]),
        "tail": st.sampled_from([[1, 2], [4, 5]]),
        "type": st.sampled_from(["Live_In", "Kill"]),
    }
)
relations = st.lists(relation, max_size=3)

logs = st.floats(-30, 0)
PAIRS: dict[str, st.SearchStrategy[Any]] = {
    "text": st.tuples(words, words),
    "surprisals": st.tuples(st.just([0.0]), costs),
    "label": st.tuples(label, label),
    "choice": st.tuples(label, label),
    "labels": st.tuples(label_list, label_list),
    "number": st.tuples(number, number),
    "tags": tag_pair(),
    "answers": st.tuples(answers, answers.map(lambda row: row[:1])),
    "phrases": st.tuples(phrases, phrases),
    "ranking": item_pair(),
    "vectors": vector_pair(),
    "words": tag_pair(),
    "tree": tree_pair(),
    "relations": st.tuples(relations, relations),
    "preference": st.tuples(st.just(True), st.builds(dict, chosen=logs, rejected=logs)),
    "approval": st.tuples(st.booleans(), logs),
}


@dataclass(frozen=True)
class Rows:
    """Rows of one form, how often each counts, probabilities of the labels, and groups."""

    references: list[Any]
    predictions: list[Any]
    probabilities: list[Any]
    weights: list[int]
    groups: list[Any] = field(default_factory=list)

    def counted_by(self, metric: Metric) -> Rows:
        """The rows with weights as a metric counts them: those of a group count alike."""
        if metric.group is None:
            return self
        return replace(self, weights=[self.weights[self.groups.index(g)] for g in self.groups])

    def repeated(self) -> Rows:
        """Every row as often as it counts; copies of a group are other groups."""
        copies = [(row, copy) for row, count in enumerate(self.weights) for copy in range(count)]
        found = self.at([place for place, _ in copies])
        return replace(found, groups=[(self.groups[place], copy) for place, copy in copies])

    def at(self, places: list[int]) -> Rows:
        names = ("references", "predictions", "probabilities", "weights", "groups")
        return Rows(*([getattr(self, name)[place] for place in places] for name in names))

    def evidence(self, metric: Metric) -> Any:
        return metric.gather_evidence(
            self.references, self.predictions, self.probabilities, self.groups
        )

    def score(self, metric: Metric) -> float:
        return metric(self.references, self.predictions, self.probabilities, self.groups)


@st.composite
def rows_of(draw: st.DrawFn, form: str) -> Rows:
    pairs = draw(st.lists(PAIRS[form], min_size=1, max_size=12))
    size = len(pairs)
    chances = st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 1.0])] * len(LABELS)).map(np.array)
    probabilities = draw(st.lists(chances, min_size=size, max_size=size))
    least = 1 if form == "vectors" else 0  # texts are looked for among those of all rows
    weights = draw(st.lists(st.integers(least, 3), min_size=size, max_size=size).filter(any))
    references, predictions = (list(column) for column in zip(*pairs, strict=True))
    groups = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    return Rows(references, predictions, probabilities, weights, groups)


def ideal(form: str, references: list[Any]) -> list[Any]:
    """The best predictions: the references, where these are of the same form."""
    if form == "answers":
        return [reference[:1] for reference in references]
    if form == "preference":
        return [{"chosen": 0.0, "rejected": -30.0} for _ in references]
    if form == "approval":
        return [0.0 if liked else -30.0 for liked in references]
    if form != "vectors":
        return references
    anchors, others = np.split(np.eye(2 * len(references)), 2)
    near = 0.5 + np.array(references)[:, None] / 10
    partners = near * anchors + np.sqrt(1 - near**2) * others
    return [*np.stack([anchors, partners], axis=1).tolist()]


def build(kind: str, form: str) -> Metric:
    return metrics.build(
        {"kind": kind, **OPTIONS.get(kind, {})}, TAGS if form == "tags" else LABELS
    )


CASES = [(kind, form) for kind in metrics.kinds() for form in metrics.part(kind).forms]
every_case = pytest.mark.parametrize(("kind", "form"), CASES)
few = settings(max_examples=10, deadline=None)


def test_every_metric_says_what_it_measures_in_words_that_tasks_use() -> None:
    assert {kind for kind, _ in CASES} == set(metrics.kinds())
    assert {form for _, form in CASES} == {tasks.part(kind).label_type for kind in tasks.kinds()}


@every_case
def test_it_has_a_name_of_its_own(kind: str, form: str) -> None:
    name = build(kind, form).name
    assert kind in name
    assert name.isidentifier()
    others = [build(*case).name for case in CASES if case[0] != kind]
    assert name not in others


@every_case
@few
@given(data=st.data())
def test_a_row_that_counts_twice_is_two_rows(kind: str, form: str, data: st.DataObject) -> None:
    metric = build(kind, form)
    rows = data.draw(rows_of(form)).counted_by(metric)
    weighted = metric.value(rows.evidence(metric), np.array(rows.weights, dtype=np.float64))
    assert weighted == pytest.approx(rows.repeated().score(metric), nan_ok=True)


@every_case
@few
@given(data=st.data())
def test_the_order_of_rows_does_not_matter(kind: str, form: str, data: st.DataObject) -> None:
    metric = build(kind, form)
    rows = data.draw(rows_of(form))
    shuffled = rows.at(data.draw(st.permutations(range(len(rows.references)))))
    assert rows.score(metric) == pytest.approx(shuffled.score(metric), nan_ok=True)


@every_case
@few
@given(data=st.data())
def test_nothing_is_better_than_the_references(kind: str, form: str, data: st.DataObject) -> None:
    metric = build(kind, form)
    rows = data.draw(rows_of(form))
    if kind == "bleu":  # 0 in sacreBLEU for any corpus without a sentence of four words
        assume(any(len(text.split()) >= 4 for text in rows.references))
    if metric.needs_probabilities:
        best = 1.0
    else:
        best = metric(rows.references, ideal(form, rows.references), rows.probabilities)
    value = rows.score(metric)
    if not math.isnan(value) and not math.isnan(best):
        assert value <= best + 1e-12 if metric.higher_is_better else value >= best


PERFECT: dict[str, list[Any]] = {
    "text": ["one whole sentence of words", "another one that is right"],
    "surprisals": [[0.0, 0.0], [0.0]],
    "label": ["no", "yes", "1", "1"],
    "choice": ["0", "2", "1"],
    "labels": [["no"], ["yes", "1"], []],
    "number": [1.0, 2.0, 4.0],
    "tags": [["B-x", "I-x", "O"], ["B-y"]],
    "answers": [[{"text": "the cat", "start": 3}, {"text": "cat", "start": 7}], []],
    "phrases": [[{"text": "neural nets"}, {"text": "bus"}], [{"text": "query"}]],
    "ranking": [[0.0, 1.0, 0.5], [1.0], [0.0, 0.0]],
    "vectors": [1.0, 2.0, 4.0],
    "preference": [True, True],
    "approval": [True, False, True],
    "words": [["cat", "sit"], ["_"]],
    "relations": [[{"head": [0, 1], "tail": [2, 4], "type": "Kill"}], []],
    "tree": [[[2, "det"], [0, "root"]], [[0, "root"]]],
}


@every_case
def test_perfect_predictions_score_one_or_no_error(kind: str, form: str) -> None:
    metric, references = build(kind, form), PERFECT[form]
    sure = []
    if metric.needs_probabilities and form != "number":
        sure = [np.array([float(name in one) for name in LABELS]) for one in references]
    best = 1 if metric.higher_is_better else LEAST.get(kind, 0)
    assert metric(references, ideal(form, references), sure) == pytest.approx(best)
