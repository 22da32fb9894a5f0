"""Texts that are to be written, as tokens and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer

from polytask.core.byte_pairs import train_byte_pairs

PADDING, END = range(2)
_MARKS = ["[PAD]", "[END]"]


class TargetTokens:
    """Subwords of written texts, and one token for each task, which its texts start with.

    :param tokenizer: Has the marks and the tokens of the tasks first.
    :param names: The tasks, in the order of their tokens.
    """

    def __init__(self, tokenizer: Tokenizer, names: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.names = list(names)

    @classmethod
    def train(cls, texts: Iterable[str], size: int, names: Sequence[str]) -> TargetTokens:
        """Learn subwords from texts."""
        starts = [f"[{name}]" for name in names]
        return cls(train_byte_pairs(texts, size, [*_MARKS, *starts]), names)

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    def start(self, task: str) -> int:
        """Return the token that the texts of a task start with."""
        return len(_MARKS) + self.names.index(task)

    def encode(self, text: str, max_tokens: int) -> list[int]:
        """Return the tokens of a text with the end token; a text that is too long is cut, without it."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return [*ids, END][:max_tokens]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text up to the end mark."""
        kept = list(ids[: ids.index(END)]) if END in ids else list(ids)
        return self.tokenizer.decode(kept).removeprefix(" ")
