"""Prompts and their completions as subwords."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from polytask.core.batch import Inputs
from polytask.core.prompts import LEARNED, Prompt


def special_ids_around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the special ids that a tokenizer puts before a text, and after it."""
    encoding = tokenizer.encode("a")
    special = encoding.special_tokens_mask
    if 0 not in special:
        return [], []
    first = special.index(0)
    last = len(special) - special[::-1].index(0)
    return encoding.ids[:first], encoding.ids[last:]


def encode_prompts(
    tokenizer: Tokenizer, prompts: Sequence[Prompt], max_length: int, end: int
) -> list[Inputs]:
    """Tokenise prompts and completions: the start mark, the prompt, the completion, the end.

    A row that is too long loses the start of its prompt. A completion that is too long for a row
    keeps its first tokens.

    :param tokenizer: A tokenizer without truncation.
    :param max_length: Most tokens of a row.
    :param end: The id after a completion.
    """
    # Prompt and completion are tokenised separately: a token across their border would differ between
    # training and generation.
    begin, _ = special_ids_around(tokenizer)
    texts = [text for one in prompts for text in (one.text, one.completion or "")]
    encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    ids = iter([one.ids for one in encoded])
    rows = []
    for prompt in prompts:
        before, after = next(ids), next(ids)
        said = [] if prompt.completion is None else [*after, end]
        room = max(1, max_length - len(begin) - 1)
        kept = said[:room]
        left = max(1, max_length - len(begin) - max(len(kept), prompt.room))
        front = [*begin, *before[-left:]] or [end]
        cut = len(before) > left or len(said) > room
        learned = [0.0] * len(front) + [1.0] * len(kept)
        rows.append({"ids": [*front, *kept], LEARNED: learned, "cut": int(cut)})
    return rows
