"""Subword vocabularies, trained on texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

_LONGEST = 1000
"""Most bytes of a word in training. Longer words are cut, since training takes time quadratic in the
length of a word."""


def train_byte_pairs(texts: Iterable[str], size: int, special: Sequence[str]) -> Tokenizer:
    """Train byte-level byte pair encoding, which has tokens for every text.

    Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units", ACL
    2016. https://arxiv.org/abs/1508.07909

    :param size: Most subwords to learn, including the 256 bytes.
    :param special: Tokens that are not cut, in the order of their ids, which come first.
    """
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.ByteLevel(add_prefix_space=True)
    cut = pre_tokenizers.FixedLength(_LONGEST)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, cut])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = words
    return tokenizer
