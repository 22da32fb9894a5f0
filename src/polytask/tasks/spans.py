"""Tags of words as labelled spans, and back.

Three families of schemes are read: BIO (also called IOB2), IOB1, where a span starts with B only
directly after another one of its label (Ramshaw and Marcus, 1995), and BMES with its other
spellings BIOES, BILOU, BMEO and BMEWO. Any sequence of tags has spans, by the rules of the CoNLL
evaluation script (Tjong Kim Sang and Buchholz, CoNLL 2000), which seqeval follows in its default
mode. https://aclanthology.org/W00-0726
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

from polytask.core.errors import DataError

Scheme: TypeAlias = Literal["bio", "iob1", "bmes", "none"]
"""How tags mark spans; ``none`` where they do not."""

Window: TypeAlias = tuple[str, str, str]
"""The tags of three words in a row; ``OUTSIDE`` before the first and after the last word."""

OUTSIDE = "O"
_TAG = re.compile(r"(?P<prefix>[BIMELSUW])(?:-(?P<label>.*))?")
_OTHER = re.compile(r"[BIMELSUW][-_].+|.+[-_][BIMELSUW]", re.IGNORECASE)
"""Tags of spans in spellings that are not read, too: ``b-x``, ``B_x``, ``x-B``."""

_BROKEN = 0.1
"""Greatest share of tags whose letter mostly breaks a scheme that is still taken for one."""

_PREFIXES = {"bio": "BIIB", "iob1": "IIII"}
_ROLES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}


class Span(NamedTuple):
    """Words ``start`` to ``stop``, the latter not included.

    The label is empty where tags have none, as in word segmentation.
    """

    label: str
    start: int
    stop: int


def read_spans(tags: Iterable[str]) -> list[Span]:
    """Return the spans of one row, first to last; a tag that continues no span of its label starts one.

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


def parse_spans(value: Any) -> list[list[int]]:
    """Return the first word of each span and that after the last, of tags or of a list of such pairs.

    :raises DataError: If the value is neither.
    """
    try:
        value = value.split() if isinstance(value, str) else value
        if all(isinstance(one, str) for one in value):
            return [[start, stop] for _, start, stop in read_spans(value)]
        return [[int(start), int(stop)] for start, stop in value]
    except (TypeError, ValueError):
        raise DataError(
            "expected spans as a tag for every word, or as a list of their first word and that "
            f"after the last, found {value!r}"
        ) from None


def write_spans(spans: Iterable[Span], length: int, prefixes: str) -> list[str]:
    """Return the tags of one row with these spans.

    Where a first word is written like a middle one (IOB1), it is written B directly after another
    span of its label.

    :param length: Number of words.
    :param prefixes: Letters for the first, a middle, the last and an only word of a span.
    """
    tags = [OUTSIDE] * length
    last = Span("", 0, 0)
    for span in spans:
        label, start, stop = span
        letters = prefixes[3] if stop - start == 1 else _letters(prefixes, stop - start)
        if prefixes[0] == prefixes[1] and last.stop == start and last.label == label and start:
            letters = "B" + letters[1:]
        tags[start:stop] = [f"{letter}-{label}" if label else letter for letter in letters]
        last = span
    return tags


def _letters(prefixes: str, length: int) -> str:
    return prefixes[0] + prefixes[1] * (length - 2) + prefixes[2]


def span_prefixes(scheme: Scheme, tags: Iterable[str]) -> str:
    """Return the letters of a scheme, in the spelling that a set of tags uses.

    :return: Letters for the first, a middle, the last and an only word of a span.
    """
    if scheme in _PREFIXES:
        return _PREFIXES[scheme]
    found = {tag[0] for tag in tags}
    spelling = {"I": "M", "E": "E", "S": "S"}
    spelling.update({_ROLES[letter]: letter for letter in sorted(found & set("IMELSUW"))})
    return "B" + spelling["I"] + spelling["E"] + spelling["S"]


