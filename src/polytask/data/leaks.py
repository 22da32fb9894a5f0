"""Finds rows that are both in a training split and in a held-out split, over all sources.

A model that is trained on several sources sees the training rows of all of them. A test row can
therefore leak through another source. Rows are compared by their inputs alone: labels may differ.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from polytask.core.batch import Fields
from polytask.core.columns import file_content, is_file
from polytask.data.sources.base import TEST, TRAIN, VALIDATION

Keys = npt.NDArray[np.uint64]
"""One key per row; rows with equal inputs have equal keys."""

Indices = npt.NDArray[np.intp]
_KEY_BYTES = 8
_HELD_OUT = (VALIDATION, TEST)


def input_keys(rows: Iterable[Fields]) -> Keys:
    """Return a key per row, made of its input fields.

    Case, width (NFKC) and the amount of white space are ignored. A list of words equals its words
    joined by spaces. The order of fields counts. An image or a sound is compared by the content of
    its file. Keys have 64 bits: among a million rows, the probability that any two different inputs
    share a key is 3e-8.
    """
    return np.fromiter(map(_key, rows), np.uint64)


def _key(fields: Fields) -> int:
    # A normalised text holds no separator: U+001F counts as white space.
    content = "\x1f".join(map(_normalise, fields)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=_KEY_BYTES).digest(), "big")


def _normalise(field: Any) -> str:
    if isinstance(field, list) and all(isinstance(word, str) for word in field):
        field = " ".join(field)
    if is_file(field):
        return hashlib.blake2b(file_content(field)).hexdigest()
    if isinstance(field, str):
        return " ".join(unicodedata.normalize("NFKC", field).casefold().split())
    return json.dumps(field, sort_keys=True, default=_encode)


def _encode(value: Any) -> Any:
    """Return arrays and bytes in full, for JSON; their ``repr`` would be shortened."""
    if isinstance(value, bytes):
        return value.hex()
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else repr(value)


@dataclass(frozen=True)
class HeldOutLeaks:
    """The number of rows of a held-out split that are also in a training split.

    :param rows: Number of rows in the split.
    :param own_train: Number of rows that are in the training split of the same source.
    :param other_train: Number of rows that are in the training split of another source.
    :param any_train: Number of rows that are in any training split.
    """

    source: str
    split: str
    rows: int
    own_train: int
    other_train: int
    any_train: int


@dataclass(frozen=True)
class LeakReport:
    """The leaks found. To remove them, drop either ``train_rows`` or ``held_out_rows``.

    :param held_out: Counts of every held-out split.
    :param train_rows: By source, the training rows that are in a held-out split of any source.
    :param held_out_rows: By source and split, the held-out rows that are in any training split.
    """

    held_out: tuple[HeldOutLeaks, ...]
    train_rows: Mapping[str, Indices]
    held_out_rows: Mapping[tuple[str, str], Indices]

    def record(self) -> dict[str, Any]:
        """Return the counts as JSON."""
        return {
            "held_out": [asdict(leaks) for leaks in self.held_out],
            "train_rows": {source: len(rows) for source, rows in self.train_rows.items()},
        }

    def summary(self) -> str:
        """Return a line that describes the counts."""
        seen = [self._split_summary(split) for split in reversed(_HELD_OUT)]
        repeated = sum(map(len, self.train_rows.values()))
        return "; ".join([*filter(None, seen), f"{repeated} training rows repeat a held-out row"])

    def _split_summary(self, split: str) -> str:
        found = [leaks for leaks in self.held_out if leaks.split == split]
        if not found:
            return ""
        rows, seen = sum(leaks.rows for leaks in found), sum(leaks.any_train for leaks in found)
        own, other = sum(x.own_train for x in found), sum(x.other_train for x in found)
        where = f" ({own} of the same source, {other} of another)" if seen else ""
        return f"{seen} of {rows} {split} rows are in train{where}"


def find_leaks(keys: Mapping[tuple[str, str], Keys]) -> LeakReport:
    """Find held-out rows among the training rows of all sources.

    :param keys: By source and split, the keys of the rows; see ``input_keys``.
    """
    train = {source: rows for (source, split), rows in keys.items() if split == TRAIN}
    held_out = {place: rows for place, rows in keys.items() if place[1] in _HELD_OUT}
    # If a key is in the training rows of more sources than the row's own, another source has it.
    # Counting sources per key avoids a comparison of all pairs of sources.
    seen, sources = np.unique(_join_keys(map(np.unique, train.values())), return_counts=True)
    counts, held_out_rows = [], {}
    for (source, split), rows in held_out.items():
        own = np.isin(rows, train.get(source, _join_keys([])))
        everywhere = _look_up(rows, seen, sources)
        held_out_rows[source, split] = np.flatnonzero(everywhere)
        found = [int(np.count_nonzero(rows)) for rows in (own, everywhere > own, everywhere)]
        counts.append(HeldOutLeaks(source, split, len(rows), *found))
    withheld = _join_keys(held_out.values())
    train_rows = {name: np.flatnonzero(np.isin(rows, withheld)) for name, rows in train.items()}
    return LeakReport(tuple(counts), train_rows, held_out_rows)


def _join_keys(arrays: Iterable[Keys]) -> Keys:
    return np.concatenate([np.empty(0, np.uint64), *arrays])


def _look_up(rows: Keys, seen: Keys, counts: Indices) -> Indices:
    """Return the count of each key; 0 if it is not in ``seen``, which must be sorted."""
    places = np.searchsorted(seen, rows)
    known = np.isin(rows, seen)
    found = np.zeros(len(rows), np.intp)
    found[known] = counts[places[known]]
    return found
