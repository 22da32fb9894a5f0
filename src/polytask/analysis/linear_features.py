"""Rows as counts of terms, and counts as the weights that the linear baselines see.

A *text* is its n-grams of one and two words, and of three where most words are single characters:
in Chinese that is not segmented, terms are one to three characters. A *word* to be tagged is
itself, its affixes and shape, and its neighbours up to two words away.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, combinations, islice, pairwise
from typing import Any, TypeAlias, final

import numpy as np
from scipy import sparse
from typing_extensions import override

from polytask.core.batch import Fields
from polytask.core.columns import ColumnType
from polytask.core.errors import DataError
from polytask.encoders.text import find_segmented_field, n_grams, words_of

Matrix: TypeAlias = Any
"""A sparse matrix of SciPy for terms and categories, an array for numbers."""

Terms: TypeAlias = Iterable[str]
Counts: TypeAlias = "tuple[Matrix, ...]"
"""The content of some rows in numbers. Texts: how often each term of a vocabulary occurs, one matrix per field; in
tagging one matrix, with a row per word. Other values: one array."""

_CHARACTERS = 0.75  # share of one-character words from which words are taken to be characters
_AT_LEAST = 2  # texts that a term must occur in
_AFFIXES = (1, 2, 3, 4)


class LabelUnits:
    """The part of a row that gets a label: the whole row, or each of its words."""

    def flatten(self, rows: Sequence[Fields], references: Sequence[Any]) -> list[Any]:
        """Return the labels of rows, one for everything that gets a label.

        :raises DataError: If a row has more or fewer labels than it needs.
        """
        return list(references)

    def regroup(self, rows: Sequence[Fields], values: Iterator[Any]) -> list[Any]:
        """Undo ``flatten``: take what belongs to some rows, or nothing once there is no more."""
        return list(islice(values, len(rows)))


class TermReading(LabelUnits, ABC):
    """A reading of texts as terms."""

    @abstractmethod
    def columns(self, rows: Sequence[Fields]) -> list[list[Terms]]:
        """Return the terms of rows: a list per field, with an entry for everything that gets a label."""


@final
class TextReading(TermReading):
    """A row is one text or several.

    :param training: The training rows; they decide how long n-grams are.
    """

    def __init__(self, training: Sequence[Fields]) -> None:
        self._fields = len(training[0])
        lengths = [len(word) for row in training for field in row for word in words_of(field)]
        unspaced = lengths.count(1) > _CHARACTERS * len(lengths)
        self._sizes = range(1, 4) if unspaced else range(1, 3)

    @override
    def columns(self, rows: Sequence[Fields]) -> list[list[Terms]]:
        return [
            [
                n_grams([word.lower() for word in words_of(row[place])], self._sizes, " ")
                for row in rows
            ]
            for place in range(self._fields)
        ]


@final
class WordReading(TermReading):
    """A row is a sentence, and every word counts as one item."""

    @override
    def columns(self, rows: Sequence[Fields]) -> list[list[Terms]]:
        return [[terms for row in rows for terms in _windows(_sentence(row))]]

    @override
    def flatten(self, rows: Sequence[Fields], references: Sequence[Any]) -> list[Any]:
        for row, tags in zip(rows, references, strict=True):
            if len(tags) != len(_sentence(row)):
                raise DataError(
                    f"{len(tags)} tags, but {len(_sentence(row))} words in "
                    f"{' '.join(_sentence(row))!r}. Expected one tag per word."
                )
        return list(chain.from_iterable(references))

    @override
    def regroup(self, rows: Sequence[Fields], values: Iterator[Any]) -> list[Any]:
        return [list(islice(values, len(_sentence(row)))) for row in rows]


def count(blocks: Sequence[Sequence[Sequence[Terms]]]) -> list[Counts]:
    """Count terms; all blocks get the same vocabulary.

    :param blocks: Columns of terms, as a ``TermReading`` gives them.
    :raises DataError: If there is no term at all.
    """
    from sklearn.feature_extraction.text import CountVectorizer  # slow

    vectorizer = CountVectorizer(analyzer=iter, dtype=np.float64)
    try:
        every = vectorizer.fit_transform(chain.from_iterable(chain.from_iterable(blocks)))
    except ValueError as error:
        raise _no_words() from error
    ends = np.cumsum([0, *(len(column) for columns in blocks for column in columns)])
    pieces = (every[start:end] for start, end in pairwise(ends))
    return [tuple(next(pieces) for _ in columns) for columns in blocks]


class Design(ABC):
    """The matrix of a model that one or several tasks share, from what their rows hold.

    With private columns, a row of a task is ⟨Φ, 0, …, Φ, …, 0⟩: a copy for all tasks, and one for
    its own. So a model learns what holds everywhere apart from what holds for one task. Daumé III,
    "Frustratingly Easy Domain Adaptation", ACL 2007, section 3. https://aclanthology.org/P07-1033.
    Private columns that no training row of their task fills are left out; nothing is lost, as
    their coefficients would be 0.

    :param training: The training rows of every task; they fix the columns and their scale.
    :param private: Whether there are private columns; a task alone needs none.
    :param types: The types of the input columns.
    """

    def __init__(
        self, training: Sequence[Counts], *, private: bool, types: Sequence[ColumnType] = ()
    ) -> None:
        self._private: list[Any] = []
        if private and len(training) > 1:
            filled = [sparse.csr_matrix(self.matrix(counts)).indices for counts in training]
            self._private = [np.unique(indices) for indices in filled]

    def __call__(self, counts: Sequence[Counts]) -> Matrix:
        """Return the rows of every task, in the order given to the constructor."""
        blocks = [self.matrix(part) for part in counts]
        shared = stack(blocks)
        if not self._private:
            return shared
        own = [block[:, kept] for block, kept in zip(blocks, self._private, strict=True)]
        private = sparse.csr_matrix(sparse.block_diag(own))
        columns: Matrix = sparse.hstack([shared, private], format="csr")
        return columns

    @abstractmethod
    def matrix(self, counts: Counts) -> Matrix:
        """Return the shared columns of the rows of one task."""


class TermDesign(Design):
    """Weighted terms.

    Terms that occur in one text only are dropped, the others weigh (1 + ln tf) · (ln((1 + N) /
    (1 + df)) + 1), and every text has length 1: Salton and Buckley, 1988.
    https://doi.org/10.1016/0306-4573(88)90021-0. A pair is the terms of its texts side by side and
    their overlap.

    :raises DataError: If the training rows have no terms.
    """

    def __init__(
        self, training: Sequence[Counts], *, private: bool, types: Sequence[ColumnType] = ()
    ) -> None:
        from sklearn.feature_extraction.text import TfidfTransformer  # slow

        every = stack([field for counts in training for field in counts])
        frequency_V = np.bincount(every.indices, minlength=every.shape[1])
        if not frequency_V.any():
            raise _no_words()
        common_V = frequency_V >= min(_AT_LEAST, frequency_V.max())
        self._kept_v = np.flatnonzero(common_V)
        self._weights = TfidfTransformer(sublinear_tf=True).fit(every[:, self._kept_v])
        super().__init__(training, private=private)

    @override
    def matrix(self, counts: Counts) -> Matrix:
        texts = [field[:, self._kept_v] for field in counts]
        if counts[0].shape[0]:  # scikit-learn wants at least one row
            texts = [self._weights.transform(text) for text in texts]
        overlaps = [_overlap(one, other) for one, other in combinations(texts, 2)]
        columns: Matrix = sparse.hstack([*texts, *overlaps], format="csr")
        return columns


def stack(blocks: Sequence[Matrix]) -> Matrix:
    """Return the rows of matrices, one after the other."""
    rows: Matrix = (
        sparse.vstack(blocks, format="csr") if sparse.issparse(blocks[0]) else np.vstack(blocks)
    )
    return rows


def _no_words() -> DataError:
    return DataError(
        "no training row has a word for the linear baselines. Check that the task's input names "
        "the column of the text."
    )


def _overlap(one: Matrix, other: Matrix) -> Matrix:
    """Return the overlap of two texts per row: cosine, Jaccard index, share of either in the other."""
    cosine_N = one.multiply(other).sum(1)
    one, other = one.sign(), other.sign()
    common_N = one.multiply(other).sum(1)
    sizes = one.sum(1), other.sum(1)
    shares = [common_N / np.maximum(size_N, 1) for size_N in (sum(sizes) - common_N, *sizes)]
    overlap_N4: Matrix = sparse.csr_matrix(np.hstack([cosine_N, *shares]))
    return overlap_N4


def _sentence(row: Fields) -> list[str]:
    """Return the words that a tagging task labels: the first field that is a list of words."""
    return words_of(row[find_segmented_field(row) or 0])


def _windows(words: list[str]) -> Iterator[Iterator[str]]:
    """Return the terms of every word of a sentence."""
    padded = ["<2", "<1", *(word.lower() for word in words), ">1", ">2"]
    for place, word in enumerate(words):
        yield _word_terms(word, padded[place : place + 5])


def _word_terms(word: str, window: Sequence[str]) -> Iterator[str]:
    _, before, lower, after, _ = window
    yield from (f"{place}={other}" for place, other in enumerate(window))
    yield from (
        f"12={before} {lower}",
        f"23={lower} {after}",
        f"word={word}",
        f"shape={_shape(word)}",
    )
    for size in _AFFIXES:
        if size < len(lower):
            yield from (f"starts={lower[:size]}", f"ends={lower[-size:]}")


def _shape(word: str) -> str:
    """Return the shape of a word: capitals as X, other letters as x, digits as 0, repetitions once."""
    kinds = (
        "X" if c.isupper() else "x" if c.isalpha() else "0" if c.isdigit() else c for c in word
    )
    return re.sub(r"(.)\1+", r"\1", "".join(kinds))
