"""Reading of pretrained word vectors from published files."""

from __future__ import annotations

import contextlib
import gzip
import zipfile
import zlib
from array import array
from collections.abc import Collection
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from polytask.core.errors import DataError

Vectors = npt.NDArray[np.float32]
_LARGEST = float(np.finfo(np.float32).max)


def read_vectors(path: Path, words: Collection[str] | None = None) -> tuple[list[str], Vectors]:
    """Read word vectors.

    Text files, plain or ``.gz``: a word and its D numbers a line, as published by GloVe, with or
    without the first line "V D" of word2vec and fastText. ``.npz`` files: arrays ``words`` (V)
    and ``vectors`` (V, D). If a word occurs twice, the first vector counts.

    :param words: The words to keep; only their lines are checked. None: all words.
    :return: V words in the order of the file, and their vectors (V, D).
    :raises DataError: If the file cannot be read or a vector is not D finite numbers; the message names
        file and line.
    """
    wanted = None if words is None else frozenset(words)
    read = _read_arrays if path.suffix == ".npz" else _read_text
    try:
        return read(path, wanted)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as word vectors: {error}") from error


def _read_text(path: Path, wanted: frozenset[str] | None) -> tuple[list[str], Vectors]:
    """Read one word a line into one growing block, so that memory holds the numbers once."""
    words: dict[str, None] = {}
    numbers = array("f")
    with _open(path) as file:
        announced, width = _shape(_fields(file.readline()))
        if not width:
            raise DataError(f"{path}:1: expected a word and its numbers")
        if announced is None:
            file.seek(0)
        first = 1 if announced is None else 2
        line = first - 1
        for line, text in enumerate(file, start=first):
            fields = _fields(text)
            if not fields[0] or (wanted is not None and fields[0] not in wanted):
                continue
            word, vector = _entry(fields, width, f"{path}:{line}")
            if word not in words and (wanted is None or word in wanted):
                words[word] = None
                numbers.frombytes(vector.tobytes())
    if line - first + 1 < (announced or 0):
        raise DataError(f"{path}:1: announces {announced} words, the file ends after line {line}")
    return list(words), np.frombuffer(numbers, dtype=np.float32).reshape(-1, width)


def _open(path: Path) -> TextIO:
    """Return a text file, compressed or not, with line feeds as the only ends of lines."""
    # Published files hold a few bytes that are not UTF-8; no text contains the words with them.
    opener = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rt", encoding="utf-8", errors="replace", newline="\n")


def _fields(line: str) -> list[str]:
    """Return the parts of a line; a blank line is one empty part."""
    return line.rstrip(" \r\n").split(" ")


def _shape(first: list[str]) -> tuple[int | None, int]:
    """Return V, or None if the first line does not announce it, and D."""
    if len(first) == 2 and all(map(str.isdecimal, first)):
        return int(first[0]), int(first[1])
    return None, len(first) - 1


def _entry(fields: list[str], width: int, place: str) -> tuple[str, Vectors]:
    """Return the word and the vector of a line; a few published words contain spaces."""
    word, values = fields[:-width], fields[-width:]
    if not word or (len(word) > 1 and _is_number(word[-1])):
        raise DataError(
            f"{place}: expected {width} numbers, found {len(fields) - 1} after {fields[0]!r}"
        )
    with contextlib.suppress(ValueError), np.errstate(over="ignore"):
        vector = np.array(values, dtype=np.float32)
        if np.isfinite(vector).all():
            return " ".join(word), vector
    wrong = next(value for value in values if not _is_number(value))
    raise DataError(f"{place}: {wrong!r} after {' '.join(word)!r} is not a finite number")


def _is_number(text: str) -> bool:
    """Return whether a text is a finite fp32 number."""
    try:
        return abs(float(text)) <= _LARGEST
    except ValueError:
        return False


def _read_arrays(path: Path, wanted: frozenset[str] | None) -> tuple[list[str], Vectors]:
    """Read two arrays of equal length."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            words, vectors = arrays["words"], arrays["vectors"]
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: expected arrays 'words' and 'vectors': {error}") from error
    if vectors.ndim != 2 or words.shape != vectors.shape[:1] or words.dtype.kind != "U":
        raise DataError(
            f"{path}: expected words (V) of text and vectors (V, D), found words {words.shape} of"
            f" {words.dtype} and vectors {vectors.shape}"
        )
    first = {word: row for row, word in reversed(list(enumerate(words.tolist())))}
    rows = sorted(row for word, row in first.items() if wanted is None or word in wanted)
    kept = vectors[rows].astype(np.float32)
    if broken := np.flatnonzero(~np.isfinite(kept).all(axis=1)).tolist():
        raise DataError(f"{path}: vectors[{rows[broken[0]]}] holds a value that is not finite")
    return words[rows].tolist(), kept