def valid_moves(tags: Sequence[str], scheme: Scheme) -> list[list[bool]]:
    """Return whether a tag may follow another: C + 1 rows of as many, the last for the border of a row.

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
    if scheme == "iob1":
        return other[0] != "B" or (one[0] != OUTSIDE and one[1] == other[1])
    opened = one[0] in "BI"
    if other[0] in "IE" and other[1] in starts:
        return opened and one[1] == other[1]
    return scheme == "bio" or not opened


def windows_of(tags: Sequence[str]) -> Iterator[Window]:
    """Return the tag of every word between the tags of its neighbours."""
    padded = [OUTSIDE, *tags, OUTSIDE]
    return zip(padded, padded[1:], padded[2:], strict=False)


def detect_scheme(windows: Mapping[Window, int]) -> Scheme:
    """Return the scheme that tags are written in: the one that writes most of their spans like them.

    Letters alone prove nothing: E and S may be two languages. In a scheme, most tags of each letter
    stay as they are when the spans of the tags are written again. A tag and its two neighbours
    decide how it is written, so that rows need not be kept.

    :param windows: All ``windows_of`` the training rows, with their numbers.
    """
    totals = _by_letter(windows)
    tags = {tag for _, tag, _ in windows}
    if not _may_mark_spans(tags, {*totals}):
        return "none"
    schemes: tuple[Scheme, ...] = ("bio", "iob1") if {*totals} <= set("BI") else ("bmes",)
    kept = {scheme: _count_unchanged(windows, span_prefixes(scheme, tags)) for scheme in schemes}
    best = max(schemes, key=lambda scheme: kept[scheme].total())
    broken = sum(totals[one] for one in totals if 2 * kept[best][one] <= totals[one])
    return best if broken <= _BROKEN * totals.total() else "none"


def _may_mark_spans(tags: Collection[str], letters: Set[str]) -> bool:
    """Return whether the letters of a scheme are among tags that all have its form.

    A scheme has a letter to begin spans, or O for words outside of them.
    """
    if not letters or not marks_spans(tags):
        return False
    bare = not letters <= {"I"} and any(tag in letters for tag in tags)
    return "B" in letters or (OUTSIDE in tags and not bare)


def marks_spans(tags: Iterable[str]) -> bool:
    """Return whether every tag has the form of a tag that marks spans."""
    return all(tag == OUTSIDE or _TAG.fullmatch(tag) for tag in tags)


def resembles_spans(tag: str) -> bool:
    """Return whether a tag may mark a span, in this spelling or another."""
    return _OTHER.fullmatch(tag) is not None


def span_label(tag: str) -> tuple[str, str]:
    """Return the prefix of a tag, with its dash, and the label of its span; no label in "O" or "B"."""
    match = _TAG.fullmatch(tag)
    label = match["label"] or "" if match else ""
    return tag.removesuffix(label), label


def _count_unchanged(windows: Mapping[Window, int], prefixes: str) -> Counter[str]:
    """Return how many tags of each letter stay as they are when their spans are written again."""
    return _by_letter(
        {
            window: count
            for window, count in windows.items()
            if write_spans(read_spans(window), len(window), prefixes)[1] == window[1]
        }
    )


def _by_letter(windows: Mapping[Window, int]) -> Counter[str]:
    """Return how many tags of spans there are of each letter."""
    counts = Counter[str]()
    for (_, tag, _), count in windows.items():
        if tag != OUTSIDE:
            counts[tag[0]] += count
    return counts


@lru_cache(maxsize=4096)
def _parse(tag: str) -> tuple[str, str]:
    """Return the role of a tag, one of B, I, E, S and O, and its label."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    match = _TAG.fullmatch(tag)
    if match is None:
        raise DataError(
            f"tag {tag!r} marks no span: expected O, B-x, I-x (BIO, IOB1) or B-x, M-x, E-x, S-x "
            "(BMES). "
            "If the tags mark no spans, set scheme: none and measure accuracy."
        )
    return _ROLES[match["prefix"]], match["label"] or ""
