"""Answers as data sets write them, and their places in the text that holds them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from polytask.tasks.occurrences import (
    Place,
    exact_places,
    first_whole,
    fold,
    fold_with_places,
    nearest,
)

MOVED = "answer start moved to the nearest occurrence"
VARIANT = "answer differs from the text in case, white space or Unicode form"
UTF16 = "answer start counted in UTF-16 units"
UTF8 = "answer start counted in UTF-8 bytes"
SEARCHED = "answer without a start found at its first occurrence"
"""How the place of an answer was found, where its start does not simply point at it."""

_UNITS = {"": "", "utf-16-le": UTF16, "utf-8": UTF8}
"""The encodings in whose units an offset may be counted; none for characters."""


class Answer(NamedTuple):
    """An answer as it is written.

    :param start: Where it claims to start; None if it does not say.
    """

    text: str
    start: int | None


class Found(NamedTuple):
    """An answer in its text.

    :param text: The answer as the text has it.
    :param how: How it was found, if its start does not point at it.
    """

    text: str
    start: int
    how: str = ""


def given_answers(value: Any) -> list[Answer]:
    """Read the answers of a row, those without a text left out.

    :param value: A list of answers, each with ``text`` and ``start`` or ``answer_start``; a list of
        texts; or lists of both, as the datasets library has SQuAD.
    :raises TypeError, KeyError, ValueError: If it is none of these.
    """
    if isinstance(value, Mapping):
        value = _of_columns(value)
    elif not isinstance(value, list | tuple):
        raise TypeError
    answers = [_answer({"text": one} if isinstance(one, str) else one) for one in value]
    return [one for one in answers if one.text.strip()]


def find_answers(answers: Sequence[Answer], text: str | None) -> list[Found | None]:
    """Find each answer in a text; None if the text does not hold it.

    A start is read in the unit, characters, UTF-16 units or UTF-8 bytes, in which most starts of
    the row point at their answers. If the text there is not the answer, not even in another case,
    with other white space or in another Unicode form, the nearest occurrence is taken, an exact one
    if there is one. Without a start it is the first occurrence, of
    whole words if there is one.

    :param text: None if the row has no text, so that starts cannot be compared with it.
    """
    if text is None:
        return [None if one.start is None else Found(one.text, one.start) for one in answers]

    def point_to(unit: str) -> int:
        starts = ((one.text, one.start) for one in answers if one.start is not None)
        return sum(text.startswith(own, _count(text, start, unit)) for own, start in starts)

    unit = max(_UNITS, key=point_to)
    return [_find(one, text, unit) for one in answers]


def _find(answer: Answer, text: str, unit: str) -> Found | None:
    found: Iterator[tuple[Place, str]]
    if answer.start is None:
        found = ((place, SEARCHED) for place, _ in _candidates(answer.text.strip(), text, None))
    else:
        start = _count(text, answer.start, unit)
        if text.startswith(answer.text, start):
            return Found(answer.text, start, _UNITS[unit])
        variants = fold_with_places(fold(answer.text), fold(text))
        here = ((place, VARIANT) for place in variants if place[0] == start)
        found = chain(here, _candidates(answer.text.strip(), text, start))
    return next((Found(text[first:last], first, how) for (first, last), how in found), None)


def _candidates(part: str, text: str, start: int | None) -> Iterator[tuple[Place, str]]:
    """Return the occurrences nearest to a start: the exact one, and the one equal when folded.

    :param start: None for the first occurrence, of whole words if there is one.
    """

    def best(places: Iterator[Place]) -> Place | None:
        return first_whole(places, text) if start is None else nearest(places, start)

    exact = best(exact_places(part, text))
    if exact is not None:
        yield exact, MOVED
    variant = best(fold_with_places(fold(part), fold(text)))
    if variant is not None:
        yield variant, VARIANT


def _count(text: str, start: int, unit: str) -> int:
    """Return the character at an offset in units of an encoding."""
    if not unit or text.isascii():
        return start
    size = 2 if unit == "utf-16-le" else 1
    before = text.encode(unit, "surrogatepass")[: start * size]
    return len(before.decode(unit, "ignore")) if start * size == len(before) else len(text) + 1


def _of_columns(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    texts, starts = value["text"], value.get("answer_start", value.get("start"))
    if isinstance(texts, str):
        return [{"text": texts, "start": starts}]
    starts = [None] * len(texts) if starts is None else starts
    return [{"text": text, "start": at} for text, at in zip(texts, starts, strict=True)]


def _answer(one: Mapping[str, Any]) -> Answer:
    text = one["text"]
    start = one.get("start", one.get("answer_start"))
    return Answer("" if text is None else str(text), _offset(start))


def _offset(value: Any) -> int | None:
    """Return an offset as a number; None if there is none, or one below 0.

    :raises ValueError: If it is no whole number.
    """
    if value is None or value == "":
        return None
    number = math.nan if isinstance(value, bool) else float(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    if not number.is_integer():
        raise ValueError
    return int(number) if number >= 0 else None
