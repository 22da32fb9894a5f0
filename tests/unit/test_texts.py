"""Rows of several texts: how they are read, windowed, collated, encoded and put together again."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from polytask.balancing import balancers
from polytask.core.batch import Batch, Fields, Targets
from polytask.core.collated import Collated
from polytask.core.errors import DataError
from polytask.core.features import Features, TextLayout
from polytask.core.texts import (
    Located,
    collate_texts,
    length_of,
    prepare_texts,
    texts_at,
    texts_in,
    texts_of_row,
    unfold,
)
from polytask.encoders import encoders
from polytask.encoders.subwords import FIRST, LAST, Subwords, train
from polytask.modeling import MultiTaskModel
from polytask.recipe import Recipe
from polytask.sharing import architectures
from polytask.tasks import tasks
from polytask.training.step import Stepper

CONTEXT = "The cat sat on the mat , and the naïve dog — 狗 — slept under 3 tables until noon ."
QUESTION = "Who slept ?"
TOKENIZER = train([CONTEXT, QUESTION] * 3, 320).to_str()


def reader(max_length: int, stride: int) -> Subwords:
    return Subwords(Tokenizer.from_str(TOKENIZER), max_length, LAST, stride)


@pytest.mark.parametrize(
    ("read_as", "expected"),
    [
        ("joined", [("q", ["a", "b"])]),
        ("apart", [("q",), (["a", "b"],)]),
        ("each", [("q", "a"), ("q", "b")]),
    ],
)
def test_which_texts_of_a_row_are_encoded(read_as: Any, expected: list[Fields]) -> None:
    assert texts_of_row(("q", ["a", "b"]), read_as) == expected


@pytest.mark.parametrize("items", ["a text", [], ["a", 1], None])
def test_each_needs_a_list_of_texts(items: object) -> None:
    with pytest.raises(DataError, match="expected a list of texts"):
        texts_of_row(("q", items), "each")


@pytest.mark.parametrize("fields", [(CONTEXT,), (QUESTION, CONTEXT)])
@pytest.mark.parametrize("max_length", [16, 20, 200])
def test_places_are_those_of_the_tokens_in_the_last_column(fields: Fields, max_length: int) -> None:
    fields = (*fields[:-1], Located(fields[-1]))
    subwords = reader(max_length, stride=4)
    (row,) = subwords.encode([fields])
    covered: set[int] = set()
    for text in texts_in(row):
        assert len(text["ids"]) <= max_length
        for token, start, end in zip(text["ids"], text["starts"], text["ends"], strict=True):
            if start < 0:
                assert end == -1
                continue
            covered |= {*range(start, end)}
            piece = subwords.tokenizer.decode([token]).strip()
            assert "\ufffd" in piece or CONTEXT[start:end].strip() == piece
    assert covered >= {at for at, sign in enumerate(CONTEXT) if not sign.isspace()}
    assert (len(texts_in(row)) > 1) == (max_length < 200)
    assert row["cut"] == 0


def test_windows_share_tokens_and_each_begins_with_the_question() -> None:
    (row,) = reader(20, stride=5).encode([(QUESTION, Located(CONTEXT))])
    windows = texts_in(row)
    question = [*zip(windows[0]["ids"], windows[0]["segments"], strict=True)]
    first = [token for token, segment in question if segment == 0]
    assert first[0] == FIRST
    for one, following in pairwise(windows):
        assert following["ids"][: len(first)] == first
        shared = {*one["starts"]} & {*following["starts"]} - {-1}
        assert shared


def test_a_first_text_without_room_for_windows_is_cut_with_the_second() -> None:
    (row,) = reader(8, stride=4).encode([(CONTEXT, Located(CONTEXT))])
    (text,) = texts_in(row)
    assert len(text["ids"]) == 8
    assert row["cut"] == 1


def test_cutting_comes_back_after_windows() -> None:
    subwords = reader(12, stride=4)
    subwords.encode([(QUESTION, CONTEXT)])
    (row,) = subwords.encode([(CONTEXT.split(),)])
    assert len(row["ids"]) == 12
    assert row["cut"] == 1


def rows_of(*counts: int) -> list[dict[str, Any]]:
    """Prepared rows of so many texts; each text has as many tokens as its number, from 1."""
    numbers = iter(range(1, sum(counts) + 1))
    texts = ({"ids": [number] * number, "words": [0]} for number in numbers)
    return [{"texts": [next(texts) for _ in range(count)]} for count in counts]


def collate(rows: Any) -> Collated:
    longest = max(len(row["ids"]) for row in rows)
    ids = [row["ids"] + [0] * (longest - len(row["ids"])) for row in rows]
    return Collated(ids=torch.tensor(ids), words=torch.tensor([row["words"] for row in rows]))


def test_collating_and_unfolding_gives_the_same_texts() -> None:
    rows = rows_of(2, 1, 3)
    inputs = collate_texts(rows, collate)
    assert inputs["ids"].shape == (3, 3, 6)
    single = unfold(inputs, {"t": torch.tensor([0, 2])})
    assert torch.equal(
        single.inputs["ids"], collate([t for row in rows for t in row["texts"]])["ids"]
    )
    assert single.rows["t"].tolist() == [0, 1, 3, 4, 5]
    assert texts_at(inputs, torch.tensor([1])).tolist() == [2]
    assert [length_of(row, lambda text: len(text["ids"])) for row in rows] == [4, 3, 18]


def test_folding_puts_the_tokens_of_a_row_after_each_other() -> None:
    inputs = collate_texts(rows_of(2, 1), collate)
    rows_b = torch.tensor([0, 1])
    single = unfold(inputs, {"t": rows_b})
    ids_NL = single.inputs["ids"]
    found = single.fold(
        Features(ids_NL.unsqueeze(-1).float(), ids_NL > 0, TextLayout(single.inputs["words"])),
        rows_b,
        "t",
    )
    assert found.segments == 2
    assert found.tokens_BLD.squeeze(-1).tolist() == [[1, 0, 0, 2, 2, 0], [3, 3, 3, 0, 0, 0]]
    assert found.segment_mask_BP.tolist() == [[True, True], [True, False]]
    assert found.words_BW is not None
    assert found.words_BW.tolist() == [[0, 3], [0, -1]]
    assert found.per_segment.mean_BD.squeeze(-1).tolist() == [1, 2, 3, 0]


def test_rows_of_single_texts_stay_as_they_are() -> None:
    rows = prepare_texts(
        [[("a",)], [("b",)]], lambda texts: [{"ids": [1], "words": [0]}] * len(texts)
    )
    inputs = collate_texts(rows, collate)
    assert inputs["ids"].shape == (2, 1)
    assert "texts" not in inputs


def small_model() -> tuple[MultiTaskModel, Batch]:
    """Two tasks on rows of different numbers of texts: three choices, and one text."""
    torch.manual_seed(0)
    options = {"kind": "transformer", "layers": 1, "width": 8, "heads": 2, "feed_forward": 8}
    encoder = encoders.build({**options, "vocabulary": 300, "dropout": 0.0}, ())
    texts: list[list[Fields]] = [
        [("q", "a b"), ("q", "c"), ("q", "d")],
        [("e f g",)],
        [("q", "h"), ("q", "i")],
        [("j",)],
    ]
    encoder.fit([fields for own in texts for fields in own])
    built = {
        "choice": tasks.build({"kind": "multiple_choice", "dropout": 0.0}, "choice"),
        "class": tasks.build({"kind": "classification", "dropout": 0.0}, "class"),
    }
    built["class"].fit(["x", "y"])
    inputs = collate_texts(prepare_texts(texts, encoder.prepare), encoder.collate)
    targets = {
        "choice": Targets(torch.tensor([0, 2]), torch.tensor([2, 0])),
        "class": Targets(torch.tensor([1, 3]), torch.tensor([0, 1])),
    }
    sharing = architectures.build("hard", encoder, list(built))
    return MultiTaskModel(sharing, built), Batch(inputs, targets, 4, tokens=20, padded=40)


def test_a_loss_does_not_depend_on_the_other_rows() -> None:
    model, batch = small_model()
    together = model.losses(batch)
    for task in together:
        alone = model.losses(batch.only(task))[task]
        torch.testing.assert_close(alone, together[task])


def test_gradients_of_tasks_are_the_same_however_they_are_come_by() -> None:
    found = {}
    for gradients in ("exact", "grouped"):
        model, batch = small_model()
        balancer = balancers.build({"kind": "pcgrad", "gradients": gradients}, 2)
        optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
        stepper = Stepper(
            model=model,
            balancer=balancer,
            partition=model.partition(batch),
            optimiser=optimiser,
            autocast=contextlib.nullcontext,
            scaler=torch.amp.GradScaler("cpu", enabled=False),
            device=torch.device("cpu"),
            clip=0.0,
            not_finite="stop",
        )
        balancer.attach(model)
        stepper.step([batch])
        found[gradients] = {
            n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None
        }
    assert found["exact"].keys() == found["grouped"].keys()
    for name, gradient in found["exact"].items():
        torch.testing.assert_close(found["grouped"][name], gradient, rtol=1e-4, atol=1e-6)


def test_text_steps_are_refused_before_tasks_that_find_answers_by_place() -> None:
    with pytest.raises(ValueError, match="moves characters, but answer finds answers"):
        Recipe.model_validate(
            {
                "data": {"d": {"kind": "jsonl", "path": "d.jsonl"}},
                "text": ["normalise"],
                "encoder": "transformer",
                "tasks": {"answer": {"kind": "span", "input": ["question", "context"]}},
            }
        )
