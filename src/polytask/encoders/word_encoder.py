"""Encoders that know words: a vocabulary of them, and a vector for each."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.batch import Fields, Inputs
from polytask.core.capabilities import TokenTable
from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.errors import DataError, RecipeError
from polytask.core.files import read_json, write_json
from polytask.core.vectors import Vectors, read_vectors
from polytask.encoders.text import find, longest_first, segmented_field, words_of
from polytask.encoders.tokens import NO_WORD, collate_tokens
from polytask.encoders.vocabulary import PADDING, SEPARATOR, UNKNOWN, Vocabulary, frequent

Share = Annotated[float, Field(ge=0, lt=1)]

_STATE = "vocabulary.json"
_SPREAD = 0.1  # standard deviation of new vectors


class LexicalEncoder(Encoder):
    """Base of encoders that count the words, or other terms, of the training texts.

    :param search: Folders in which relative paths are looked up.
    :param vocabulary: Know at most this many words, the most frequent ones.
    :param min_count: Know words that occur at least this often.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        vocabulary: PositiveInt = 50_000,
        min_count: PositiveInt = 2,
    ) -> None:
        super().__init__()
        self.search = search
        self.most = vocabulary
        self.at_least = min_count


class WordEncoder(LexicalEncoder, TokenTable):
    """Base of encoders over word vectors; subclasses add what comes after the table of them.

    Texts are split by rule, lists of words are taken as they are. A pair is one sequence with a
    separator between.

    :param search: Folders in which ``vectors`` is looked up.
    :param dimension: Width of a word vector; the file of vectors overrules it.
    :param vectors: File of pretrained word vectors (text, .gz or .npz). Words that it holds need
        to occur only once in the training texts.
    :param freeze_vectors: Do not train the word vectors.
    :param max_length: Longest text in words; of a pair, both together.
    """

    points_at_words: ClassVar[bool] = True
    """Whether each token is a word, as word-level tasks need."""

    table: nn.Embedding
    known: Vocabulary

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        dimension: PositiveInt = 128,
        vectors: str | None = None,
        freeze_vectors: bool = False,
        max_length: PositiveInt = 256,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        if freeze_vectors and vectors is None:
            raise RecipeError(
                ["encoder.freeze_vectors: there are no vectors to freeze; set vectors"]
            )
        self._dimension = dimension
        self._vectors = vectors
        self._freeze = freeze_vectors
        self._max_length = max_length

    @abstractmethod
    def build(self, dimension: int) -> None:
        """Create the layers after the table and set ``width``."""

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        counts = Counter(word for fields in rows for field in fields for word in words_of(field))
        words, vectors_VD = self._pretrained(counts)
        self.known = frequent(counts, most=self.most, at_least=self.at_least, known=set(words))
        if vectors_VD is None:
            self._create(self._dimension)
            return
        self._create(vectors_VD.shape[1])
        self._copy(words, torch.from_numpy(vectors_VD))

    @override
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        return [self._prepare(fields) for fields in rows]

    @override
    def num_tokens(self, inputs: Inputs) -> int:
        return len(inputs["ids"])

    @override
    def collate(self, rows: Sequence[Inputs]) -> Collated:
        return collate_tokens(rows, PADDING)

    @override
    def save(self, folder: Path) -> None:
        state = {"dimension": self.table.embedding_dim, "words": self.known.words}
        write_json(folder / _STATE, state)

    @override
    def restore(self, folder: Path) -> None:
        state = read_json(folder / _STATE)
        self.known = Vocabulary(state["words"])
        self._create(state["dimension"])

    @property
    @override
    def embedding(self) -> nn.Embedding:
        return self.table

    @property
    @override
    def special_ids(self) -> Sequence[int]:
        return (PADDING, SEPARATOR)

    def _prepare(self, fields: Fields) -> Inputs:
        texts = [words_of(field) for field in fields]
        lengths = [len(words) for words in texts]
        kept = longest_first(lengths, self._max_length - len(texts) + 1)
        ids: list[int] = []
        starts: list[int] = []
        for words, length in zip(texts, kept, strict=True):
            ids += [SEPARATOR] * bool(starts)
            starts.append(len(ids))
            ids += self.known.ids(words[:length])
        inputs: Inputs = {"ids": ids or [UNKNOWN], "cut": int(kept != lengths)}
        field = segmented_field(fields)
        if field is not None and self.points_at_words:
            start, end = starts[field], starts[field] + kept[field]
            inputs["words"] = [*range(start, end)] + [NO_WORD] * (lengths[field] - kept[field])
        return inputs

    def _create(self, dimension: int) -> None:
        self.table = nn.Embedding(len(self.known), dimension, padding_idx=PADDING)
        nn.init.normal_(self.table.weight, std=_SPREAD)
        with torch.no_grad():
            self.table.weight[PADDING] = 0
        self.table.weight.requires_grad_(not self._freeze)
        self.build(dimension)

    def _pretrained(self, counts: Counter[str]) -> tuple[list[str], Vectors | None]:
        """The words of the training texts that have a pretrained vector, and these vectors."""
        if self._vectors is None:
            return [], None
        path = find(self._vectors, self.search)
        if path is None:
            places = ", ".join(map(str, self.search)) or "the working folder"
            raise RecipeError([f"encoder.vectors: no file {self._vectors!r} in {places}"])
        words, vectors_VD = read_vectors(path, counts)
        if not words:
            raise DataError(
                f"{path}: a vector for none of the {len(counts)} words of the training texts. "
                "Expected vectors of their language, in the same case and segmentation."
            )
        return words, vectors_VD

    def _copy(self, words: Sequence[str], vectors_VD: Tensor) -> None:
        """Fill the table; words without a vector get random ones of the same spread."""
        ids = torch.tensor(self.known.ids(words))
        known = ids != UNKNOWN
        with torch.no_grad():
            self.table.weight[PADDING + 1 :].mul_(float(vectors_VD.std()) / _SPREAD)
            self.table.weight[ids[known]] = vectors_VD[known]
