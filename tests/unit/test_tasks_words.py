"""Lemmas by edit scripts, and sets of features."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st

from polytask.core.errors import DataError
from polytask.core.features import Features, TextLayout
from polytask.tasks import Task, metrics, tasks
from polytask.tasks.edits import apply, script
from polytask.tasks.feats import membership

DATA = Path(os.environ.get("POLYTASK_DATA", Path(__file__).parents[3] / "shared" / "data"))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=8), st.text(max_size=8))
def test_a_script_makes_the_lemma(word: str, lemma: str) -> None:
    assert apply(script(word, lemma), word) == lemma


@given(st.text("aAbBß", max_size=6), st.text("aAbB", max_size=6), st.text("aAbBİ", max_size=6))
def test_a_script_applies_to_any_word(word: str, lemma: str, other: str) -> None:
    assert isinstance(apply(script(word, lemma), other), str)


@pytest.mark.parametrize(
    ("word", "lemma", "other", "expected"),
    [
        ("cats", "cat", "Dogs", "dog"),
        ("Dogs", "dog", "cats", "cat"),
        ("tries", "try", "flies", "fly"),
        ("London", "London", "Paris", "Paris"),
        ("McDonald", "McDonald", "usa", "usa"),
        ("unhappier", "happy", "unluckier", "lucky"),
        ("was", "be", "were", "be"),
    ],
)
def test_a_script_fits_words_of_its_kind(word: str, lemma: str, other: str, expected: str) -> None:
    assert apply(script(word, lemma), other) == expected


def test_case_matters_only_to_names() -> None:
    assert script("The", "the") == script("the", "the")
    assert script("London", "London") != script("the", "the")


def test_all_lemmas_of_a_treebank_are_made_by_few_scripts() -> None:
    path = DATA / "tagging/ud_en_ewt/dev.conllu.gz"
    if not path.is_file():
        pytest.skip("needs tagging/ud_en_ewt (set POLYTASK_DATA)")
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    cells = [line.split("\t") for line in lines if line[:1].isdecimal()]
    pairs = {(row[1], row[2]) for row in cells}
    assert all(apply(script(*pair), pair[0]) == pair[1] for pair in pairs)
    assert len({script(*pair) for pair in pairs}) < len(pairs) / 10


def lemmatiser() -> Task:
    task = tasks.build({"kind": "lemma", "target": "lemma"}, "lemma")
    task.fit(
        [task.training_label({"tokens": ["Cats", "sat", "dogs"], "lemma": ["cat", "sit", "dog"]})]
    )
    return task


def test_scripts_are_learned_and_lemmas_answered() -> None:
    task = lemmatiser()
    plural = task.labels.index(script("cats", "cat"))
    scores = {"tags_bWC": torch.eye(2)[plural].expand(1, 2, -1), "kept_bW": torch.ones(1, 2).bool()}
    assert task.decode(scores, [(["Birds", "pens"],)]).labels == [["bird", "pen"]]
    # The third word was cut off: it gets the most frequent script.
    cut = task.decode(scores, [(["Birds", "pens", "Cups"],)]).labels
    assert cut == [["bird", "pen", "cup"]]


def test_lemmas_need_their_words() -> None:
    task = lemmatiser()
    with pytest.raises(DataError, match=r"list of words in column 'tokens'.*mean 'token'"):
        task.training_label({"token": ["a"], "lemma": ["a"]})
    with pytest.raises(DataError, match="2 tags in column 'lemma', but 1 words"):
        task.training_label({"tokens": ["a"], "lemma": ["a", "b"]})


def test_an_unknown_lemma_is_always_right() -> None:
    metric = metrics.build("lemmas", ())
    assert metric([["_", "be", "go"]], [["x", "be", "went"]]) == pytest.approx(2 / 3)


def test_features_of_one_language_do_not_count() -> None:
    gold = [["Case=Nom|Number=Sing", "_", "Typo=Yes"]]
    found = [["Number=Sing|Case=Nom|Style=Arch", "Typo=Yes", "Case=Gen"]]
    assert metrics.build("ufeats", ())(gold, found) == pytest.approx(2 / 3)
    assert metrics.build("accuracy", ())(gold, found) == 0


def test_sets_have_the_features_that_they_name() -> None:
    members_VK = membership(["A=1|B=2", "B=2", "_"])  # rows: A=1, B=2, _
    assert members_VK.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]


def test_sets_learn_from_sets_that_share_features() -> None:
    task = tasks.build("feats", "t")
    task.fit([["A=1|B=1", "A=1|B=2", "A=2|B=1", "A=2|B=2"]])
    head = task.head(4)
    linear = next(m for m in head.modules() if isinstance(m, torch.nn.Linear))
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.zero_()
        linear.bias[4 + 1] = 1.0  # the feature A=2, after the four sets
    features = Features(
        torch.zeros(1, 1, 4), torch.ones(1, 1).bool(), TextLayout(torch.zeros(1, 1).long())
    )
    scores = head.eval()(features)["tags_bWC"][0, 0].tolist()
    assert dict(zip(task.labels, scores, strict=True)) == {
        "A=1|B=1": 0,
        "A=1|B=2": 0,
        "A=2|B=1": 1,
        "A=2|B=2": 1,
    }
