"""Encoders over words against values worked out by other means."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from polytask.core.batch import Fields
from polytask.core.encoder import Encoder
from polytask.core.errors import DataError, RecipeError
from polytask.encoders import encoders
from polytask.encoders.bag import Bag
from polytask.encoders.bilstm import BidirectionalLSTM
from polytask.encoders.cnn import ConvolutionalNetwork
from polytask.encoders.tfidf import TfIdf
from polytask.encoders.vocabulary import PADDING, SEPARATOR, UNKNOWN
from polytask.encoders.word_encoder import WordEncoder

ROWS: list[Fields] = [("the cat sat",), ("the dog",), ("the the cat",)]


def fitted(encoder: Encoder, rows: Sequence[Fields] = ROWS) -> Encoder:
    torch.manual_seed(0)
    encoder.fit(rows)
    return encoder.eval()


@torch.no_grad()
def tokens(encoder: Encoder, rows: Sequence[Fields]) -> Tensor:
    features: Tensor = encoder(encoder.collate(encoder.prepare(rows))).tokens_BLD
    return features


def test_bag_is_the_mean_of_word_vectors() -> None:
    encoder = Bag(hidden=(), dimension=4, min_count=1)
    fitted(encoder)
    the, cat = encoder.table.weight[encoder.known.ids(["the", "cat"])]
    expected = torch.stack([(2 * the + cat) / 3, cat])
    torch.testing.assert_close(tokens(encoder, [("the the cat",), ("cat",)])[:, 0], expected)


def test_bag_does_not_depend_on_the_order_of_words() -> None:
    encoder = fitted(Bag(min_count=1))
    left, right = tokens(encoder, [("the cat sat",), ("sat the cat",)])
    torch.testing.assert_close(left, right)


def test_rare_and_new_words_share_one_vector() -> None:
    encoder = Bag(min_count=2)
    fitted(encoder)
    (inputs,) = encoder.prepare([("the sat unseen",)])
    assert inputs["ids"][1:] == [UNKNOWN, UNKNOWN]
    assert inputs["ids"][0] > SEPARATOR


def test_a_pair_is_joined_by_a_separator() -> None:
    encoder = ConvolutionalNetwork(min_count=1)
    fitted(encoder)
    (inputs,) = encoder.prepare([("the cat", ["the", "dog"])])
    assert inputs["ids"][2] == SEPARATOR
    assert inputs["words"] == [3, 4]


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_cnn_filters_see_the_words_around(width: int) -> None:
    encoder = ConvolutionalNetwork(widths=(width,), filters=1, dimension=1, min_count=1)
    fitted(encoder)
    with torch.no_grad():
        encoder.table.weight[PADDING + 1 :] = 1
        for parameter in encoder.convolutions.parameters():
            parameter.fill_(0 if parameter.dim() == 1 else 1)
    # Filters of ones over vectors of ones count the words that they see, padding left out.
    before, after = (width - 1) // 2, width // 2
    seen = [min(at + after, 4) - max(at - before, 0) + 1 for at in range(5)]
    (found, _) = tokens(encoder, [("a b c d e",), ("a b c d e f g h",)])
    assert found[:5, 0].tolist() == seen


def test_bilstm_is_that_of_torch() -> None:
    encoder = BidirectionalLSTM(hidden=3, layers=2, dimension=4, min_count=1)
    fitted(encoder)
    reference = nn.LSTM(4, 3, num_layers=2, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for depth, layer in enumerate(encoder.layers):
            for name, value in layer.named_parameters():
                direction, _, weight = name.partition(".")
                suffix = "_reverse" if direction == "backwards" else ""
                getattr(reference, weight.replace("l0", f"l{depth}{suffix}")).copy_(value)
    inputs = encoder.collate(encoder.prepare(ROWS))
    vectors = encoder.table(inputs["ids"])
    packed = pack_padded_sequence(vectors, inputs["lengths"], True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(reference(packed)[0], batch_first=True)
    features = encoder(inputs)
    mask_BL = features.mask_BL
    torch.testing.assert_close(features.tokens_BLD[mask_BL], expected[mask_BL])


def test_tfidf_weights_are_those_of_the_formula() -> None:
    encoder = TfIdf(ngrams=(1, 1), min_count=1)
    fitted(encoder)
    (inputs,) = encoder.prepare([("the the cat unseen",)])
    the = (1 + math.log(2)) * (math.log(4 / 4) + 1)
    cat = 1 * (math.log(4 / 3) + 1)
    norm = math.hypot(the, cat)
    assert sorted(inputs["weights"]) == pytest.approx(sorted([the / norm, cat / norm]))


def test_tfidf_projects_the_dense_vector() -> None:
    encoder = TfIdf(hidden=(5,), min_count=1)
    fitted(encoder)
    inputs = encoder.prepare(ROWS)
    dense = torch.zeros(len(ROWS), encoder.table.num_embeddings)
    for row, prepared in enumerate(inputs):
        dense[row, prepared["ids"]] = torch.tensor(prepared["weights"])
    expected = torch.relu(dense @ encoder.table.weight + encoder.bias)
    torch.testing.assert_close(tokens(encoder, ROWS)[:, 0], expected)


def test_tfidf_of_characters_reads_chinese() -> None:
    encoder = TfIdf(analyzer="char", ngrams=(2, 2), min_count=1)
    fitted(encoder, [("好看的电影",)])
    known, unknown = encoder.prepare([("电影",), ("影电",)])
    assert len(known["ids"]) == 1
    assert unknown["ids"] == []


def test_tfidf_tells_the_texts_of_a_pair_apart() -> None:
    encoder = TfIdf(min_count=1)
    fitted(encoder, [("cat", "dog"), ("dog", "cat")])
    there, back = encoder.prepare([("cat", "dog"), ("dog", "cat")])
    assert not set(there["ids"]) & set(back["ids"])


def test_tfidf_without_terms_says_so() -> None:
    with pytest.raises(DataError, match="min_count"):
        TfIdf().fit([("once",), ("",)])
    with pytest.raises(RecipeError, match="ngrams"):
        TfIdf(ngrams=(3, 2))


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """Vectors of length 2 for two words of the training texts, one of them rare."""
    with gzip.open(tmp_path / "small.txt.gz", "wt", encoding="utf-8") as file:
        file.write("cat 1.0 2.0\nsat 3.0 4.0\nother 5.0 6.0\n")
    return tmp_path


def with_vectors(folder: Path, **options: Any) -> WordEncoder:
    encoder = encoders.build({"kind": "bag", "vectors": "small.txt.gz", **options}, (folder,))
    assert isinstance(encoder, WordEncoder)
    encoder.fit(ROWS)
    return encoder


def test_pretrained_vectors_fill_the_table(vectors: Path) -> None:
    encoder = with_vectors(vectors)
    assert encoder.known.words == ["the", "cat", "sat"]  # sat occurs once, but has a vector
    table = encoder.table.weight.detach()
    assert table[encoder.known.ids(["cat", "sat"])].tolist() == [[1, 2], [3, 4]]
    assert table[PADDING].tolist() == [0, 0]
    assert table[encoder.known.ids(["the"])].abs().min() > 0


def test_pretrained_vectors_can_be_frozen(vectors: Path, tmp_path: Path) -> None:
    encoder = with_vectors(vectors, freeze_vectors=True)
    assert not encoder.table.weight.requires_grad
    encoder.save(tmp_path)
    (vectors / "small.txt.gz").unlink()
    options = {"kind": "bag", "vectors": "small.txt.gz", "freeze_vectors": True}
    restored = encoders.build(options, (vectors,))
    restored.restore(tmp_path)
    restored.load_state_dict(encoder.state_dict())
    assert {name for name, p in restored.named_parameters() if not p.requires_grad} == {
        "table.weight"
    }


def test_wrong_vectors_are_refused(vectors: Path) -> None:
    np.savez(vectors / "zh.npz", words=np.array(["我"]), vectors=np.ones((1, 2), np.float16))
    with pytest.raises(DataError, match=r"zh\.npz: a vector for none of the 4 words"):
        with_vectors(vectors, vectors="zh.npz")
    with pytest.raises(RecipeError, match=r"encoder\.vectors: no file 'absent\.txt'"):
        with_vectors(vectors, vectors="absent.txt")
    with pytest.raises(RecipeError, match="set vectors"):
        encoders.build({"kind": "cnn", "freeze_vectors": True})
