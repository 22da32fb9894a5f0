"""Labels that few rows have: every split gets some of them.

Of 200 rows with 6 labels, a tenth drawn at random has no label every second time, and then nothing
can be measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from polytask.data.tables import Table

_ENOUGH = 6
"""Labelled rows from which on every split gets two, as a correlation needs."""


def partly_labelled(table: Table, columns: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which of N rows have a label, for each of K columns that only some rows have one in."""
    known = [name for name in dict.fromkeys(columns) if name in table.columns]
    found = [[value not in (None, "") for value in table.column(name)] for name in known]
    there = [np.array(each) for each in found if any(each) and not all(each)]
    return np.stack(there, axis=1) if there else np.zeros((len(table), 0), np.bool_)


def share_labels(
    units: Sequence[Sequence[int]],
    labelled_KN: npt.NDArray[np.bool_],
    codes_N: npt.NDArray[np.uint8],
    made: Sequence[int],
) -> None:
    """Move rows so that every split has labels of each column: one if possible, two of six or more.

    No row leaves a split that would then have fewer labels than the one it goes to.

    :param units: Rows that stay together; the last ones move first.
    :param codes_N: The split of every row; changed in place.
    :param made: The splits that there are.
    """
    for labelled_N in labelled_KN:
        total = int(labelled_N.sum())
        wanted = min(total // len(made), 2 if total >= _ENOUGH else 1)
        own = [rows for rows in units if labelled_N[[*rows]].any()]
        counts = np.bincount(codes_N[labelled_N], minlength=max(made) + 1)
        for split in made:
            for rows in reversed(own):
                if counts[split] >= wanted:
                    break
                origin, size = codes_N[rows[0]], labelled_N[[*rows]].sum()
                if counts[origin] - size >= counts[split] + size:
                    codes_N[[*rows]] = split
                    counts[origin] -= size
                    counts[split] += size
