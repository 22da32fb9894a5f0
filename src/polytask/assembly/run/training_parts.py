"""A recipe's model, batches and validation, ready to be trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from polytask.assembly.data.accounts import accounts_of
from polytask.assembly.data.augmentation import Augmentations
from polytask.assembly.data.labels import Labels, TrainingFields, fit_tasks, labels_of
from polytask.assembly.data.loading import TRAIN, VALIDATION, Data
from polytask.assembly.data.pools import collation, training_pool
from polytask.assembly.data.scoring import EvaluationRows, evaluation_rows, metrics_of, poolings_of
from polytask.assembly.model.assemble import new_tasks, reassemble, restore_parts
from polytask.assembly.run.back_translation import answer
from polytask.assembly.run.start_scores import add_start_scores
from polytask.assembly.warm_start.warm_start import Beginning, begin, freeze_again
from polytask.balancing import balancers
from polytask.core.encoder import Encoder
from polytask.core.errors import DataError, RecipeError
from polytask.core.run_folder import RunFolder
from polytask.data.loader import Loader
from polytask.data.mixing import mixtures
from polytask.data.pools import Collation, Pool, collate
from polytask.data.prepared_rows import PreparedRow
from polytask.data.sampler import BatchSize
from polytask.evaluation.options import EvaluationOptions
from polytask.evaluation.predict import Predictor
from polytask.evaluation.score import Pooling, score
from polytask.recipe import Recipe
from polytask.recipe.mistakes import hint
from polytask.tasks import Metric, Task
from polytask.training.precision import FloatPrecision, select_device
from polytask.training.selection import Criterion, Scores
from polytask.training.session import Parts


@dataclass(frozen=True)
class Fitted:
    """A model whose encoder and tasks know their vocabulary and labels.

    :param labels: The labels that each trained task may learn from.
    :param augmentation: What training sees besides the rows as they are.
    :param run: The run, or a scratch folder.
    :param started: Whether the training has begun.
    """

    beginning: Beginning
    labels: dict[str, Labels]
    augmentation: Augmentations
    run: RunFolder
    started: bool

    @property
    def encoder(self) -> Encoder:
        """The encoder that prepares rows."""
        return self.beginning.encoder

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks that are trained."""
        return self.beginning.model.trained_tasks


def fit_parts(recipe: Recipe, run: RunFolder, data: Data, *, started: bool) -> Fitted:
    """Return the model that a recipe begins with, or a run's model without its stored parameters."""
    tables = data.split(TRAIN)
    if started:
        encoder, tasks = restore_parts(recipe, run)
        model = reassemble(recipe, run, encoder, tasks)
        freeze_again(run, model)
        labels = labels_of(recipe, model.trained_tasks, tables)
        rows = TrainingFields(data.views, tables, labels)
        augmentation = Augmentations.of(recipe, rows, answer)
        return Fitted(Beginning(encoder, model), labels, augmentation, run, started)
    tasks = new_tasks(recipe)
    labels = fit_tasks(recipe, {name: tasks[name] for name in recipe.trained}, tables)
    augmentation = Augmentations.of(recipe, TrainingFields(data.views, tables, labels), answer)
    fields = TrainingFields(augmentation.with_copies(data.views), tables, labels)
    with fields.at_last():
        beginning = begin(recipe, tasks, fields, data.views)
        return Fitted(beginning, labels, augmentation, run, started)


def training_parts(recipe: Recipe, data: Data, fitted: Fitted, scratch: Path) -> Parts:
    """Return the parts that a training session needs.

    :param scratch: Where prepared rows are kept.
    """
    encoder, tasks, options = fitted.encoder, fitted.tasks, recipe.training
    tables, copies = data.split(TRAIN), fitted.augmentation.copies
    pools = [
        training_pool(view, tables[view.source], encoder, fitted.labels, scratch, copies(view))
        for view in data.views
    ]
    fitted.augmentation.attach(fitted.beginning.model)
    collated = collation(encoder, tasks)
    if any(task.reads_start for task in tasks.values()):
        start, file = _predictor(recipe, fitted, collated), fitted.run.start_scores
        pools = add_start_scores(pools, start, file, started=fitted.started)
    rows = evaluation_rows(data.views, data.split(VALIDATION), encoder, tasks, scratch)
    size = BatchSize(options.batch_tokens, options.batch_rows)
    mixture = mixtures.build(recipe.mixing)
    loader = Loader(pools, collated, mixture, size=size, seed=options.seed, workers=options.workers)
    balancer = balancers.build(recipe.balancing, len(tasks))
    validated = {name: tasks[name] for name in rows.tasks}
    metrics = metrics_of(recipe, tasks)
    pooled = poolings_of(recipe, validated)
    measured = {name: metrics[name] for name in validated}
    measured |= {name: [pooling.metric] for name, pooling in pooled.items()}
    criterion = Criterion.of(measured, options.select)
    _check_selection(criterion)
    return Parts(
        model=fitted.beginning.model,
        balancer=balancer,
        loader=loader,
        pools=pools,
        guide=_guide(recipe, data, fitted, scratch) if "validation" in balancer.needs else None,
        collation=collated,
        probe=collate(_probe_rows(pools, tasks), collated),
        validate=partial(_validate, rows, metrics, pooled),
        criterion=criterion,
        accounts=accounts_of(data, {TRAIN: pools, VALIDATION: rows.pools}),
    )


def _predictor(recipe: Recipe, fitted: Fitted, collated: Collation) -> Predictor:
    """Return the model before training, on the device and in the precision of the training."""
    options = recipe.training
    device = select_device(options.device)
    precision = FloatPrecision.choose(options.precision, device)
    model = fitted.beginning.model.to(device)
    return Predictor(model, collated, device, options.batch_tokens, precision.autocast)


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
    collated = collation(fitted.encoder, fitted.tasks).without_draws()
    size = BatchSize(options.batch_tokens, options.batch_rows)
    return Loader(pools, collated, mixtures.build("proportional"), size=size, seed=options.seed)


def _check_selection(criterion: Criterion) -> None:
    """Refuse a metric that is not measured; which are is only known once the tasks are fitted."""
    select, metrics = criterion.select, criterion.higher_is_better
    name, _, metric = select.rpartition(".")
    if select != "average" and metric not in metrics.get(name, {}):
        known = [f"{measured}.{each}" for measured, own in metrics.items() for each in own]
        raise RecipeError(
            [
                f"training.select: nothing called {select!r} is measured on validation rows."
                f"{hint(select, known)} Known: {', '.join(['average', *known])}."
            ]
        )


def _probe_rows(pools: Sequence[Pool], tasks: Mapping[str, Task]) -> list[PreparedRow]:
    """Return a few rows in which every task has a label.

    :raises DataError: If a task has no labelled training row.
    """
    found: dict[str, PreparedRow] = {}
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
    metrics: Mapping[str, Sequence[Metric]],
    pooled: Mapping[str, Pooling],
    predictor: Predictor,
) -> Scores:
    """Scores of the validation rows, without intervals."""
    outcomes = rows.outcomes(predictor(rows.pools))
    return score(outcomes, metrics, pooled, EvaluationOptions(bootstrap=0, confidence=0.95))
