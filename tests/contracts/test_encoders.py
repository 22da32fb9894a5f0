"""Properties of encoders of texts, beside those of every encoder (``test_encoders_of_any_kind``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from polytask.core.batch import Fields, Inputs
from polytask.core.capabilities import token_table
from polytask.core.encoder import Encoder
from polytask.core.errors import DataError
from polytask.core.features import Features
from polytask.encoders import encoders
from tests.contracts.input_rows import FORMS, LIMIT, OPTIONS
from tests.fakes import table_of

WORDLESS = {"bag", "tfidf"}
FORMS_OF_TEXT = ("pair", "text", "words", "words and text")
ROWS: dict[str, list[Fields]] = {form: FORMS[form].rows for form in FORMS_OF_TEXT}
LONG = "word " * 500


def fitted(kind: str, rows: Sequence[Fields]) -> Encoder:
    torch.manual_seed(0)
    encoder = encoders.build({"kind": kind, **OPTIONS.get(kind, {})}, ())
    encoder.fit(rows)
    return encoder.eval()


KINDS = [kind for kind in encoders.kinds() if {"text", "words"} <= encoders.part(kind).reads]


@pytest.fixture(params=KINDS, scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=sorted(ROWS), scope="module")
def rows(request: pytest.FixtureRequest) -> list[Fields]:
    return ROWS[request.param]


@pytest.fixture(scope="module")
def encoder(kind: str) -> Encoder:
    """Fitted without the last two texts of each form, and not to be changed."""
    return fitted(kind, [fields for form in ROWS.values() for fields in form[:-2]])


@torch.no_grad()
def encode(encoder: Encoder, inputs: Sequence[Inputs]) -> Features:
    features: Features = encoder(encoder.collate(inputs))
    return features


def real(features: Features, row: int) -> Tensor:
    return features.tokens_BLD[row][features.mask_BL[row]]


def test_padding_comes_last(encoder: Encoder, rows: list[Fields]) -> None:
    mask_BL = encode(encoder, encoder.prepare(rows)).mask_BL
    assert (mask_BL[:, 1:] <= mask_BL[:, :-1]).all()


def test_inputs_are_numbers_and_lists_of_numbers(encoder: Encoder, rows: list[Fields]) -> None:
    for inputs in encoder.prepare(rows):
        assert json.loads(json.dumps(inputs)) == inputs
        for value in inputs.values():
            numbers = value if isinstance(value, list) else [value]
            assert all(type(number) in (int, float) for number in numbers)


def test_padding_and_other_rows_change_nothing(encoder: Encoder, rows: list[Fields]) -> None:
    inputs = encoder.prepare(rows)
    together = encode(encoder, [*inputs, *encoder.prepare([(LONG,)])])
    for row, alone in enumerate(inputs):
        expected = encode(encoder, [alone])
        torch.testing.assert_close(real(together, row), real(expected, 0), rtol=1e-4, atol=1e-5)


def test_length_counts_the_tokens(kind: str, encoder: Encoder, rows: list[Fields]) -> None:
    inputs = encoder.prepare(rows)
    lengths = [encoder.num_tokens(row) for row in inputs]
    assert all(length >= 1 for length in lengths)
    if kind not in WORDLESS:
        assert encode(encoder, inputs).mask_BL.sum(1).tolist() == lengths


def test_fit_takes_rows_that_stream(kind: str) -> None:
    class Stream:
        def __iter__(self) -> Iterator[Fields]:
            return iter(ROWS["text"])

    encoder = encoders.build({"kind": kind, **OPTIONS.get(kind, {})})
    encoder.fit(Stream())
    assert encoder.prepare(ROWS["text"]) == fitted(kind, ROWS["text"]).prepare(ROWS["text"])


def test_words_point_at_their_first_tokens(kind: str, encoder: Encoder) -> None:
    rows = ROWS["words"]
    inputs = encoder.prepare(rows)
    features = encode(encoder, inputs)
    if kind in WORDLESS:
        assert features.words_BW is None
        return
    assert features.words_BW is not None
    for row, (words,) in enumerate(rows):
        pointers = features.words_BW[row].tolist()
        assert len(inputs[row]["words"]) == len(words)
        assert pointers[len(words) :] == [-1] * (len(pointers) - len(words))
        kept = [pointer for pointer in pointers if pointer >= 0]
        assert kept == sorted(set(kept))
        assert all(features.mask_BL[row, pointer] for pointer in kept)


def test_words_are_absent_where_texts_are_not_segmented(encoder: Encoder) -> None:
    assert encode(encoder, encoder.prepare(ROWS["text"])).words_BW is None


def test_segmented_and_other_rows_share_a_batch(kind: str, encoder: Encoder) -> None:
    inputs = encoder.prepare([(["a", "dog"],), ("a dog",), ("a cat", "a dog")])
    features = encode(encoder, inputs)
    if kind not in WORDLESS:
        assert features.words_BW is not None
        assert (features.words_BW >= 0).sum(1).tolist() == [2, 0, 0]
    for row, alone in enumerate(inputs):
        expected = real(encode(encoder, [alone]), 0)
        torch.testing.assert_close(real(features, row), expected, rtol=1e-4, atol=1e-5)


def test_long_texts_are_cut(kind: str, encoder: Encoder) -> None:
    rows: list[Fields] = [(LONG,), (LONG.split(),), (LONG, "a dog"), ("a dog", LONG.split())]
    for inputs in encoder.prepare(rows):
        if kind == "tfidf":
            continue
        assert encoder.num_tokens(inputs) == LIMIT
        assert inputs["cut"] == 1
        if "words" in inputs:
            words = inputs["words"]
            assert len(words) == len(LONG.split())
            kept = [word for word in words if word >= 0]
            assert kept == sorted(set(kept))
            assert max(kept) < LIMIT
            assert words == kept + [-1] * (len(words) - len(kept))


def test_the_shorter_text_of_a_pair_survives_a_cut(kind: str, encoder: Encoder) -> None:
    (left,) = encoder.prepare([("a dog", LONG)])
    (right,) = encoder.prepare([("the mat", LONG)])
    assert left != right
    (left,) = encoder.prepare([(LONG, "a dog")])
    (right,) = encoder.prepare([(LONG, "the mat")])
    assert left != right


def test_short_texts_are_not_cut(encoder: Encoder) -> None:
    assert all(inputs.get("cut", 0) == 0 for inputs in encoder.prepare([("a dog",), ("",)]))


def test_a_pair_is_not_one_text(encoder: Encoder) -> None:
    pair, text = encoder.prepare([("a dog", "the cat"), ("a dog the cat",)])
    assert pair != text


@pytest.mark.parametrize("field", [3.5, None, ["a", 1], {"text": "a"}])
def test_what_is_no_text_is_refused(encoder: Encoder, field: object) -> None:
    with pytest.raises(DataError, match="a text or a list of words"):
        encoder.prepare([("a dog",), (field,)])


def test_embedding_has_a_row_for_every_id(encoder: Encoder) -> None:
    if token_table(encoder) is None:
        return
    ids = encoder.collate(encoder.prepare(ROWS["text"]))["ids"]
    assert int(ids.max()) < table_of(encoder).num_embeddings
    assert any(table_of(encoder).weight is parameter for parameter in encoder.parameters())


def test_every_option_is_documented(kind: str) -> None:
    fields = encoders.schema(kind).model_fields
    assert set(OPTIONS.get(kind, {})) <= set(fields)
    assert [name for name in fields if name != "kind" and not fields[name].description] == []


def test_every_encoder_has_a_line_and_a_paper(kind: str) -> None:
    line, paper = encoders.describe(kind)
    assert line.endswith(".")
    assert paper.startswith("https://")
