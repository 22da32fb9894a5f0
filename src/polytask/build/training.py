"""A recipe becomes a trained run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from polytask.balancing import balancers
from polytask.balancing.engine.processes import rank
from polytask.build.augmentation import Augmentations
from polytask.build.data import TRAIN, VALIDATION, Data, load_data
from polytask.build.facts import final_facts, starting_facts
from polytask.build.labels import Labels, TrainingFields, fit_tasks, labels_of
from polytask.build.model import new_tasks, reassemble, restore_parts, save_parts
from polytask.build.notes import notes
from polytask.build.origin import with_kept
from polytask.build.pools import collation, training_pool
from polytask.build.resuming import open_folder, reopen
from polytask.build.scoring import EvaluationRows, evaluation_rows, metrics_of, poolings_of
from polytask.build.start import Beginning, begin, freeze_again
from polytask.core.encoder import Encoder
from polytask.core.errors import DataError, RecipeError
from polytask.core.files import read_json, write_json, write_text
from polytask.core.run_folder import RunFolder
from polytask.core.scratch import scratch_folder
from polytask.data.loader import Loader
from polytask.data.mixing import mixtures
from polytask.data.pools import Pool, collate
from polytask.data.sampler import BatchSize
from polytask.evaluation.options import EvaluationOptions
from polytask.evaluation.predict import Predictor
from polytask.evaluation.score import Pooling, score
from polytask.recipe import Recipe, dump
from polytask.recipe.mistakes import hint
from polytask.tasks import Metric, Task
from polytask.training.loop import train as run_loop
from polytask.training.processes import is_first, on_first
from polytask.training.randomness import seed_everything
from polytask.training.selection import Criterion, Scores
from polytask.training.session import Parts, Session


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
    :param data: The rows, where the caller has loaded them; else they are loaded.
    :raises RunError: If the folder holds something and ``resume`` is not set.
    :raises DataError: If a file, row or label does not fit; nothing has been written then.
    :raises InterruptedTrainingError: If a signal asked to stop; everything needed to resume is saved.
    """
    run = RunFolder(folder)
    recipe = with_kept(recipe, run)
    console = (console or Console(stderr=True)) if is_first() else Console(quiet=True)
    started, finished = on_first(lambda: open_folder(run, recipe, resume=resume))
    if finished:
        return run
    with scratch_folder() as scratch:
        with console.status("reading and preparing rows"):
            data = load_data(recipe, run.splits) if data is None else data
            session, facts = _session(recipe, run, data, scratch, started=started)
        if not started and is_first():
            write_json(run.facts, {**starting_facts(session, data.facts()), **facts})
            for note in facts["notes"]:
                console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
        run_loop(session, console)
    if is_first():
        write_json(run.facts, {**read_json(run.facts), **final_facts(session)})
    return run


