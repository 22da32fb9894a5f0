"""Conversations as tokens, by the chat template of a tokenizer."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from polytask.core.batch import Inputs
from polytask.core.errors import DataError, RecipeError
from polytask.core.prompts import LEARNED, WEIGHT, Conversation, Turn
from polytask.encoders.text import find
from polytask.encoders.turn_spans import Span, find_spans, unused_characters

if TYPE_CHECKING:
    import transformers


def load_template(name: str, search: Sequence[Path]) -> str:
    """Return a chat template.

    :param name: ``chatml``, or a file, looked up in ``search``.
    :raises RecipeError: If there is no such file.
    """
    if name == "chatml":
        return resources.files(__package__).joinpath("chatml.jinja").read_text("utf-8")
    file = find(name, search)
    if file is None or not file.is_file():
        looked = ", ".join(map(str, search)) or "the working folder"
        raise RecipeError(
            [f"encoder.chat_template: no file {name!r} in {looked}. Name one, or chatml."]
        )
    return file.read_text("utf-8")


def marks_in(template: str) -> list[str]:
    """Return the names in a template that mark turns, such as ``<|end|>``."""
    return [*dict.fromkeys(re.findall(r"<\|\w+\|>", template))]


class _Piece(NamedTuple):
    """A part of a rendered conversation that is tokenised by itself.

    :param start: Its first character.
    :param typed: The special token that a person has typed, which is ordinary text.
    """

    text: str
    start: int
    typed: str | None = None


class _Token(NamedTuple):
    """A token, its first character in the rendered conversation, and the one after its last."""

    id: int
    start: int
    end: int


class ChatTemplate:
    """The chat template of a tokenizer, and the tokens that a model learns of its texts.

    :param tokenizer: A tokenizer with a chat template.
    """

    def __init__(self, tokenizer: transformers.PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.values()
        self._special = sorted({token.content for token in added if token.special})
        self._typed = re.compile("|".join(map(re.escape, self._special)) or r"(?!)")

    @cached_property
    def turn_end(self) -> int:
        """The id that ends an assistant turn: the last one of a trial, or else the end of a text."""
        trial: list[Turn] = [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
        ]
        inputs = self._inputs(Conversation(trial))
        last = [
            token for token, weight in zip(inputs["ids"], inputs[LEARNED], strict=True) if weight
        ][-1]
        special = [self._tokenizer.convert_tokens_to_ids(token) for token in self._special]
        end = self._tokenizer.eos_token_id
        return int(last if last in special or end is None else end)

    def encode(self, conversation: Conversation, max_tokens: int) -> Inputs:
        """Return the tokens of a conversation: ``ids``, ``learned``, ``cut``.

        A conversation that is too long loses its oldest turns after the system turn, up to the next
        user turn each time. A prompt that is still too long loses its first tokens; if it is to
        be learned, none of its tokens is.

        :raises DataError: If the template refuses it, or its assistant turns cannot be found.
        """
        room, cut = max(1, max_tokens - conversation.room), False
        inputs = self._inputs(conversation)
        while len(inputs["ids"]) > room and (shorter := _without_oldest(conversation)) is not None:
            conversation, cut = shorter, True
            inputs = self._inputs(conversation)
        ids, learned = inputs["ids"], inputs[LEARNED]
        if len(ids) > room:
            cut, ids, learned = True, ids[-room:], [0.0] * room
        return {"ids": ids, LEARNED: learned, "cut": int(cut)}

    def _inputs(self, conversation: Conversation) -> Inputs:
        """Return the ``ids`` of a conversation, and the weight of each in ``learned``."""
        turns, hidden = self._hide_typed(conversation.turns)

        def render(turns: Sequence[Turn], *, prompt: bool = False) -> str:
            return self._render(turns, conversation.tools, prompt=prompt)

        if conversation.learned == "none":
            text, spans = render(turns, prompt=True), list[Span]()
        else:
            text, spans = find_spans(render, turns, self._special)
        if conversation.learned == "last":
            spans = spans[-1:]
        tokens = self._tokens(text, hidden, [at for own in spans for at in (own.start, own.end)])
        weights = [turns[span.turn].get(WEIGHT) for span in spans]
        return {
            "ids": [token.id for token in tokens],
            LEARNED: [
                sum(
                    1.0 if weight is None else float(weight)
                    for span, weight in zip(spans, weights, strict=True)
                    if span.start <= token.start and token.end <= span.end
                )
                for token in tokens
            ],
        }

    def _tokens(self, text: str, hidden: Mapping[str, str], borders: Sequence[int]) -> list[_Token]:
        """Tokenise a rendered text; it is split where else a token would cross a border.

        A model that continues a prompt never sees such a token.
        """
        pieces = [*_split_typed(text, hidden)]
        tokens = [token for piece in pieces for token in self._tokenise(piece)]
        crossed = [at for at in borders if any(own.start < at < own.end for own in tokens)]
        if not crossed:
            return tokens
        parts = (part for piece in pieces for part in _split_at(piece, crossed))
        return [token for part in parts for token in self._tokenise(part)]

    def _hide_typed(self, turns: Sequence[Turn]) -> tuple[list[Turn], dict[str, str]]:
        """Replace the special tokens in texts of turns, each by a private character.

        :return: The turns, and the special token that each character stands for.
        """
        found = self._typed.findall(repr(turns))
        free = unused_characters(len(found), turns)
        hidden: dict[str, str] = {}

        def hide(match: re.Match[str]) -> str:
            character = free[len(hidden)]
            hidden[character] = match.group()
            return character

        def replaced(value: Any) -> Any:
            if isinstance(value, str):
                return self._typed.sub(hide, value)
            if isinstance(value, Mapping):
                return {key: replaced(item) for key, item in value.items()}
            return [replaced(item) for item in value] if isinstance(value, list) else value

        return (replaced([*turns]) if found else [*turns]), hidden

    def _tokenise(self, piece: _Piece) -> Iterator[_Token]:
        backend = self._tokenizer.backend_tokenizer
        backend.encode_special_tokens = piece.typed is not None
        encoding = backend.encode(piece.typed or piece.text, add_special_tokens=False)
        backend.encode_special_tokens = False
        if piece.typed is not None:
            yield from (_Token(own, piece.start, piece.start + 1) for own in encoding.ids)
            return
        before = 0
        for own, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            # Offsets may leave out the space before a word, which belongs to its token.
            yield _Token(own, piece.start + min(before, start), piece.start + end)
            before = end

    def _render(self, turns: Sequence[Turn], tools: Sequence[Any], *, prompt: bool) -> str:
        try:
            text = self._tokenizer.apply_chat_template(
                [dict(turn) for turn in turns],
                tools=[*tools] or None,
                add_generation_prompt=prompt,
                tokenize=False,
            )
        except Exception as error:  # a template may raise anything
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if frame.filename == "<template>"]
            line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
            where = f", line {line}" if line else ""
            raise DataError(f"chat template{where}: {error}") from error
        assert isinstance(text, str)
        return text


def _without_oldest(conversation: Conversation) -> Conversation | None:
    """Return a conversation without its first user turn and what answers it; None if one is left."""
    turns = conversation.turns
    first = next((at for at, turn in enumerate(turns) if turn["role"] != "system"), len(turns))
    later = (at for at, turn in enumerate(turns) if turn["role"] == "user" and at > first)
    kept = turns[next(later, len(turns)) :]
    wanted = "user" if conversation.learned == "none" else "assistant"
    if not any(turn["role"] == wanted for turn in kept):
        return None
    return replace(conversation, turns=[*turns[:first], *kept])


def _split_typed(text: str, hidden: Mapping[str, str]) -> Iterator[_Piece]:
    """Split a rendered text at characters that stand for typed special tokens.

    :param hidden: The special token of each such character.
    """
    start = 0
    for at, character in enumerate(text):
        if character in hidden:
            yield _Piece(text[start:at], start)
            yield _Piece(character, at, hidden[character])
            start = at + 1
    yield _Piece(text[start:], start)


def _split_at(piece: _Piece, places: Sequence[int]) -> Iterator[_Piece]:
    """Split a piece at some characters of the rendered text."""
    inner = [at - piece.start for at in places if piece.start < at < piece.start + len(piece.text)]
    for first, last in pairwise([0, *inner, len(piece.text)]):
        yield _Piece(piece.text[first:last], piece.start + first, piece.typed)
