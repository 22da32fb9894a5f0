"""Rows of every type of column, and all encoders: the registered ones, and strangers.

``Encoder.reads`` chooses the rows. Strangers are not registered; they stand for kinds of input that no
registered encoder reads.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polytask.core.batch import Fields, Inputs
from polytask.core.collated import Collated
from polytask.core.columns import Column, ColumnType
from polytask.core.encoder import Encoder
from polytask.encoders import encoders
from tests.fakes import Cells, Pictures, Sounds

LIMIT = 16
TINY_BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "bag": {"dimension": 8, "hidden": [12, 6], "min_count": 1, "max_length": LIMIT},
    "tfidf": {"hidden": [8, 6], "min_count": 1},
    "cnn": {"dimension": 8, "filters": 5, "min_count": 1, "max_length": LIMIT},
    "bilstm": {"dimension": 8, "hidden": 5, "layers": 2, "min_count": 1, "max_length": LIMIT},
    "transformer": {
        "layers": 2,
        "width": 16,
        "heads": 2,
        "feed_forward": 24,
        "vocabulary": 400,
        "max_length": LIMIT,
    },
    "neural_n_gram": {"dimension": 8, "width": 10, "vocabulary": 400, "max_length": LIMIT},
    "huggingface": {"config": TINY_BERT, "vocabulary": 400, "max_length": LIMIT},
}
"""Small sizes; an encoder that is not here has its defaults."""

STRANGERS: Mapping[str, Callable[[], Encoder]] = {
    "pictures": Pictures,
    "sounds": Sounds,
    "cells": Cells,
}
TEXTS = [
    "the cat sat on the mat",
    "",
    "a dog",
    "good 😀 film\u2028really , really good",
    "我喜欢这部电影，太好看了！",
    "naïve café e\u0301te\u0301 हिन्दी",
    "zyzzyva quux",
    " \t\n",
]


def png(pixels: NDArray[np.uint8]) -> dict[str, Any]:
    """Return a picture as it is stored: in grey, or with three colours."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def wav(samples: NDArray[np.float64]) -> dict[str, Any]:
    """Return a sound as it is stored: 8000 samples a second, between -32768 and 32767."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(samples.astype("<i2").tobytes())
    return {"bytes": file.getvalue(), "path": None}


def _picture(seed: int) -> dict[str, Any]:
    shape = (12 + seed, 20) if seed == 0 else (12 + seed, 20, 3)
    return png(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def _sound(seed: int) -> dict[str, Any]:
    return wav(np.random.default_rng(seed).normal(0, 3000, 400 + 250 * seed))


class Form(NamedTuple):
    """Rows of one form.

    :param types: The types of their columns.
    """

    types: tuple[ColumnType, ...]
    rows: list[Fields]


_NUMBERS = [(0.5, -1.0, 2), (1.5, 0.0, -2), (3.0, 1.0, 5), (-1.0, 4.0, 8), (-1.0, 4.0, 1000)]
_CATEGORIES = [("red", True), ("blue", True), ("red", False), ("blue", False), ("green", True)]
FORMS: Mapping[str, Form] = {
    "text": Form(("text",), [(text,) for text in TEXTS]),
    "words": Form(("words",), [(text.split(),) for text in TEXTS]),
    "pair": Form(("text", "text"), [*zip(TEXTS, reversed(TEXTS), strict=True)]),
    "words and text": Form(
        ("words", "text"), [(text.split(), other) for text, other in pairwise(TEXTS)]
    ),
    "image": Form(("image",), [(_picture(seed),) for seed in range(6)]),
    "audio": Form(("audio",), [(_sound(seed),) for seed in range(6)]),
    "number": Form(("number",) * 3, [*_NUMBERS]),
    "category": Form(("category",) * 2, [*_CATEGORIES]),
    "number and category": Form(
        ("number", "number", "number", "category", "category"),
        [
            (*numbers, *categories)
            for numbers, categories in zip(_NUMBERS, _CATEGORIES, strict=True)
        ],
    ),
    "ids": Form(("ids",), [([3, 1, 2],), ([1],), ([2, 2],), ([1, 3],), ([2, 1, 3, 3],)]),
    "array": Form(("array",), [([place / 2, 1.0 - place],) for place in range(5)]),
}
"""The last row has words, and categories, that ``fit`` does not see."""


def part(kind: str) -> Any:
    """Return the class of an encoder."""
    return STRANGERS.get(kind) or encoders.part(kind)


KINDS = [*encoders.kinds(), *STRANGERS]


def forms_of(kind: str) -> tuple[str, ...]:
    """Return the forms of rows that an encoder reads."""
    return tuple(name for name, form in FORMS.items() if {*form.types} <= part(kind).reads)


def rows_of(kind: str, form: str) -> list[Fields]:
    """Return rows of a form, with missing values where an encoder accepts them."""
    rows = FORMS[form].rows
    if not part(kind).accepts_missing:
        return rows
    return [(None, *rows[0][1:]), (None,) * len(rows[0]), *rows]


def new(kind: str, form: str) -> Encoder:
    """Return an encoder that has been told its columns."""
    stranger = STRANGERS.get(kind)
    options = {"kind": kind, **OPTIONS.get(kind, {})}
    encoder = stranger() if stranger else encoders.build(options, ())
    encoder.set_columns([Column(f"c{at}", type_) for at, type_ in enumerate(FORMS[form].types)])
    return encoder


def collate(encoder: Encoder, prepared: Sequence[Inputs]) -> Collated:
    """Return prepared rows as they are read in evaluation, as tensors."""
    return encoder.collate([encoder.read(row, None) for row in prepared])
