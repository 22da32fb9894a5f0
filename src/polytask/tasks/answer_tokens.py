"""The tokens of an answer: what a span task learns of a text, or of the windows of one."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from polytask.core.accounting import CUT, NOT_ALIGNED, NOT_IN_TEXT, LeftOut
from polytask.core.batch import Inputs
from polytask.core.texts import ENDS, STARTS
from polytask.tasks.occurrences import is_mark

_NONE = [0, 0]


class _Tokens(NamedTuple):
    """The tokens of an answer in one text.

    :param numbers: The first and the last of them.
    :param edges: The first character and the end of the part of the answer that they cover.
    """

    numbers: list[int]
    edges: tuple[int, int]


def answer_tokens(
    answer: Mapping[str, Any], texts: Sequence[Inputs], *, cut: bool
) -> list[list[int]] | LeftOut:
    """Return the first and the last token of an answer in every text; 0 where not all of it is.

    White space around an answer, and marks that a tokenizer strips, have no tokens. An answer is
    therefore whole in a text whose tokens cover all of it that any token covers.

    :param texts: A prepared text, or its windows.
    :param cut: Whether the encoder cut the end of the text off.
    """
    if answer["start"] is None:
        return LeftOut(NOT_IN_TEXT)
    first, last = answer["start"], answer["start"] + len(answer["text"])
    read = max((end for text in texts for end in text[ENDS]), default=0)
    if cut and any(map(_needs_token, answer["text"][max(0, read - first) :])):
        return LeftOut(CUT)
    tokens = [_tokens(text[STARTS], text[ENDS], first, last) for text in texts]
    edges = [own.edges for own in tokens if own is not None]
    if not edges:
        return LeftOut(CUT if cut and first >= read else NOT_ALIGNED)
    whole = min(start for start, _ in edges), max(end for _, end in edges)
    if whole not in edges:  # longer than what windows share
        return LeftOut(CUT)
    return [own.numbers if own is not None and own.edges == whole else _NONE for own in tokens]


def _tokens(starts: Sequence[int], ends: Sequence[int], first: int, last: int) -> _Tokens | None:
    """Return the tokens that an answer overlaps; None if there are none."""
    places = enumerate(zip(starts, ends, strict=True))
    inside = [at for at, (start, end) in places if 0 <= start < last and end > first]
    if not inside:
        return None
    edges = max(first, starts[inside[0]]), min(last, ends[inside[-1]])
    return _Tokens([inside[0], inside[-1]], edges)


def _needs_token(sign: str) -> bool:
    """Return whether no tokenizer leaves a character out."""
    return not (sign.isspace() or is_mark(sign) or unicodedata.category(sign).startswith("C"))
