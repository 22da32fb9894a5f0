"""Tagging: schemes, repair, words that the encoder cut off."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from polytask.core.errors import DataError, RecipeError
from polytask.core.features import Features, TextLayout
from polytask.encoders import encoders
from polytask.tasks import Task, metrics, tasks
from polytask.tasks.losses import total
from polytask.tasks.spans import (
    Scheme,
    Span,
    detect_scheme,
    read_spans,
    span_prefixes,
    windows_of,
    write_spans,
)

DATA = Path(os.environ.get("POLYTASK_DATA", Path(__file__).parents[3] / "shared" / "data"))


def fitted(*rows: str, **options: Any) -> Task:
    task = tasks.build({"kind": "tagging", "target": "tags", **options}, "ner")
    task.fit([task.reference({"tags": row}) for row in rows])
    return task


def scheme_of(rows: Iterable[Sequence[str]]) -> Scheme:
    return detect_scheme(Counter(window for row in rows for window in windows_of(row)))


def scores_of(task: Task, tags: Sequence[str | None]) -> dict[str, torch.Tensor]:
    """Scores of one row that want these tags; None is a word that was cut off."""
    wanted = torch.tensor([[task.labels.index(tag or task.labels[0]) for tag in tags]])
    kept_bW = torch.tensor([[tag is not None for tag in tags]])
    return {"tags_bWC": 9.0 * functional.one_hot(wanted, len(task.labels)), "kept_bW": kept_bW}


def decode(task: Task, tags: str) -> str:
    (decoded,) = task.decode(scores_of(task, tags.split()), [(tags.split(),)]).labels
    return " ".join(decoded)


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("O B-x I-x", "bio"),
        ("O I-x", "iob1"),
        ("B I O", "bio"),
        ("B-x M-x E-x S-x O", "bmes"),
        ("B-x I-x E-x S-x O", "bmes"),
        ("B-x I-x L-x U-x O", "bmes"),
        ("B M E S", "bmes"),
        ("NOUN VERB PRON", "none"),
        ("DT B-NP", "none"),
        ("O O", "none"),
    ],
)
def test_schemes_are_told_by_the_tags(tags: str, scheme: str) -> None:
    assert scheme_of([tags.split()]) == scheme


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O B-x I-x O", [("x", 1, 3)]),
        ("I-x I-x B-x", [("x", 0, 2), ("x", 2, 3)]),
        ("B-x I-y I-y", [("x", 0, 1), ("y", 1, 3)]),
        ("B-x M-x E-x S-y", [("x", 0, 3), ("y", 3, 4)]),
        ("B E S", [("", 0, 2), ("", 2, 3)]),
        ("B-a-b I-a-b", [("a-b", 0, 2)]),
        ("", []),
    ],
)
def test_spans_of_tags(tags: str, spans: list[Any]) -> None:
    assert read_spans(tags.split()) == [Span(*span) for span in spans]


def test_a_tag_of_no_scheme_is_named() -> None:
    with pytest.raises(DataError, match=r"tag 'NOUN' marks no span.*scheme: none"):
        read_spans(["B-x", "NOUN"])
    with pytest.raises(DataError, match=r"tag 'NOUN' marks no span"):
        fitted("NOUN VERB", scheme="bio")


def test_spans_are_written_in_the_spelling_of_the_labels() -> None:
    spans = [Span("x", 0, 3), Span("y", 4, 5), Span("x", 5, 7)]
    written = {
        tags: " ".join(write_spans(spans, 7, span_prefixes("bmes", tags.split())))
        for tags in ("B-x M-x E-x S-x", "B-x I-x L-x U-x", "B-x M-x E-x W-x")
    }
    assert list(written.values()) == [
        "B-x M-x E-x O S-y B-x E-x",
        "B-x I-x L-x O U-y B-x L-x",
        "B-x M-x E-x O W-y B-x E-x",
    ]
    bio = " ".join(write_spans(spans, 7, span_prefixes("bio", ["B-x"])))
    assert bio == "B-x I-x I-x O B-y B-x I-x"


@pytest.mark.parametrize(
    ("predicted", "repaired"),
    [
        ("O I-x I-x", "O B-x I-x"),
        ("B-x I-y I-y", "B-x B-y I-y"),
        ("I-x O I-x", "B-x O B-x"),
        ("B-x I-x B-y", "B-x I-x B-y"),
    ],
)
def test_bio_is_repaired(predicted: str, repaired: str) -> None:
    assert decode(fitted("B-x I-x O B-y I-y"), predicted) == repaired


@pytest.mark.parametrize(
    ("predicted", "repaired"),
    [
        ("B-x O M-x M-x", "S-x O B-x E-x"),
        ("B-x M-x S-y", "B-x E-x S-y"),
        ("E-x E-x O", "S-x S-x O"),
        ("B-x M-x E-x", "B-x M-x E-x"),
    ],
)
def test_bmes_is_repaired(predicted: str, repaired: str) -> None:
    assert decode(fitted("B-x M-x E-x S-x O S-y"), predicted) == repaired


def test_without_a_scheme_nothing_is_repaired() -> None:
    assert decode(fitted("I-x O B-x", scheme="none"), "I-x O I-x") == "I-x O I-x"


def test_default_metrics_follow_the_scheme() -> None:
    assert fitted("B-x O").default_metrics[0] == "span_f1"
    assert fitted("NOUN VERB").default_metrics == ("accuracy",)


def test_tags_are_lists_or_text() -> None:
    task = fitted("B-x O", "1 2", scheme="none")
    assert task.labels == ("1", "2", "B-x", "O")
    assert task.reference({"tags": [1, "O"]}) == ["1", "O"]
    assert task.reference({"tags": []}) is None
    with pytest.raises(
        DataError, match=r"task ner: column 'tags': expected a list of tags.*found 3"
    ):
        task.reference({"tags": 3})


def test_a_tag_too_many_is_counted() -> None:
    with pytest.raises(DataError, match="task ner: 3 tags in column 'tags', but 2 words"):
        fitted("B-x O").encode(["O", "O", "O"], {"words": [0, 1]})
    with pytest.raises(DataError, match="task ner: 1 tags in column 'tags', but 2 words"):
        fitted("B-x O").pad_prediction(["O", "O"], ["O"])


def test_a_tag_unknown_in_training_is_ignored_beside_known_ones() -> None:
    task = fitted("B-x O")
    assert task.encode(["O", "B-new"], {"words": [0, 1]}) == [task.labels.index("O"), -100]


def test_words_are_demanded_of_the_encoder() -> None:
    task = fitted("B-x O")
    message = r"tasks\.ner: labels words, but the encoder gives one vector per text"
    with pytest.raises(RecipeError, match=message):
        task.encode(["O"], {"ids": [1]})
    with pytest.raises(RecipeError, match=message):
        task.head(4)(Features(torch.zeros(1, 1, 4), torch.ones(1, 1, dtype=torch.bool)))


def test_the_first_token_of_a_word_decides_its_tag() -> None:
    head = fitted("B-x O").head(3).eval()
    tokens_BLD, mask_BL = torch.randn(1, 5, 3), torch.ones(1, 5, dtype=torch.bool)
    scores = head(Features(tokens_BLD, mask_BL, TextLayout(torch.tensor([[1, 2, 4, -1]]))))
    assert scores["kept_bW"].tolist() == [[True, True, True, False]]
    words = head(
        Features(tokens_BLD[:, [1, 2, 4]], mask_BL[:, :3], TextLayout(torch.tensor([[0, 1, 2]])))
    )
    torch.testing.assert_close(scores["tags_bWC"][:, :3], words["tags_bWC"])
    tokens_BLD[:, [0, 3]] = 9.0
    changed = head(Features(tokens_BLD, mask_BL, TextLayout(torch.tensor([[1, 2, 4, -1]]))))
    torch.testing.assert_close(changed["tags_bWC"][:, :3], words["tags_bWC"])


def test_words_cut_off_are_no_loss_and_are_completed() -> None:
    task = fitted("B-x I-x O O")
    reference = ["B-x", "I-x", "O", "B-x"]
    scores = scores_of(task, ["B-x", "I-x", None, None])
    values = task.collate([task.encode(reference, {"words": [0, 1, -1, -1]})])
    kept = total(task.loss(scores_of(task, ["B-x", "I-x"]), values[:, :2]))
    assert total(task.loss(scores, values)).item() == pytest.approx(kept.item())
    found = task.decode(scores, [(["w"] * 4,)])
    assert found.labels == [["B-x", "I-x", "O", "O"]]
    assert task.pad_prediction(["B-x", "I-x"], reference) == ["B-x", "I-x", "O", "O"]
    (probabilities,) = found.probabilities
    assert probabilities.shape == (2, 3)
    assert probabilities.sum(-1) == pytest.approx(1)


def test_without_a_scheme_cut_words_get_the_most_frequent_tag() -> None:
    task = fitted("NOUN VERB NOUN", "ADJ NOUN")
    assert task.pad_prediction(["VERB"], ["VERB", "ADJ"]) == ["VERB", "NOUN"]


def test_a_word_without_tokens_between_others_keeps_its_place() -> None:
    task = fitted("B-x I-x O O")
    scores = scores_of(task, ["B-x", None, "B-x", None])
    assert task.decode(scores, [(["w"] * 3,)]).labels == [["B-x", "O", "B-x"]]


def test_a_row_of_which_nothing_was_kept_costs_nothing() -> None:
    task = fitted("B-x O")
    scores = scores_of(task, [None, None])
    assert total(task.loss(scores, task.collate([[0, 1]]))).item() == 0
    assert task.decode(scores, [([],)]).labels == [[]]


def test_conll_columns() -> None:
    task = fitted("B-x O")
    lines = task.scorer_lines(
        [["B-x", "O"], ["O"]], [["B-x", "B-x"], ["O"]], [(["New York", "is"],), ("?", ["big"])]
    )
    assert lines == ["New_York B-x B-x", "is O B-x", "", "big O O", ""]


def test_a_real_encoder_that_cuts() -> None:
    fields = [(["a", "b", "c", "d", "e"],), (["f"],)]
    references = [["B-x", "I-x", "O", "O", "B-x"], ["O"]]
    encoder = encoders.build({"kind": "bilstm", "min_count": 1, "max_length": 3}, ())
    encoder.fit(fields)
    task = fitted("B-x I-x O")
    inputs = encoder.prepare(fields)
    pairs = zip(references, inputs, strict=True)
    values = task.collate([task.encode(reference, row) for reference, row in pairs])
    head = task.head(encoder.width)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam([p for p in parameters if p.requires_grad], 0.05)
    for _ in range(40):
        loss = total(task.loss(head(encoder(encoder.collate(inputs))), values))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    scores = head.eval()(encoder.eval()(encoder.collate(inputs)))
    completed = task.decode(scores, fields).labels
    assert completed == [["B-x", "I-x", "O", "O", "O"], ["O"]]
    assert metrics.build("span_recall", ())(references, completed) == 0.5


@pytest.mark.parametrize(
    ("file", "scheme"),
    [
        ("zh_tagging/resume_ner/dev.conll.gz", "bmes"),
        ("tagging/conll2000/test.conll.gz", "bio"),
        ("tagging/wnut17/dev.conll.gz", "bio"),
    ],
)
def test_real_tags(file: str, scheme: str) -> None:
    path = DATA / file
    if not path.is_file():
        pytest.skip(f"needs {file} (set POLYTASK_DATA)")
    blocks = gzip.decompress(path.read_bytes()).decode().strip().split("\n\n")
    rows = [[line.split()[-1] for line in block.split("\n")] for block in blocks]
    tags = {tag for row in rows for tag in row}
    found = scheme_of(rows)
    assert found == scheme
    prefixes = span_prefixes(found, tags)
    rewritten = [write_spans(read_spans(row), len(row), prefixes) for row in rows]
    changed = sum(row != again for row, again in zip(rows, rewritten, strict=True))
    assert changed <= len(rows) * 0.01
    assert metrics.build("span_f1", ())(rows, rewritten) == 1
