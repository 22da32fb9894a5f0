"""CoNLL-U, the format of Universal Dependencies treebanks.

https://universaldependencies.org/format.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.data.sources.annotated import AnnotatedSource
from polytask.data.sources.base import sources
from polytask.data.sources.sentences import Block, blocks

_CELLS = 10
_COLUMNS = {"tokens": 1, "lemma": 2, "upos": 3, "xpos": 4, "feats": 5, "deprel": 7}
_HEAD = 6
_FILLED = {**_COLUMNS, "head": _HEAD}
_COMMENTS = ("sent_id", "text")


@sources.register("conllu")
class Conllu(AnnotatedSource):
    """CoNLL-U files: tokens, lemma, upos, xpos, feats, head and deprel of the words of a sentence.

    Multiword ranges (3-4) and empty nodes (3.1) are not words. Column ``conllu`` holds the whole
    sentence with them, for writing it back. ``head`` is 0 for the root and null for "_".
    """

    suffixes: ClassVar[tuple[str, ...]] = (".conllu",)
    annotations: ClassVar[frozenset[str]] = frozenset(_FILLED) - {"tokens"}

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        for block in blocks(self.lines(path)):
            words = _words(block, path)
            if words:
                yield block[0][0], _row(block, words)

    @override
    def annotate(self, row: Row, columns: Mapping[str, Sequence[Any]]) -> str:
        return fill_columns(row["conllu"], columns) + "\n"


def fill_columns(sentence: str, predicted: Mapping[str, Sequence[object]]) -> str:
    """Return a sentence with some columns replaced by predictions.

    Comments, multiword ranges (``3-4``) and empty nodes (``5.1``) stay as they are.

    :param sentence: The lines of one sentence.
    :param predicted: For each column to replace, one value per word.
    """
    values = {_FILLED[name]: iter(column) for name, column in predicted.items()}
    lines = []
    for line in sentence.rstrip("\n").split("\n"):
        cells = line.split("\t")
        if cells[0].isdecimal():
            for position, column in values.items():
                cells[position] = _cell(str(next(column)), position)
        lines.append("\t".join(cells))
    return "\n".join(lines) + "\n"


def _cell(text: str, position: int) -> str:
    """Return a value in a form that the format allows: no tab or line break, spaces in lemmas only."""
    between = " " if position == _FILLED["lemma"] else "_"
    return between.join(text.split()) or "_"


def _row(block: Block, words: list[list[str]]) -> dict[str, Any]:
    comments = dict(_comment(line) for _, line in block if line.startswith("#"))
    heads = [None if cells[_HEAD] == "_" else int(cells[_HEAD]) for cells in words]
    return {
        **{name: [cells[place] for cells in words] for name, place in _COLUMNS.items()},
        "head": heads,
        **{name: comments.get(name) for name in _COMMENTS},
        "conllu": "\n".join(line for _, line in block),
    }


def _comment(line: str) -> tuple[str, str]:
    key, _, value = line.removeprefix("#").partition("=")
    return key.strip(), value.strip()


def _words(block: Block, path: Path) -> list[list[str]]:
    """Return the cells of the words.

    :raises DataError: If words are not numbered from 1, or a head is no other word of the sentence.
    """
    words: list[list[str]] = []
    places = []
    for number, line in block:
        if line.startswith("#"):
            continue
        cells = line.split("\t")
        if len(cells) != _CELLS:
            found = f"{len(cells)} cells found, expected {_CELLS} between tabs"
            raise DataError(f"{path}:{number}: {found}, as CoNLL-U files have them.")
        if "-" in cells[0] or "." in cells[0]:
            continue
        words.append(cells)
        places.append(f"{path}:{number}")
        if cells[0] != str(len(words)):
            raise DataError(f"{places[-1]}: ID {cells[0]!r} found, expected {len(words)}.")
    _check_heads(words, places)
    return words


def _check_heads(words: list[list[str]], places: list[str]) -> None:
    known = {"_", *map(str, range(len(words) + 1))}
    for cells, place in zip(words, places, strict=True):
        if cells[_HEAD] not in known:
            found = f"HEAD {cells[_HEAD]!r} found"
            raise DataError(f"{place}: {found}, expected 0 to {len(words)}, or _ if it is unknown.")
        if cells[_HEAD] == cells[0]:
            found = f"HEAD {cells[_HEAD]} found for word {cells[0]}, {cells[1]!r}"
            raise DataError(f"{place}: {found}; expected another word, or 0 for the root.")
