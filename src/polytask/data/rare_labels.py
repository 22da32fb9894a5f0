"""Gives every split some labels of columns in which few rows have one.

If 6 of 200 rows have a label, a random tenth of the rows contains no label half of the time. Then no
score can be computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from polytask.data.tables import Table

_ENOUGH_FOR_TWO = 6
"""With this many labelled rows, every split gets two: a correlation needs two."""


def find_partly_labelled(table: Table, columns: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return an (N, K) mask of the rows with a label, for the K columns with labels in some rows."""
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
    """Move rows so that every split has labels of each column: one, or two of six or more.

    A row does not move if its split would then have fewer labels than the split it goes to.

    :param units: Rows that stay together; the last units move first.
    :param labelled_KN: Mask of the rows with a label, for each column.
    :param codes_N: The split of every row; changed in place.
    :param made: The splits to fill.
    """
    for labelled_N in labelled_KN:
        total = int(labelled_N.sum())
        wanted = min(total // len(made), 2 if total >= _ENOUGH_FOR_TWO else 1)
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
