"""A recipe becomes a trained run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from polytask.assembly.data.accounts import merge_accounts, read_test_rows
from polytask.assembly.data.inputs import with_columns
from polytask.assembly.data.loading import Data, load_data
from polytask.assembly.data.notes import notes
from polytask.assembly.data.views import types_of
from polytask.assembly.model.assemble import save_columns, save_parts
from polytask.assembly.run.resuming import open_folder, refuse_begun, reopen
from polytask.assembly.run.run_metadata import final_facts, get_starting_facts
from polytask.assembly.run.training_parts import fit_parts, training_parts
from polytask.assembly.warm_start.parent_run import with_kept
from polytask.core.accounting import SHOWN_TASKS, Accounts, account_lines, records
from polytask.core.distributed import rank
from polytask.core.files import read_json, write_json, write_text
from polytask.core.run_folder import RunFolder
from polytask.core.scratch import scratch_folder
from polytask.recipe import Recipe, dump
from polytask.training.loop import train as run_loop
from polytask.training.processes import is_first, on_first
from polytask.training.randomness import seed_everything
from polytask.training.session import Session


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    data: Data | None = None,
    console: Console | None = None,
) -> RunFolder:
    """Train a recipe into a run folder.

    :param resume: Resume the training that the folder holds, if it holds one. How it is saved
        and followed, ``not_finite`` and ``patience`` may have changed, and epochs or steps may be
        more, also after the training has finished; the recipe in the folder then changes, too.
    :param data: The rows, where the caller has loaded and checked them; else they are loaded, and
        test rows are read to find mistakes before training.
    :raises RunError: If the folder holds something and ``resume`` is not set.
    :raises DataError: If a file, row or label does not fit; nothing has been written then.
    :raises InterruptedTrainingError: If a signal asked to stop; everything needed to resume is saved.
    """
    run = RunFolder(folder)
    recipe = with_columns(with_kept(recipe, run))
    console = (console or Console(stderr=True)) if is_first() else Console(quiet=True)
    started, finished = on_first(lambda: open_folder(run, recipe, resume=resume))
    if finished:
        return run
    with scratch_folder() as scratch:
        with console.status("reading and preparing rows"):
            read_tests = data is None and not started
            data = load_data(recipe, run.splits) if data is None else data
            session, begun = _session(recipe, run, data, scratch, started, read_tests)
        if not started and is_first():
            write_json(run.facts, {**get_starting_facts(session, data.facts()), **begun.facts})
            begun.show(console)
        run_loop(session, console)
    if is_first():
        write_json(run.facts, {**read_json(run.facts), **final_facts(session)})
    return run


@dataclass(frozen=True)
class _Begun:
    """Facts about a model and its data, known before the first step.

    :param origin: The parameters taken from another run.
    """

    origin: Mapping[str, Any]
    notes: Sequence[str]
    accounts: Accounts

    @property
    def facts(self) -> dict[str, Any]:
        """The same for ``run.json``."""
        origin = {"start": self.origin} if self.origin else {}
        return {**origin, "notes": [*self.notes], "rows": records(self.accounts)}

    def show(self, console: Console) -> None:
        """Print rows and notes."""
        rows = (f"rows: {line}" for line in account_lines(self.accounts, SHOWN_TASKS))
        for line in (*rows, *(f"note: {note}" for note in self.notes)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def _session(
    recipe: Recipe, run: RunFolder, data: Data, scratch: Path, started: bool, read_tests: bool
) -> tuple[Session, _Begun]:
    """Build the training; nothing is written if a row or label does not fit.

    :raises RunError: If another training has begun in the folder meanwhile.
    """
    options, begun_before = recipe.training, on_first(run.recipe.is_file)
    if options.threads:
        torch.set_num_threads(options.threads)
    seed_everything(options.seed)
    fitted = fit_parts(recipe, run, data, started=started)
    parts = training_parts(recipe, data, fitted, scratch)
    tested = read_test_rows(data, fitted.encoder, fitted.tasks) if read_tests else {}
    session = Session(parts, options, run)
    seed_everything(options.seed + rank())  # so that what came before does not matter
    if started:
        session.resume()
        on_first(lambda: reopen(recipe, run, session))
    if not begun_before:
        on_first(lambda: refuse_begun(run))
    if is_first():
        write_text(run.recipe, dump(recipe))  # first: from here on the folder can be resumed
    if is_first() and not started:
        data.keep_splits(run.splits)
        save_parts(run, fitted.encoder, session.model)
        save_columns(run, types_of(data.views))
        write_json(run.reach, session.partition.tasks_of)
    said = notes(recipe, data, fitted.encoder, fitted.tasks, parts.pools)
    begun = fitted.beginning
    accounts = merge_accounts(parts.accounts, tested)
    return session, _Begun(begun.facts, [*begun.notes, *said], accounts)
