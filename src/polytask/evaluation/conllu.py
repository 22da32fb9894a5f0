"""Predictions written into CoNLL-U, as the scorers of Universal Dependencies read it.

Format: https://universaldependencies.org/format.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

COLUMNS = {"lemma": 2, "upos": 3, "xpos": 4, "feats": 5, "head": 6, "deprel": 7}
"""Position of each column that can be predicted."""


def fill_columns(sentence: str, predicted: Mapping[str, Sequence[object]]) -> str:
    """A sentence with some of its columns replaced by predictions.

    Comments, multiword ranges (``3-4``) and empty nodes (``5.1``) stay as they are.

    :param sentence: The lines of one sentence.
    :param predicted: Name of a column to one value per word.
    """
    values = {COLUMNS[name]: iter(column) for name, column in predicted.items()}
    lines = []
    for line in sentence.rstrip("\n").split("\n"):
        cells = line.split("\t")
        if cells[0].isdecimal():
            for position, column in values.items():
                cells[position] = _cell(str(next(column)), position)
        lines.append("\t".join(cells))
    return "\n".join(lines) + "\n"


def _cell(text: str, position: int) -> str:
    """A value as the format allows it: no tab, no line break, spaces in lemmas alone, never empty."""
    between = " " if position == COLUMNS["lemma"] else "_"
    return between.join(text.split()) or "_"
