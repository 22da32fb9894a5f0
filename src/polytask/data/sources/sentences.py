"""Blocks of lines between blank lines, as CoNLL formats separate sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Block = list[tuple[int, str]]
"""Consecutive lines without line ends, each with its number."""


def blocks(lines: Iterable[tuple[int, str]]) -> Iterator[Block]:
    """Yield the blocks of the lines of a file.

    Only spaces and tabs count as blank: a word may be another space character.
    """
    block: Block = []
    for number, line in lines:
        content = line.rstrip("\r\n")
        if content.strip(" \t"):
            block.append((number, content))
        elif block:
            yield block
            block = []
    if block:
        yield block
