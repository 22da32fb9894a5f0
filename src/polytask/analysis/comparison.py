"""The input of every strategy of a comparison: the same rows, tasks and budget."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from polytask.analysis.linear import CountedTasks
from polytask.analysis.linear_strategies import count_rows
from polytask.analysis.subset_recipe import compare_of, subset_balancing, subset_sharing
from polytask.assembly.data.accounts import accounts_of
from polytask.assembly.data.labels import Labels, TrainingFields
from polytask.assembly.data.loading import TEST, TRAIN, VALIDATION, Data
from polytask.assembly.data.pools import training_pool
from polytask.assembly.data.scoring import evaluation_rows, metrics_of, poolings_of
from polytask.assembly.model.assemble import new_encoder
from polytask.assembly.run.evaluation import held_out
from polytask.core.accounting import Accounts
from polytask.core.errors import RecipeError
from polytask.core.scratch import scratch_folder
from polytask.data.pools import Pool
from polytask.evaluation.score import Pooling
from polytask.recipe import Recipe
from polytask.tasks import Metric, Task


class Size(NamedTuple):
    """The size of some training rows."""

    rows: int
    tokens: int


class RowCounts(NamedTuple):
    """The rows of all splits, counted.

    :param sizes: Training rows by the tasks that label them.
    """

    sizes: Mapping[frozenset[str], Size]
    accounts: Accounts


@dataclass(frozen=True)
class Comparison:
    """The input of every strategy.

    :param recipe: The experiment; its training section is the budget of every strategy.
    :param data: Rows, split and freed of leaks once for all strategies.
    :param tasks: Tasks fitted on the training rows, for their metrics.
    :param labels: The labels that each task may learn from.
    :param folder: The folder of runs and results.
    """

    recipe: Recipe
    data: Data
    tasks: Mapping[str, Task]
    labels: Mapping[str, Labels]
    folder: Path
    console: Console

    @cached_property
    def counted(self) -> CountedTasks:
        """The terms of all rows, for the linear strategies."""
        return count_rows(self.recipe, self.data, self.tasks, self.labels)

    @cached_property
    def metrics(self) -> dict[str, list[Metric]]:
        """The metrics of every task; the first one stands for it."""
        return metrics_of(self.recipe, self.tasks)

    @cached_property
    def pooled(self) -> dict[str, Pooling]:
        """The poolings whose tasks all have held-out rows."""
        return self.poolings_on(self.held_out)

    @property
    def held_out(self) -> str:
        """The split that results are reported on."""
        return held_out(self.data)

    @property
    def selects(self) -> bool:
        """Whether there are validation rows besides the held-out rows."""
        return self.held_out != VALIDATION and bool(self.data.split(VALIDATION))

    def poolings_on(self, split: str) -> dict[str, Pooling]:
        """Return the poolings whose tasks all have rows in a split."""
        there = set(self.data.split(split))
        sections = self.recipe.tasks
        scored = [name for name in self.tasks if there & set(sections[name].sources)]
        return poolings_of(self.recipe, {name: self.tasks[name] for name in scored})

    def data_of(self, recipe: Recipe) -> Data:
        """Return the rows of the tasks of a recipe, in the same order for all strategies."""
        tasks = [tuple(task for task in v.tasks if task in recipe.tasks) for v in self.data.views]
        views = zip(self.data.views, tasks, strict=True)
        return replace(self.data, views=[replace(view, tasks=own) for view, own in views if own])

    def recipes_of(self, groups: Collection[Collection[str]]) -> dict[str, Recipe]:
        """Return a recipe per group; all groups together use as many tokens as the joint model.

        :return: Recipes by the names of their tasks, joined by ``+``.
        """
        everything = self.epoch_tokens(self.recipe.tasks)
        passes = everything / max(1, sum(map(self.epoch_tokens, groups)))
        return {"+".join(group): self.recipe_of(group, passes) for group in groups}

    def recipe_of(self, tasks: Collection[str], passes: float) -> Recipe:
        """Return the recipe of some of the tasks.

        It selects by their average, because the task that the whole recipe selects by may not be
        among them. It is validated as often as the joint model: more validations select better.

        :param passes: Passes over its rows, as a multiple of the passes of the joint model.
        :raises RecipeError: If a task reads the scores of a task that is left out.
        """
        self._require_read(tasks)
        kept = {name: section for name, section in self.recipe.tasks.items() if name in tasks}
        pooled = {n: p for n, p in self.recipe.pooled.items() if set(p.tasks) <= kept.keys()}
        training = self.recipe.training
        changed: dict[str, Any] = {
            "select": "average",
            "epochs": training.epochs * passes,
            "evaluate_every": training.evaluate_every * passes,
        }
        if training.steps is not None:
            share = passes * self._batches(tasks) / max(1, self._batches(self.recipe.tasks))
            changed["steps"] = max(1, round(share * training.steps))
        shorter = training.only(kept).model_copy(update=changed)
        update = {"tasks": kept, "pooled": pooled, "training": shorter}
        update |= {"balancing": subset_balancing(self.recipe, kept)}
        update |= {"sharing": subset_sharing(self.recipe, kept), "compare": compare_of(self.recipe)}
        return self.recipe.model_copy(update=update)

    def _require_read(self, tasks: Collection[str]) -> None:
        for name in tasks:
            for other in self.tasks[name].reads_scores:
                if other not in tasks:
                    text = f"{name} reads the scores of {other}, but a model is to hold it alone"
                    advice = "Leave out strategies and groups that separate them."
                    raise RecipeError([f"compare: {text}. {advice}"])

    def epoch_tokens(self, tasks: Collection[str]) -> int:
        """Return the tokens of one pass over the training rows that some of the tasks label."""
        return self._pass(tasks).tokens

    def _batches(self, tasks: Collection[str]) -> int:
        """Return the size of one pass in rows or tokens, whichever batches are filled by."""
        size = self._pass(tasks)
        return size.tokens if self.recipe.training.batch_rows is None else size.rows

    def _pass(self, tasks: Collection[str]) -> Size:
        wanted = set(tasks)
        sizes = [size for readers, size in self._prepared.sizes.items() if readers & wanted]
        return Size(sum(size.rows for size in sizes), sum(size.tokens for size in sizes))

    @property
    def accounts(self) -> Accounts:
        """The number of rows of each task that every split has and uses.

        :raises DataError: If a row or label of any split is invalid; it names file and line.
        """
        return self._prepared.accounts

    @cached_property
    def _prepared(self) -> RowCounts:
        """The sizes and accounts of all rows; computed once, as all rows are tokenized for it."""
        tables, views = self.data.split(TRAIN), self.data.views
        fields = TrainingFields(views, tables, self.labels)
        with scratch_folder() as scratch, self.console.status("reading and preparing rows"):
            encoder = new_encoder(self.recipe, fields, views)
            pools = {
                TRAIN: [
                    training_pool(view, tables[view.source], encoder, self.labels, scratch)
                    for view in views
                ]
            }
            for split in (VALIDATION, TEST):
                held_out = self.data.split(split)
                rows = evaluation_rows(views, held_out, encoder, self.tasks, scratch)
                pools[split] = rows.pools
            return RowCounts(_sizes(pools[TRAIN]), accounts_of(self.data, pools))


def _sizes(pools: Iterable[Pool]) -> dict[frozenset[str], Size]:
    """Count training rows, and tokens of the encoder, by the tasks that label the rows."""
    found: dict[frozenset[str], Size] = {}
    for pool in pools:
        labelled = pool.find_labelled_rows()
        for index, length in enumerate(pool.lengths_N.tolist()):
            readers = frozenset(task for task, own_N in labelled.items() if own_N[index])
            rows, tokens = found.get(readers, Size(0, 0))
            found[readers] = Size(rows + 1, tokens + length)
    return found