@dataclass(frozen=True)
class Fitted:
    """A model whose encoder and tasks know their vocabulary and labels.

    :param labels: What the tasks that are trained may learn from.
    :param augmentation: What training sees besides the rows as they are.
    """

    beginning: Beginning
    labels: dict[str, Labels]
    augmentation: Augmentations

    @property
    def encoder(self) -> Encoder:
        """The encoder that prepares rows."""
        return self.beginning.encoder

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks that are trained."""
        return self.beginning.model.trained_tasks


def _session(
    recipe: Recipe, run: RunFolder, data: Data, scratch: Path, *, started: bool
) -> tuple[Session, dict[str, Any]]:
    """The training, and what is known about its model and data for ``run.json``."""
    options = recipe.training
    if options.threads:
        torch.set_num_threads(options.threads)
    seed_everything(options.seed)
    fitted = fitted_parts(recipe, run, data, started=started)
    parts = training_parts(recipe, data, fitted, scratch)
    session = Session(parts, options, run)
    seed_everything(options.seed + rank())  # so that what came before does not matter
    if started:
        session.resume()
        on_first(lambda: reopen(recipe, run, session))
    if is_first():
        write_text(run.recipe, dump(recipe))  # first: from here on the folder can be resumed
    if is_first() and not started:
        data.keep_splits(run.splits)
        save_parts(run, fitted.encoder, session.model)
        write_json(run.reach, session.partition.tasks_of)
    said = notes(recipe, data, fitted.tasks, parts.loader.pools)
    begun = fitted.beginning
    origin = {"start": begun.facts} if begun.facts else {}
    return session, {**origin, "notes": [*begun.notes, *said]}


def fitted_parts(recipe: Recipe, run: RunFolder, data: Data, *, started: bool) -> Fitted:
    """The model that a recipe begins with, or that of a run without the parameters it stores."""
    tables = data.split(TRAIN)
    if started:
        encoder, tasks = restore_parts(recipe, run)
        model = reassemble(recipe, run, encoder, tasks)
        freeze_again(run, model)
        labels = labels_of(recipe, model.trained_tasks, tables)
        rows = TrainingFields(data.views, tables, labels)
        return Fitted(Beginning(encoder, model), labels, Augmentations.of(recipe, rows))
    tasks = new_tasks(recipe)
    labels = fit_tasks(recipe, {name: tasks[name] for name in recipe.trained}, tables)
    augmentation = Augmentations.of(recipe, TrainingFields(data.views, tables, labels))
    fields = TrainingFields(augmentation.with_copies(data.views), tables, labels)
    with fields.at_last():
        return Fitted(begin(recipe, tasks, fields), labels, augmentation)


def training_parts(recipe: Recipe, data: Data, fitted: Fitted, scratch: Path) -> Parts:
    """What a training of a model needs.

    :param scratch: Where prepared rows are kept.
    """
    encoder, tasks, options = fitted.encoder, fitted.tasks, recipe.training
    tables, copies = data.split(TRAIN), fitted.augmentation.copies
    pools = [
        training_pool(view, tables[view.source], encoder, fitted.labels, scratch, copies(view))
        for view in data.views
    ]
    fitted.augmentation.attach(fitted.beginning.model)
    rows = evaluation_rows(data.views, data.split(VALIDATION), encoder, tasks, scratch)
    collated = collation(encoder, tasks)
    size = BatchSize(options.batch_tokens, options.batch_rows)
    mixture = mixtures.build(recipe.mixing)
    loader = Loader(pools, collated, mixture, size=size, seed=options.seed)
    balancer = balancers.build(recipe.balancing, len(tasks))
    validated = {name: tasks[name] for name in rows.tasks}
    metrics = metrics_of(recipe, tasks)
    pooled = poolings_of(recipe, validated)
    measured = {name: metrics[name] for name in validated}
    measured |= {name: [pooling.metric] for name, pooling in pooled.items()}
    higher = {name: {m.name: m.higher_is_better for m in own} for name, own in measured.items()}
    _check_selection(options.select, higher)
    return Parts(
        model=fitted.beginning.model,
        balancer=balancer,
        loader=loader,
        guide=_guide(recipe, data, fitted, scratch) if "validation" in balancer.needs else None,
        collation=collated,
        probe=collate(_probe_rows(pools, tasks), collated),
        validate=partial(_validate, rows, tasks, metrics, pooled),
        criterion=Criterion(higher, options.select),
    )


def _guide(recipe: Recipe, data: Data, fitted: Fitted, scratch: Path) -> Loader:
    """Labelled validation rows, for a method that learns weights from them."""
    tables, options = data.split(VALIDATION), recipe.training
    labels = {name: Labels(task) for name, task in fitted.tasks.items()}
    folder = scratch / "guide"
    folder.mkdir()
    pools = [
        training_pool(view, tables[view.source], fitted.encoder, labels, folder)
        for view in data.views
        if view.source in tables
    ]
    if not pools:
        raise RecipeError(
            [
                f"balancing: {recipe.balancing.kind} learns from validation rows, and there are "
                "none. Give the data a validation file, or split: {validation: 0.1}."
            ]
        )
    collated = collation(fitted.encoder, fitted.tasks)
    size = BatchSize(options.batch_tokens, options.batch_rows)
    return Loader(pools, collated, mixtures.build("proportional"), size=size, seed=options.seed)


def _check_selection(select: str, metrics: Mapping[str, Mapping[str, bool]]) -> None:
    """Refuse a metric that is not measured; which are is only known once the tasks are fitted."""
    name, _, metric = select.rpartition(".")
    if select != "average" and metric not in metrics.get(name, {}):
        known = [f"{measured}.{each}" for measured, own in metrics.items() for each in own]
        raise RecipeError(
            [
                f"training.select: nothing called {select!r} is measured on validation rows."
                f"{hint(select, known)} Known: {', '.join(['average', *known])}."
            ]
        )


def _probe_rows(pools: Sequence[Pool], tasks: Mapping[str, Task]) -> list[dict[str, Any]]:
    """A few rows in which every task has a label.

    :raises DataError: If a task has no labelled training row.
    """
    found: dict[str, dict[str, Any]] = {}
    for pool in pools:
        for index in range(len(pool)):
            wanted = [task for task in pool.tasks if task not in found]
            if not wanted:
                break
            [row] = pool.fetch(np.array([index]))
            found.update({task: row for task in wanted if row.get(f"target:{task}") is not None})
    for task in tasks:
        if task not in found:
            raise DataError(
                f"tasks.{task}: no training row has a label for it. Look at its target column, "
                "its limit and its labels."
            )
    return list({id(row): row for row in found.values()}.values())


def _validate(
    rows: EvaluationRows,
    tasks: Mapping[str, Task],
    metrics: Mapping[str, Sequence[Metric]],
    pooled: Mapping[str, Pooling],
    predictor: Predictor,
) -> Scores:
    """Scores of the validation rows, without intervals."""
    outcomes = rows.outcomes(tasks, predictor(rows.pools))
    return score(outcomes, metrics, pooled, EvaluationOptions(bootstrap=0, confidence=0.95))
