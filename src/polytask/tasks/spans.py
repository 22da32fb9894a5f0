"""Tags of words as labelled spans, and back.

Two families of schemes are read: BIO (also called IOB), and BMES with its other spellings BIOES,
BILOU, BMEO and BMEWO. Any sequence of tags has spans, by the rules of the CoNLL evaluation script
(Tjong Kim Sang and Buchholz, CoNLL 2000), which seqeval follows in its default mode.
https://aclanthology.org/W00-0726
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

from polytask.core.errors import DataError

Scheme: TypeAlias = Literal["bio", "bmes", "none"]
"""How tags mark spans; ``none`` where they do not."""

OUTSIDE = "O"
_TAG = re.compile(r"(?P<prefix>[BIMELSUW])(?:-(?P<label>.*))?")
_ROLES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}


class Span(NamedTuple):
    """Words ``start`` to ``stop``, the latter not included.

    The label is empty where tags have none, as in word segmentation.
    """

    label: str
    start: int
    stop: int


def read_spans(tags: Iterable[str]) -> list[Span]:
    """The spans of one row, first to last; a tag that continues no span of its label starts one.

    :raises DataError: If a tag is of no known scheme.
    """
    spans: list[Span] = []
    last_role, last_label = OUTSIDE, ""
    for position, tag in enumerate(tags):
        role, label = _parse(tag)
        if role != OUTSIDE and (role in "BS" or last_role in "OES" or label != last_label):
            spans.append(Span(label, position, position + 1))
        elif role != OUTSIDE:
            spans[-1] = spans[-1]._replace(stop=position + 1)
        last_role, last_label = role, label
    return spans


def write_spans(spans: Iterable[Span], length: int, prefixes: str) -> list[str]:
    """The tags of one row with these spans.

    :param length: Number of words.
    :param prefixes: Letters for the first, a middle, the last and an only word of a span.
    """
    tags = [OUTSIDE] * length
    for label, start, stop in spans:
        first, middle, last, only = (
            f"{prefix}-{label}" if label else prefix for prefix in prefixes
        )
        inner = stop - start - 2
        tags[start:stop] = [only] if inner < 0 else [first, *[middle] * inner, last]
    return tags


def span_prefixes(scheme: Scheme, tags: Iterable[str]) -> str:
    """The letters of a scheme, in the spelling that a set of tags uses.

    :return: Letters for the first, a middle, the last and an only word of a span.
    """
    if scheme == "bio":
        return "BIIB"
    found = {tag[0] for tag in tags}
    spelling = {"I": "M", "E": "E", "S": "S"}
    spelling.update({_ROLES[letter]: letter for letter in sorted(found & set("IMELSUW"))})
    return "B" + spelling["I"] + spelling["E"] + spelling["S"]


def valid_moves(tags: Sequence[str], scheme: Scheme) -> list[list[bool]]:
    """Whether a tag may follow another: C + 1 rows of as many, the last for the border of a row.

    A span of a label that has no tag to start with may start with any of its tags.
    """
    size = len(tags) + 1
    if scheme == "none":
        return [[True] * size for _ in range(size)]
    parsed = [*map(_parse, tags), (OUTSIDE, "")]
    starts = {label for role, label in parsed if role in "BS"}
    return [[_may_follow(one, other, scheme, starts) for other in parsed] for one in parsed]


def _may_follow(
    one: tuple[str, str], other: tuple[str, str], scheme: Scheme, starts: set[str]
) -> bool:
    opened = one[0] in "BI"
    if other[0] in "IE" and other[1] in starts:
        return opened and one[1] == other[1]
    return scheme == "bio" or not opened


def detect_scheme(tags: Iterable[str]) -> Scheme:
    """The scheme that all of a set of tags can belong to."""
    found = {tag for tag in tags if tag != OUTSIDE}
    if not found or not all(_TAG.fullmatch(tag) for tag in found):
        return "none"
    return "bio" if {tag[0] for tag in found} <= set("BI") else "bmes"


@lru_cache(maxsize=4096)
def _parse(tag: str) -> tuple[str, str]:
    """The role of a tag, one of B, I, E, S and O, and its label."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    match = _TAG.fullmatch(tag)
    if match is None:
        raise DataError(
            f"tag {tag!r} marks no span: expected O, B-x, I-x (BIO) or B-x, M-x, E-x, S-x (BMES). "
            "If the tags mark no spans, set scheme: none and measure accuracy."
        )
    return _ROLES[match["prefix"]], match["label"] or ""
