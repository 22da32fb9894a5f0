"""Which labels of held-out rows are told to be unseen."""

from __future__ import annotations

from typing import Any

import pytest

from polytask.assembly.data.notes import unseen_labels
from polytask.data.sources import sources
from polytask.tasks import tasks


@pytest.mark.parametrize(
    ("kind", "train", "held_out", "unseen"),
    [
        ("classification", ["a", "b"], ["b", "c", "c"], ["'c' occurs in test (2 times)"]),
        ("multilabel", [["a"], ["b"]], [["b", "c"], []], ["'c' occurs in test (once)"]),
        (
            "tagging",
            [["a"]],
            [["b", "c", "b"], list("cdefa")],
            ["5 labels occur in test (7 times)"],
        ),
        ("multiple_choice", [0, 1], [2, 3], []),
        ("multiple_choice", [[1, 0]], [[0, 0, 1]], []),
        ("regression", [0.5], [1.5], []),
    ],
)
def test_labels_of_no_training_row(
    kind: str, train: list[Any], held_out: list[Any], unseen: list[str]
) -> None:
    task = tasks.build({"kind": kind, "target": "label"}, "t")
    task.fit([task.training_label({"label": label}) for label in train])
    rows = [{"label": label} for label in held_out]
    table = sources.build({"kind": "rows", "rows": rows}, ()).load()["all"]
    messages = [*unseen_labels(task, table, "test")]
    assert len(messages) == len(unseen)
    assert all(said in message for said, message in zip(unseen, messages, strict=True))


@pytest.mark.parametrize(
    ("words", "lemmas", "said"),
    [
        (["went", "cats"], ["go", "cat"], "lemma edit 'went' → 'go' occurs in test (once)"),
        (
            ["went", "was", "mice", "feet"],
            ["go", "be", "mouse", "foot"],
            "4 lemma edits occur in test (4 times) but never in train; they cannot be learned and "
            "count as wrong: 'went' → 'go', 'was' → 'be', 'mice' → 'mouse', ...",
        ),
    ],
)
def test_lemmas_of_no_training_row_are_shown_with_their_words(
    words: list[str], lemmas: list[str], said: str
) -> None:
    task = tasks.build({"kind": "lemma", "target": "label"}, "t")
    task.fit([task.training_label({"tokens": ["dogs"], "label": ["dog"]})])
    rows = [{"tokens": words, "label": lemmas}]
    table = sources.build({"kind": "rows", "rows": rows}, ()).load()["all"]
    [message] = unseen_labels(task, table, "test")
    assert said in message
    assert "[" not in message.replace("rows[0]", "")
