"""Texts as subwords, with the tokenizers library."""

from __future__ import annotations

from abc import ABC
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt
from tokenizers import Encoding, Tokenizer, processors
from typing_extensions import override

from polytask.core.batch import Fields, Inputs
from polytask.core.byte_pairs import train_byte_pairs
from polytask.core.capabilities import Causal
from polytask.core.errors import DataError, RecipeError
from polytask.core.prompts import Conversation, Detokenizer, Prompt
from polytask.core.texts import ENDS, STARTS, TEXTS, Located
from polytask.encoders.chat_template import ChatTemplate
from polytask.encoders.completions import encode_prompts, special_ids_around
from polytask.encoders.text import find_segmented_field, text_of
from polytask.encoders.tokens import NO_WORD, TokenEncoder

SPECIAL = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
"""The special tokens of a tokenizer trained here; their ids are 0, 1, 2."""
PADDING, FIRST, LAST = range(3)

_LEAST_WINDOW = 4  # tokens
_CHUNK = 1024  # encodings are large; only so many live at a time


class Subwords:
    """A tokenizer of texts and pairs that cuts long ones.

    Lists of words are joined by spaces, and words are found again by their place in the text. So they
    are tokenised like the text they came from, by any tokenizer.

    :param tokenizer: A tokenizer; it is changed so that it does not pad, and cuts at ``max_length``.
    :param max_length: Longest row in tokens, special ones included; the longer of a pair is cut
        first.
    :param empty: The id that stands for a text without tokens.
    :param stride: Overlap of the windows of a long text, in tokens; 0: cut the text.
    :param end: The id that ends a completion; by default the tokenizer's last mark of a text.
    :param chat: Renders conversations; None for a tokenizer without a chat template.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_length: int,
        empty: int,
        stride: int = 0,
        end: int | None = None,
        chat: ChatTemplate | None = None,
    ) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length)
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.end = [empty, *special_ids_around(tokenizer)[1]][-1] if end is None else end
        self._empty = empty
        self._chat = chat
        self._stride = stride
        # Without marks between the texts of a pair, a line break keeps their words apart.
        special = tokenizer.num_special_tokens_to_add
        self._between = "" if special(is_pair=True) > special(is_pair=False) else "\n"

    def encode(self, rows: Sequence[Fields]) -> list[Inputs]:
        """Tokenise rows of one or two fields.

        :raises DataError: If a field is neither a text nor a list of words, or there are more.
        """
        chunks = (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))
        return [inputs for chunk in chunks for inputs in self._encode(chunk)]

    @property
    def turn_end(self) -> int:
        """The id that ends an assistant turn; without a chat template, a text."""
        return self.end if self._chat is None else self._chat.turn_end

    def text(self, ids: Sequence[int], *, marks: bool = False) -> str:
        """Return the text of some tokens.

        :param marks: Keep special tokens.
        """
        return self.tokenizer.decode(list(ids), skip_special_tokens=not marks)

    def _encode(self, rows: Sequence[Fields]) -> Iterator[Inputs]:
        if isinstance(rows[0][0], Prompt):
            self.tokenizer.no_truncation()
            prompts = [prompt for (prompt,) in rows]
            yield from encode_prompts(self.tokenizer, prompts, self.max_length, self.end)
            self.tokenizer.enable_truncation(self.max_length)
            return
        if isinstance(rows[0][0], Conversation):
            yield from self._encode_conversations([conversation for (conversation,) in rows])
            return
        segmented = [find_segmented_field(fields) for fields in rows]
        tokenize = (
            self.tokenizer.encode_batch_fast  # without the places of tokens in the text
            if not any(isinstance(fields[-1], Located) for fields in rows)
            and all(field is None for field in segmented)
            else self.tokenizer.encode_batch
        )
        encodings = tokenize([self._texts(fields) for fields in rows])
        for fields, field, encoding in zip(rows, segmented, encodings, strict=True):
            cut = len(encoding) == self.max_length and bool(encoding.overflowing)
            if cut and self._stride and field is None:
                windows = self._windows(fields)
                yield {
                    TEXTS: [self._inputs(one, fields, cut=False) for one in windows],
                    "cut": int(len(windows) == 1),
                }
                continue
            inputs = self._inputs(encoding, fields, cut=cut)
            if field is not None:
                start = len(self._between) if field else 0
                inputs["words"] = _first_tokens(encoding, fields[field], field, start, cut)
            yield inputs

    def _encode_conversations(self, conversations: Sequence[Conversation]) -> Iterator[Inputs]:
        if self._chat is None:
            raise RecipeError(
                [
                    "encoder.chat_template: the tokenizer has no chat template, which conversations "
                    "need. Give the file of one, or chatml, to an encoder of kind huggingface."
                ]
            )
        self.tokenizer.no_truncation()
        for conversation in conversations:
            yield self._chat.encode(conversation, self.max_length)
        self.tokenizer.enable_truncation(self.max_length)

    def _inputs(self, encoding: Encoding, fields: Fields, *, cut: bool) -> Inputs:
        """Return the inputs of one text or pair."""
        inputs: Inputs = {"ids": encoding.ids or [self._empty], "cut": int(cut)}
        if len(fields) > 1:
            inputs["segments"] = encoding.type_ids or [0]
        if isinstance(fields[-1], Located):
            before = len(self._between) if len(fields) > 1 else 0
            inputs[STARTS], inputs[ENDS] = _places(encoding, len(fields) - 1, before)
        return inputs

    def _windows(self, fields: Fields) -> list[Encoding]:
        """Return overlapping windows of a text that is too long, or of the second text of a pair.

        If the first text of a pair leaves too little room, both are cut to one window.
        """
        texts = self._texts(fields)
        pair = isinstance(texts, tuple)
        first = self.tokenizer.encode(texts[0], add_special_tokens=False) if pair else ()
        special = self.tokenizer.num_special_tokens_to_add(pair)
        room = self.max_length - special - len(first)
        if room < _LEAST_WINDOW:
            return [self.tokenizer.encode(*texts)]
        self.tokenizer.enable_truncation(
            self.max_length,
            stride=min(self._stride, room // 2),
            strategy="only_second" if pair else "longest_first",
        )
        encoding = self.tokenizer.encode(*(texts if pair else (texts,)))
        self.tokenizer.enable_truncation(self.max_length)
        return [encoding, *encoding.overflowing]

    def _texts(self, fields: Fields) -> str | tuple[str, str]:
        if len(fields) == 1:
            return text_of(fields[0])
        if len(fields) == 2:
            return text_of(fields[0]), self._between + text_of(fields[1])
        raise DataError(
            f"found {len(fields)} input columns; this encoder reads one text or a pair of them"
        )


class SubwordReader(TokenEncoder, Causal, ABC):
    """Base of encoders that read subwords.

    :param search: Folders in which relative paths are looked up.
    :param max_length: Longest text in subwords, special ones included; both texts of a pair together.
    :param stride: Read a longer text, or the second of a pair, in windows of ``max_length`` that
        overlap by this many subwords; 0: cut it. Each window is encoded separately.
    """

    subwords: Subwords

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        max_length: Annotated[int, Field(ge=8)] = 128,
        stride: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        self.search = search
        self.max_length = max_length
        self.stride = stride

    @override
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        return self.subwords.encode(rows)

    @property
    @override
    def detokenizer(self) -> Detokenizer:
        return self.subwords


def train(texts: Iterable[str], size: int) -> Tokenizer:
    """Learn subwords with marks at the start and end of each text; see ``train_byte_pairs``."""
    tokenizer = train_byte_pairs(texts, size, list(SPECIAL.values()))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", FIRST), ("[SEP]", LAST)],
    )
    return tokenizer


def texts_of(rows: Iterable[Fields]) -> Iterator[str]:
    """Return all texts of some rows; lists of words are joined as in ``Subwords``."""
    return (
        field.whole if isinstance(field, Prompt | Conversation) else text_of(field)
        for fields in rows
        for field in fields
    )


def _places(encoding: Encoding, field: int, before: int) -> tuple[list[int], list[int]]:
    """Return the characters at which each token starts and ends in a field; -1 for other tokens.

    :param before: Number of characters that were put in front of the field.
    """
    own = [sequence == field for sequence in encoding.sequence_ids] or [False]
    offsets = encoding.offsets or [(0, 0)]
    places = [
        (max(0, start - before), max(0, end - before)) if there else (-1, -1)
        for there, (start, end) in zip(own, offsets, strict=True)
    ]
    return [start for start, _ in places], [end for _, end in places]


def _first_tokens(
    encoding: Encoding, words: Sequence[str], field: int, start: int, cut: bool
) -> list[int]:
    """Return the first token of each word of a field.

    A word without a token, such as a control character, gets the token of the word before.

    :param start: The character at which the first word starts.
    :param cut: True if words without a token at the end were cut off.
    """
    spans = enumerate(zip(encoding.sequence_ids, encoding.offsets, strict=True))
    tokens = [(token, *span) for token, (sequence, span) in spans if sequence == field]
    ends = [end for _, _, end in tokens]
    first, found = 0, []
    for word in words:
        at, end = bisect_right(ends, start), start + len(word)
        if at == len(tokens) and cut:
            first = NO_WORD
        elif at < len(tokens) and tokens[at][1] < end:
            first = tokens[at][0]
        found.append(first)
        start = end + 1
    return found
