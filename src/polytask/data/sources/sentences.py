"""What the CoNLL formats have in common: sentences are blocks of lines between blank lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Block = list[tuple[int, str]]
"""Lines that follow each other, with their numbers, without line ends."""


def blocks(lines: Iterable[tuple[int, str]]) -> Iterator[Block]:
    """The blocks of a file's lines; words may be any character, so only spaces and tabs count as blank."""
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
