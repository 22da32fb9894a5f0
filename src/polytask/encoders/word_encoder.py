"""The base of encoders over a vocabulary of words with a vector for each."""

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
from polytask.core.encoder import Encoder
from polytask.core.errors import DataError, RecipeError
from polytask.core.files import read_json, write_json
from polytask.core.vectors import Vectors, read_vectors
from polytask.encoders.text import find, find_segmented_field, longest_first, words_of
from polytask.encoders.tokens import NO_WORD, TokenEncoder
from polytask.encoders.vocabulary import PADDING, SEPARATOR, UNKNOWN, Vocabulary, frequent

Share = Annotated[float, Field(ge=0, lt=1)]

_STATE = "vocabulary.json"
_SPREAD = 0.1  # standard deviation of new vectors


class LexicalEncoder(Encoder):
    """Base of encoders that count the words, or other terms, of the training texts.

    :param search: Folders in which relative paths are looked up.
    :param vocabulary: Size of the vocabulary: at most this many words, the most frequent ones.
    :param min_count: Leave out words that occur less often.
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


class WordEncoder(LexicalEncoder, TokenEncoder):
    """Base of encoders over word vectors; subclasses add the layers after the table of vectors.

    Texts are split by rule, lists of words are taken as they are. A pair is one sequence with a
    separator between its texts.

    :param search: Folders in which ``vectors`` is looked up.
    :param dimension: Width of a word vector; ignored if there is a file of vectors.
    :param vectors: File of pretrained word vectors (text, .gz or .npz). Words in this file need to
        occur only once in the training texts.
    :param freeze_vectors: Freeze the word vectors.
    :param max_length: Longest text in words; both texts of a pair together.
    """

    points_at_words: ClassVar[bool] = True
    """True if each token is a word, as word-level tasks need."""

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
        words, vectors_VD = self._read_vectors(counts)
        self.known = frequent(counts, most=self.most, at_least=self.at_least, known=set(words))
        if vectors_VD is None:
            self._create(self._dimension)
        else:
            self._create(vectors_VD.shape[1])
            self._fill(words, torch.from_numpy(vectors_VD))

    @override
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        return [self._prepare(fields) for fields in rows]

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
        field = find_segmented_field(fields)
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

    def _read_vectors(self, counts: Counter[str]) -> tuple[list[str], Vectors | None]:
        """Return the words of the training texts that have a pretrained vector, and the vectors."""
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

    def _fill(self, words: Sequence[str], vectors_VD: Tensor) -> None:
        """Copy pretrained vectors into the table; other words keep random vectors of the same spread."""
        ids = torch.tensor(self.known.ids(words))
        known = ids != UNKNOWN
        with torch.no_grad():
            self.table.weight[PADDING + 1 :].mul_(float(vectors_VD.std()) / _SPREAD)
            self.table.weight[ids[known]] = vectors_VD[known]
