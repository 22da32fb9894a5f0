"""Where in a rendered conversation the turns of the assistant are.

Chat templates do not mark what the assistant wrote. It is found by rendering: a turn begins where a
prompt for it ends, and ends with what the template writes after a last turn. Rendered prefixes are
compared from the turn before onwards, not from the start, because some templates move system texts and tools
to the newest turn. The place of every turn comes from a mark after its text, a character that no text contains.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate, count, islice
from typing import Any, NamedTuple, Protocol

from polytask.core.errors import DataError
from polytask.core.prompts import Turn, turn_text

_PRIVATE = 0xF0000
"""The first character of a plane that has no meaning in Unicode."""


_LEFT_OUT = "the template leaves it out"


class Render(Protocol):
    """Renders turns by a chat template; raises a ``DataError`` for turns that it refuses."""

    def __call__(self, turns: Sequence[Turn], *, prompt: bool = False) -> str:
        """Return the text; with ``prompt``, what the assistant continues with a turn."""


class Span(NamedTuple):
    """The characters of an assistant turn, its end mark included.

    :param turn: The number of the turn.
    :param start: The first character.
    :param end: The character after the last one.
    """

    turn: int
    start: int
    end: int


class SpanError(DataError):
    """A conversation in which the assistant turns cannot be located.

    :param turn: The number of the turn, from 0.
    """

    def __init__(self, turn: int, role: str, reason: str) -> None:
        super().__init__(f"chat template: turn {turn + 1} ({role}): {reason}")


def unused_characters(number: int, *values: Any) -> list[str]:
    """Return private characters that occur in none of some values."""
    found = json.dumps(values, ensure_ascii=False, default=str)
    free = (chr(code) for code in count(_PRIVATE) if chr(code) not in found)
    return [*islice(free, number)]


def find_spans(
    render: Render, turns: Sequence[Turn], special: Sequence[str]
) -> tuple[str, list[Span]]:
    """Return the rendered conversation and the spans of its assistant turns, in order.

    Every character of an assistant turn is in exactly one span, what ends the turn included; no
    other turn is. White space after the end mark is not: nothing is generated after that mark.

    :param special: The special tokens of the tokenizer, which end turns.
    :raises SpanError: If the template changes, moves or leaves out a turn so that it cannot be located.
    """
    whole = render(turns)
    marks = unused_characters(len(turns), turns, whole)
    marked = [_mark(turn, mark) for turn, mark in zip(turns, marks, strict=True)]
    ends = _ends(render, turns, marked, marks, whole)
    specials = re.compile(
        "|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)"
    )

    def tail(count: int, *, prompt: bool) -> str:
        """Return what follows the text of the last one of some turns."""
        text = render(marked[:count], prompt=prompt)
        if count and marks[count - 1] not in text:
            raise SpanError(count - 1, turns[count - 1]["role"], _LEFT_OUT)
        after = text.partition(marks[count - 1])[2] if count else text
        return after.translate(dict.fromkeys(map(ord, marks)))

    spans = []
    for at, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        lead, begin = tail(at, prompt=True), ends[at - 1] if at else 0
        if not whole.startswith(lead, begin):
            raise SpanError(
                at, "assistant", "does not follow the prompt for it in the conversation"
            )
        other = tail(at + 1, prompt=at == len(turns) - 1)
        length = _shared_end(whole[ends[at] :], other, specials)
        if not length:
            raise SpanError(at, "assistant", "the template writes nothing after it that ends it")
        spans.append(Span(at, begin + len(lead), ends[at] + length))
    _check(spans, turns, ends, whole)
    return whole, spans


def _mark(turn: Turn, mark: str) -> Turn:
    """Return a turn with a mark after its text, or after the name of its first tool call."""
    content = turn.get("content")
    if isinstance(content, str) and content.strip():
        text = content.rstrip()
        return {**turn, "content": text + mark + content[len(text) :]}
    if isinstance(content, list) and turn_text(turn).strip():
        last = max(at for at, part in enumerate(content) if str(part.get("text") or "").strip())
        text = content[last]["text"]
        return {
            **turn,
            "content": [
                *content[:last],
                {**content[last], "text": text + mark},
                *content[last + 1 :],
            ],
        }
    first, *others = turn["tool_calls"]
    call = {**first, "function": _mark_name(first["function"], mark)}
    return {**turn, "tool_calls": [call, *others]}


def _mark_name(function: Mapping[str, Any], mark: str) -> dict[str, Any]:
    return {**function, "name": function["name"] + mark}


def _ends(
    render: Render, turns: Sequence[Turn], marked: Sequence[Turn], marks: Sequence[str], whole: str
) -> list[int]:
    """Return the character after the text of each turn in the rendered conversation."""
    found = render(marked)
    for at, (turn, mark) in enumerate(zip(turns, marks, strict=True)):
        if mark not in found:
            raise SpanError(at, turn["role"], _LEFT_OUT)
    if found.translate(dict.fromkeys(map(ord, marks))) != whole:
        for at, turn in enumerate(turns):
            alone = render([*turns[:at], marked[at], *turns[at + 1 :]])
            if alone.replace(marks[at], "") != whole:
                raise SpanError(at, turn["role"], "the template takes its text apart")
    # The name of a tool may be written again, with its mark, before the result of the call.
    before = accumulate((character in marks for character in found), initial=0)
    counts = [*before]
    return [(place := found.index(mark)) - counts[place] for mark in marks]


def _shared_end(found: str, other: str, special: re.Pattern[str]) -> int:
    """Return the number of characters that end a turn; 0 if there are none.

    :param found: What follows the text of the turn in the conversation.
    :param other: What follows it elsewhere: at the end of a conversation, or before a prompt. What both
        begin with belongs to the turn, up to its last special token, or all of it if there is none.
        If they begin with two special tokens, each ends a turn (gpt-oss: end, return).
    :param special: Matches special tokens.
    """
    ours, theirs = _pieces(found, special), _pieces(other, special)
    length = end = 0
    for own, its in zip(ours, theirs, strict=False):
        if own == its:
            length += len(own)
            end = length if special.fullmatch(own) else end
            continue
        if not end and special.fullmatch(own) and special.fullmatch(its):
            return length + len(own)
        # Text of the next turn follows at once in one of them, where nothing special separates turns.
        if (own == ours[-1] and its.startswith(own)) or (its == theirs[-1] and own.startswith(its)):
            length += min(len(own), len(its))
        break
    return end or length


def _pieces(text: str, special: re.Pattern[str]) -> list[str]:
    """Split a text into special tokens and what is between them."""
    pieces, at = [], 0
    for match in special.finditer(text):
        pieces += [text[at : match.start()], match.group()]
        at = match.end()
    return [piece for piece in [*pieces, text[at:]] if piece]


def _check(spans: Sequence[Span], turns: Sequence[Turn], ends: Sequence[int], whole: str) -> None:
    """Check the spans against the texts of all turns.

    :raises SpanError: If a text of the assistant is not in its span, or another one is in any.
    """
    own = {span.turn: span for span in spans}
    for at, turn in enumerate(turns):
        text = turn_text(turn).strip()
        start = ends[at] - len(text) if text and whole.endswith(text, 0, ends[at]) else ends[at] - 1
        if at in own and not own[at].start <= start < ends[at] <= own[at].end:
            raise SpanError(at, turn["role"], "found outside of what would be learned of it")
        for span in spans:
            if span.turn != at and start < span.end and span.start < ends[at]:
                reason = f"would be learned as a part of turn {span.turn + 1}"
                raise SpanError(at, turn["role"], reason)
