"""Subwords, where words start in them, and the transformer over them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer
from torch import nn

from polytask.core.batch import Fields
from polytask.core.errors import DataError, RecipeError
from polytask.encoders.subwords import FIRST, LAST, PADDING, Subwords, train
from polytask.encoders.transformer import Transformer, TransformerLayer, sinusoids

TEXTS = ["the cat sat on the mat", "我喜欢这部电影", "the film was good"] * 3
TOKENIZER = train(TEXTS, 300).to_str()


def subwords(max_length: int = 64) -> Subwords:
    return Subwords(Tokenizer.from_str(TOKENIZER), max_length, empty=LAST)


def pieces(reader: Subwords, fields: Fields) -> list[str]:
    """The text that each word's tokens stand for, up to the first token of the next word."""
    (inputs,) = reader.encode([fields])
    bounds = [*inputs["words"], len(inputs["ids"])]
    return [
        reader.tokenizer.decode(inputs["ids"][start:end], skip_special_tokens=True).strip()
        for start, end in pairwise(bounds)
    ]


def test_special_tokens_have_the_first_ids() -> None:
    ids = [Tokenizer.from_str(TOKENIZER).token_to_id(t) for t in ("[PAD]", "[CLS]", "[SEP]")]
    assert ids == [PADDING, FIRST, LAST]


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(deadline=None)
def test_no_text_loses_anything(text: str) -> None:
    reader = subwords(10_000)
    (inputs,) = reader.encode([(text,)])
    assert inputs["ids"][0] == FIRST
    assert inputs["ids"][-1] == LAST
    if not text.startswith("["):  # a special token may be spelled out
        assert reader.tokenizer.decode(inputs["ids"]).strip() == text.strip()


def test_words_are_found_again() -> None:
    words = ["the", "cat", "喜欢", "😀", "zyzzyva", "e\u0301t", "mat"]
    assert pieces(subwords(), (words,)) == words
    assert pieces(subwords(), ("on the mat", words)) == words
    assert pieces(subwords(), (["New York", "is", "big"],)) == ["New York", "is", "big"]


def test_words_of_the_first_text_of_a_pair() -> None:
    (inputs,) = subwords().encode([(["the", "cat"], "the mat")])
    segments = [inputs["segments"][position] for position in inputs["words"]]
    assert segments == [0, 0]
    (inputs,) = subwords().encode([("the mat", ["the", "cat"])])
    assert [inputs["segments"][position] for position in inputs["words"]] == [1, 1]


@pytest.mark.parametrize("words", [["", "cat"], ["the", "", "cat"], ["the", ""], [""], []])
def test_words_without_tokens_keep_their_place(words: list[str]) -> None:
    (inputs,) = subwords().encode([(words,)])
    assert len(inputs["words"]) == len(words)
    assert all(0 <= position < len(inputs["ids"]) for position in inputs["words"])
    if "cat" in words:
        (alone,) = subwords().encode([(["cat"],)])
        kept = inputs["ids"][inputs["words"][words.index("cat")] :][: len(alone["ids"]) - 1]
        assert kept == alone["ids"][1:]


def test_words_beyond_the_cut_are_marked() -> None:
    (whole,) = subwords().encode([(["zyzzyva", "zyzzyva", "zyzzyva"],)])
    second = whole["words"][1]
    (inputs,) = subwords(second + 2).encode([(["zyzzyva", "zyzzyva", "zyzzyva"],)])
    assert inputs["words"] == [1, second, -1]  # the second one is cut in the middle
    assert (whole["cut"], inputs["cut"]) == (0, 1)


def test_a_text_that_just_fits_is_not_cut() -> None:
    (whole,) = subwords().encode([("the cat sat",)])
    (inputs,) = subwords(len(whole["ids"])).encode([("the cat sat",)])
    assert inputs == whole


def test_more_than_a_pair_is_refused() -> None:
    with pytest.raises(DataError, match="3 input columns"):
        subwords().encode([("a", "b", "c")])


def test_rows_in_chunks_are_the_same_rows() -> None:
    rows: list[Fields] = [(f"the cat {number}",) for number in range(2500)]
    encoded = subwords().encode(rows)
    assert len(encoded) == len(rows)
    assert encoded[2400] == subwords().encode([rows[2400]])[0]


def test_sinusoids_are_those_of_the_paper() -> None:
    waves = sinusoids(6, 8)
    for position in range(6):
        for wave in range(4):
            angle = position / 10_000 ** (2 * wave / 8)
            assert waves[position, wave].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert waves[position, 4 + wave].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_layer_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours = TransformerLayer(8, 2, 16, 0.0).eval()
    theirs = nn.TransformerEncoderLayer(
        8, 2, 16, 0.0, activation="gelu", batch_first=True, norm_first=True
    )
    pairs = {
        ours.attention_norm: theirs.norm1,
        ours.attention_output: theirs.self_attn.out_proj,
        ours.feed_forward[0]: theirs.norm2,
        ours.feed_forward[1]: theirs.linear1,
        ours.feed_forward[4]: theirs.linear2,
    }
    with torch.no_grad():
        for source, target in pairs.items():
            target.load_state_dict(source.state_dict())
        theirs.self_attn.in_proj_weight.copy_(ours.project.weight)
        theirs.self_attn.in_proj_bias.copy_(ours.project.bias)
    hidden_BLD = torch.randn(2, 5, 8)
    mask_BL = torch.tensor([[True] * 5, [True, True, True, False, False]])
    found = ours(hidden_BLD, mask_BL[:, None, None, :])
    expected = theirs(hidden_BLD, src_key_padding_mask=~mask_BL)
    torch.testing.assert_close(found[mask_BL], expected[mask_BL])


def test_order_and_segment_matter_to_the_transformer() -> None:
    encoder = Transformer(layers=1, width=8, heads=2, feed_forward=8, vocabulary=300)
    encoder.fit([(text,) for text in TEXTS])
    encoder.eval()
    inputs = encoder.collate(encoder.prepare([("the cat", "the mat")]))
    as_one = {**inputs, "segments": torch.zeros_like(inputs["segments"])}
    assert not torch.allclose(encoder(inputs).mean_BD, encoder(as_one).mean_BD)
    forwards, backwards = encoder.prepare([("the cat",), ("cat the",)])
    means = [encoder(encoder.collate([row])).mean_BD for row in (forwards, backwards)]
    assert not torch.allclose(*means)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(RecipeError, match=r"encoder\.width: 12 is no multiple of 8"):
        Transformer(width=12, heads=4)
