"""Assigns rows to splits: as the files say, or at random. The result is stored with the run.

An assignment has one number per row of every table of a source: the position in ``SPLITS`` of the
row's split. It is made once, written to the run folder, and read back afterwards. So no row moves
from test to train because of a changed default or a new version.
"""

from __future__ import annotations

import base64
import itertools
import random
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from polytask.core.errors import DataError, RunError
from polytask.core.files import read_json, write_json
from polytask.data.rare_labels import find_partly_labelled, share_labels
from polytask.data.sources.base import ALL, TEST, TRAIN, VALIDATION
from polytask.data.tables import Table

SPLITS = (TRAIN, VALIDATION, TEST)
Assignment = Mapping[str, npt.NDArray[np.uint8]]
"""For each table (train, validation, test, all), the position in ``SPLITS`` of each row's split."""

Rows = Sequence[int]
"""Indices of rows that stay together."""

_VALIDATION_SHARE = 0.1


class SplitOptions(BaseModel):
    """Options for dividing the rows of a source that has no splits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    validation: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Share of validation rows; 0.1 if the source has none.",
    )
    test: float | None = Field(
        default=None, ge=0, lt=1, description="Share of test rows; none if left out."
    )
    seed: int = Field(
        default=0, description="Decides which rows; the same seed always takes the same ones."
    )
    stratify: str | None = Field(
        default=None, description="Column whose values get the same share of every split."
    )
    group: str | None = Field(
        default=None,
        description="Column whose equal values stay together: a user, a document, a text.",
    )

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        if (self.validation or 0) + (self.test or 0) >= 1:
            raise ValueError("validation and test together leave no rows to train on")
        return self


def assign_splits(
    tables: Mapping[str, Table],
    options: SplitOptions | None = None,
    labelled: Sequence[str] = (),
) -> Assignment:
    """Decide the split of every row of a source.

    Tables named train, validation and test keep their rows. A missing validation or test split is
    taken from ``train``. A table named ``all`` is divided. Without test rows and without a share for
    test, there is no test split.

    :param labelled: Columns of labels. Unless ``stratify`` is set, rows with labels in the same
        columns form a stratum. Every split gets some labels of each column if there are enough.
    :raises DataError: If a share is given for a split that the source has, if a column is missing,
        or if a split would be empty.
    """
    options = options or SplitOptions()
    whole = {name: np.full(len(table), _code(name), np.uint8) for name, table in tables.items()}
    origin = ALL if ALL in tables else TRAIN
    shares = _shares(tables, options)
    if origin in tables and any(shares.values()):
        whole[origin] = _divide(tables[origin], shares, options, labelled)
    return whole


def take_splits(tables: Mapping[str, Table], assignment: Assignment) -> dict[str, Table]:
    """Return the tables of train, validation and test; those without rows are left out."""
    taken = {}
    for code, split in enumerate(SPLITS):
        for name, codes in assignment.items():
            indices = np.flatnonzero(codes == code)
            if len(indices):
                whole = len(indices) == len(codes)
                taken[split] = tables[name] if whole else tables[name].select(indices)
    return taken


def save_splits(path: Path, tables: Mapping[str, Table], assignment: Assignment) -> None:
    """Write an assignment as JSON, with the hashes of its tables."""
    record = {
        name: {
            "sha256": tables[name].sha256,
            "rows": len(codes),
            "splits": {split: int(np.sum(codes == code)) for code, split in enumerate(SPLITS)},
            "assignment": base64.b64encode(zlib.compress(codes.tobytes(), 9)).decode("ascii"),
        }
        for name, codes in assignment.items()
    }
    write_json(path, record)


def load_splits(path: Path, tables: Mapping[str, Table]) -> Assignment:
    """Read an assignment for the same tables.

    :raises DataError: If the data have changed since the assignment was made.
    :raises RunError: If the file is missing or damaged.
    """
    try:
        record = read_json(path)
        known = {name: (entry["sha256"], entry["rows"]) for name, entry in record.items()}
        assignment = {name: _codes(entry["assignment"]) for name, entry in record.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
        raise RunError(
            f"{path}: the file is missing or damaged ({error!r}); expected the splits of a run. "
            "Start a new run."
        ) from error
    found = {name: (table.sha256, len(table)) for name, table in tables.items()}
    changed = sorted(n for n in found.keys() | known.keys() if found.get(n) != known.get(n))
    if changed:
        files = ", ".join(file for name in changed if name in tables for file in tables[name].files)
        raise DataError(
            f"{path}: the data have changed since these splits were made: {', '.join(changed)} "
            f"({files or 'gone'}). Restore the files, or start a new run."
        )
    return assignment


def _codes(text: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)


def _code(name: str) -> int:
    return SPLITS.index(TRAIN if name == ALL else name)


def _shares(tables: Mapping[str, Table], options: SplitOptions) -> dict[str, float]:
    """Return the shares of the splits that have to be made."""
    for split, share in ((VALIDATION, options.validation), (TEST, options.test)):
        if share and split in tables:
            file = tables[split].files[0]
            raise DataError(
                f"{file}: the source has {split} rows, and split.{split} asks for a share of {share} "
                f"of the other rows; expected one of the two. Remove split.{split}."
            )
    default = 0.0 if VALIDATION in tables else _VALIDATION_SHARE
    validation = default if options.validation is None else options.validation
    return {TEST: options.test or 0.0, VALIDATION: validation}


def _divide(
    table: Table, shares: Mapping[str, float], options: SplitOptions, labelled: Sequence[str]
) -> npt.NDArray[np.uint8]:
    """Return the split of each row of a table, as positions in ``SPLITS``.

    Units (rows, or groups of rows) are visited stratum by stratum, in random order. A unit goes to
    the held-out split that lacks the most rows of its share so far. It goes to train if no split
    lacks at least half of the unit's size. So every stratum gets its share, up to rounding.
    """
    codes = np.full(len(table), _code(TRAIN), np.uint8)
    missing = dict.fromkeys(shares, 0.0)
    partly = find_partly_labelled(table, labelled)
    order = [*_walk(table, options, partly)]
    for first_of_label, rows in order:
        for split, share in shares.items():
            missing[split] += share * len(rows)
        split = max(missing, key=missing.__getitem__)
        if missing[split] >= len(rows) / 2 and not first_of_label:
            missing[split] -= len(rows)
            codes[rows] = _code(split)
    made = [_code(split) for split, share in [(TRAIN, 1.0), *shares.items()] if share]
    share_labels([rows for _, rows in order], partly.T, codes, made)
    _check_filled(table, codes, shares)
    return codes


def _walk(
    table: Table, options: SplitOptions, partly_NK: npt.NDArray[np.bool_]
) -> Iterator[tuple[bool, Rows]]:
    """Yield the rows that stay together, the largest stratum first, in random order inside each.

    The first unit of a label is kept for training, so that no label occurs in test alone. This does
    not hold for lists of labels: most combinations are rare, and the other splits would be empty.

    :param partly_NK: True for rows with a label, for each column that only some rows have one in.
    :return: Pairs: true if the unit is the first of its label, and the indices of its rows.
    """
    units = _units(table, options.group)
    if options.stratify:
        values = [_hashable(value) for value in table.column(options.stratify)]
    else:
        values = [*map(bytes, partly_NK)]
    strata = _strata(units, values)
    sizes = Counter(strata)
    rank = {stratum: place for place, (stratum, _) in enumerate(sizes.most_common())}
    # random() alone is documented to give the same numbers in every version of Python.
    draw = random.Random(options.seed).random
    order = sorted((rank[stratum], draw(), unit) for unit, stratum in enumerate(strata))
    for _, stratum_units in itertools.groupby(order, key=lambda entry: entry[0]):
        for place, (_, _, unit) in enumerate(stratum_units):
            is_label = options.stratify is not None and not isinstance(strata[unit], tuple)
            yield place == 0 and is_label, units[unit]


def _units(table: Table, group: str | None) -> list[Rows]:
    """Return the groups of rows that stay together; a row without a group is a unit by itself."""
    if group is None:
        return [(index,) for index in range(len(table))]
    members: dict[Any, list[int]] = {}
    for index, value in enumerate(table.column(group)):
        key = (index,) if value is None else repr(value)
        members.setdefault(key, []).append(index)
    return list(members.values())


def _strata(units: Sequence[Rows], values: Sequence[Any]) -> list[Any]:
    """Return the value of each unit: the most common value of its rows."""
    return [
        values[rows[0]]
        if len(rows) == 1
        else Counter(values[row] for row in rows).most_common(1)[0][0]
        for rows in units
    ]


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_hashable(item) for item in value)
    return repr(value) if isinstance(value, dict) else value


def _check_filled(table: Table, codes: npt.NDArray[np.uint8], shares: Mapping[str, float]) -> None:
    for split, share in [*shares.items(), (TRAIN, 1.0)]:
        if share and _code(split) not in codes:
            raise DataError(
                f"{table.files[0]}: {split} gets none of the {len(codes)} rows; expected at least "
                f"one. Set another share in split, or give files for each split."
            )
