"""Prepared rows as texts, with the parts that a language model learns of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TypeAlias

import numpy as np

from polytask.core.capabilities import Causal
from polytask.core.encoder import Encoder
from polytask.core.prompts import LEARNED
from polytask.data.pools import Pool

LearnedText: TypeAlias = Sequence[tuple[str, bool]]
"""The parts of a row, marks included, and whether each is learned."""

_SHOWN = 3
"""Most rows that are shown."""


def learned_texts(pools: Sequence[Pool], encoder: Encoder) -> dict[str, LearnedText]:
    """Return the first learned row of some pools of prompts, by its place."""
    if not isinstance(encoder, Causal):
        return {}
    found: dict[str, LearnedText] = {}
    for pool in pools:
        if LEARNED not in pool.rows.column_names or not len(pool) or len(found) == _SHOWN:
            continue
        [row] = pool.fetch(np.zeros(1, dtype=np.int64))
        if row[LEARNED] is not None:
            tokens = zip(row["ids"], row[LEARNED], strict=True)
            found[f"{', '.join(pool.tasks)}, {pool.where(0)}"] = [
                (encoder.detokenizer.text([token for token, _ in run], marks=True), is_learned)
                for is_learned, run in groupby(tokens, key=lambda token: token[1] > 0)
            ]
    return found
