"""What every strategy of a comparison works with: the same rows, tasks and budget."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rich.console import Console

from polytask.analysis.linear import CountedTasks
from polytask.analysis.linear_strategies import count_rows
from polytask.build.data import TRAIN, VALIDATION, Data
from polytask.build.evaluation import held_out
from polytask.build.labels import Labels, TrainingFields
from polytask.build.model import new_encoder
from polytask.build.pools import training_pool
from polytask.build.scoring import metrics_of, poolings_of
from polytask.core.scratch import scratch_folder
from polytask.evaluation.score import Pooling
from polytask.recipe import Recipe
from polytask.tasks import Metric, Task


@dataclass(frozen=True)
class Comparison:
    """What every strategy works with.

    :param recipe: The experiment; its training section is the budget of every strategy.
    :param data: Rows, split and freed of leaks once for all strategies.
    :param tasks: Tasks fitted on the training rows, for their metrics.
    :param labels: What each of them may learn from.
    :param folder: Where runs and results are kept.
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
        """The poolings of which all tasks have rows that results are reported on."""
        return self.pooled_on(self.held_out)

    @property
    def held_out(self) -> str:
        """The split that results are reported on."""
        return held_out(self.data)

    @property
    def selects(self) -> bool:
        """Whether there are validation rows besides those that results are reported on."""
        return self.held_out != VALIDATION and bool(self.data.split(VALIDATION))

    def pooled_on(self, split: str) -> dict[str, Pooling]:
        """The poolings of which all tasks have rows in a split."""
        there = set(self.data.split(split))
        sections = self.recipe.tasks
        scored = [name for name in self.tasks if there & set(sections[name].sources)]
        return poolings_of(self.recipe, {name: self.tasks[name] for name in scored})

    def data_of(self, recipe: Recipe) -> Data:
        """The rows of some of the tasks, in the order in which all strategies have them."""
        tasks = [tuple(task for task in v.tasks if task in recipe.tasks) for v in self.data.views]
        views = zip(self.data.views, tasks, strict=True)
        return replace(self.data, views=[replace(view, tasks=own) for view, own in views if own])

    def recipe_of(self, tasks: Collection[str]) -> Recipe:
        """The recipe of some of the tasks, which selects by their average.

        Whichever task the whole recipe selects by may not be among them.
        """
        kept = {name: section for name, section in self.recipe.tasks.items() if name in tasks}
        pooled = {n: p for n, p in self.recipe.pooled.items() if set(p.tasks) <= kept.keys()}
        training = self.recipe.training.model_copy(update={"select": "average"})
        options = self.recipe.compare.model_copy(
            update={"groups": ()}
        )  # of tasks that are not here
        update = {"tasks": kept, "pooled": pooled, "training": training, "compare": options}
        return self.recipe.model_copy(update=update)

    def rows(self, task: str) -> int:
        """How many training rows a task has, those without a label included."""
        tables = self.data.split(TRAIN)
        rows = sum(len(tables[source]) for source in self.recipe.tasks[task].sources)
        return min(rows, self.recipe.tasks[task].limit or rows)

    def epoch_tokens(self, tasks: Collection[str]) -> int:
        """Tokens of one pass over the training rows that some of the tasks label."""
        return sum(n for readers, n in self._tokens.items() if readers & set(tasks))

    @cached_property
    def _tokens(self) -> dict[frozenset[str], int]:
        """Tokens of the training rows, by the tasks that label them, as the encoder counts them."""
        tables = self.data.split(TRAIN)
        fields = TrainingFields(self.data.views, tables, self.labels)
        found: dict[frozenset[str], int] = {}
        with scratch_folder() as scratch, self.console.status("counting tokens"):
            encoder = new_encoder(self.recipe, fields)
            for view in self.data.views:
                pool = training_pool(view, tables[view.source], encoder, self.labels, scratch)
                labelled = pool.labelled()
                for index, length in enumerate(pool.lengths_N.tolist()):
                    readers = frozenset(task for task, own_N in labelled.items() if own_N[index])
                    found[readers] = found.get(readers, 0) + length
        return found
