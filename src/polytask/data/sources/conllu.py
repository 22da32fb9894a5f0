"""Universal Dependencies treebanks.

https://universaldependencies.org/format.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.data.sources.base import sources
from polytask.data.sources.sentences import Block, blocks
from polytask.data.sources.text_files import TextFileSource

_CELLS = 10
_COLUMNS = {"tokens": 1, "lemma": 2, "upos": 3, "xpos": 4, "feats": 5, "deprel": 7}
_HEAD = 6
_COMMENTS = ("sent_id", "text")


@sources.register("conllu")
class Conllu(TextFileSource):
    """CoNLL-U files: tokens, lemma, upos, xpos, feats, head and deprel of the words of a sentence.

    Multiword ranges (3-4) and empty nodes (3.1) are no words; they stay in column ``conllu``, which
    is the sentence as it was, for writing it back. ``head`` is 0 for the root and null for "_".
    """

    suffixes: ClassVar[tuple[str, ...]] = (".conllu",)

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        for block in blocks(self.lines(path)):
            words = _words(block, path)
            if words:
                yield block[0][0], _row(block, words)


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
    """The cells of the words, checked: numbered from 1, heads are other words of the sentence."""
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
            raise DataError(
                f"{place}: {found}: no word is its own head. Expected 0 for the root, or another word."
            )
