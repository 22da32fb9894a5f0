"""How many rows of each task every split has, uses and leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from polytask.assembly.data.loading import TEST, Data
from polytask.assembly.data.scoring import evaluation_rows
from polytask.core.accounting import LEAK, Account, Accounts
from polytask.core.encoder import Encoder
from polytask.core.scratch import scratch_folder
from polytask.data.pools import Pool
from polytask.tasks import Task


def accounts_of(data: Data, pools: Mapping[str, Iterable[Pool]]) -> Accounts:
    """Add up the rows of all pools, and those that were dropped as leaks.

    :param pools: Prepared rows by split.
    :return: Task to split to account; a split without rows is absent.
    """
    found: dict[str, dict[str, Account]] = {task: {} for view in data.views for task in view.tasks}
    for split, own in pools.items():
        for pool in own:
            for task, account in pool.accounts.items():
                found[task].setdefault(split, Account()).add(account)
        for view in data.views:
            leaks = data.dropped.get((view.source, split))
            if leaks is not None:
                place = partial(str, leaks.example)
                for task in view.tasks:
                    account = found[task].setdefault(split, Account())
                    account.leave_out(LEAK, place, leaks.rows)
    return found


def merge_accounts(*parts: Accounts) -> Accounts:
    """Join accounts of different splits."""
    tasks = dict.fromkeys(task for part in parts for task in part)
    return {
        task: {split: own for part in parts for split, own in part.get(task, {}).items()}
        for task in tasks
    }


def read_test_rows(data: Data, encoder: Encoder, tasks: Mapping[str, Task]) -> Accounts:
    """Prepare the test rows as an evaluation will, so that mistakes in them are found before.

    :raises DataError: If a row or a label does not fit; names file and line.
    """
    with scratch_folder() as scratch:
        rows = evaluation_rows(data.views, data.split(TEST), encoder, tasks, scratch)
        return accounts_of(data, {TEST: rows.pools})
