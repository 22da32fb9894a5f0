"""How a recipe's tasks read its sources."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from polytask.core.batch import Fields, Row
from polytask.core.columns import ColumnType, is_missing
from polytask.core.encoder import Encoder
from polytask.core.errors import DataError
from polytask.core.texts import ReadAs, texts_of_row
from polytask.data.augmentation.copying import Copying
from polytask.data.tables import Table
from polytask.data.text import TextStep, text_steps
from polytask.encoders import encoders
from polytask.recipe import Recipe
from polytask.recipe.mistakes import hint
from polytask.recipe.schema import TaskSection
from polytask.tasks import Task, metrics, tasks
from polytask.tasks.spans import parse_spans


@dataclass(frozen=True)
class View:
    """One way of reading a source: its input columns, and the tasks that label what is read.

    :param source: Name of the source.
    :param columns: Input columns, in the order the encoder gets them.
    :param tasks: Names of the tasks.
    :param read_as: Which texts of a row are encoded.
    :param located: Whether a task asks for the places of tokens in the last column.
    :param worded: The task that puts the rows into words, if there is one.
    :param copying: What makes changed copies of the rows of them, for training.
    :param groups: Columns that metrics form groups by.
    :param encoder: The class of the encoder, which declares the types that it reads.
    :param types: Types of the input columns; empty until a table has been read.
    """

    source: str
    columns: tuple[str, ...]
    tasks: tuple[str, ...]
    steps: tuple[TextStep, ...] = field(repr=False)
    read_as: ReadAs = "joined"
    located: bool = False
    worded: Task | None = field(default=None, repr=False)
    copying: Copying | None = field(default=None, repr=False)
    groups: tuple[str, ...] = ()
    encoder: type[Encoder] = field(default=Encoder, repr=False)
    types: Mapping[str, ColumnType] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.source}[{', '.join(self.columns)}]"

    def only(self, tasks: Collection[str]) -> View | None:
        """Return the view for some of its tasks; None if it has none of them."""
        own = tuple(task for task in self.tasks if task in tasks)
        return replace(self, tasks=own) if own else None

    def fields(self, row: Row) -> Fields:
        """Return the input columns of a row, text steps applied; marked spans as lists of their ends.

        :raises DataError: If the last column is to mark spans and does not.
        """
        fields = self._read_fields(row)
        fields = fields if self.copying is None else self._apply_copying(self.copying, fields)
        return (*fields[:-1], parse_spans(fields[-1])) if self.read_as == "marked" else fields

    def augment_label(self, task: Task, label: Any, row: Row) -> Any | None:
        """Return the label of a row, or of its copy; None for a copy that equals its row."""
        if self.copying is None:
            return label
        fields = self._read_fields(row)
        if self._apply_copying(self.copying, fields) == fields:
            return None
        return task.augment_label(label, self.copying.alignment(fields))

    def texts(self, row: Row, *, training: bool = False) -> list[Fields]:
        """Return the texts of a row that are encoded.

        :param training: Whether it is to be learned from.
        :raises DataError: If the columns are not what is expected of them.
        """
        if self.worded is not None:
            return self.worded.texts(row, self.fields(row), training=training)
        return texts_of_row(self.fields(row), self.read_as, located=self.located)

    def find_missing(self, row: Row) -> Iterator[str]:
        """Yield the mistake of each input column without a value, where the encoder needs one."""
        if self.encoder.accepts_missing:
            return
        for column in self.columns:
            if is_missing(row[column]):
                yield (
                    f"column {column!r} is null; expected something to read. Remove the row, or "
                    "name another column: input: NAME."
                )

    def require_columns(self, table: Table) -> None:
        """Refuse a table that lacks an input column or a group column, or in which it cannot be read.

        :raises DataError: Names the column, and the nearest one there is.
        """
        uses = dict.fromkeys(self.columns, "the input")
        uses |= dict.fromkeys(self.groups, "the group of metrics")
        for column, use in uses.items():
            if table.path_to(column) is None:
                raise DataError(
                    f"{table.files[0]}: no column {column!r}, {use} of {', '.join(self.tasks)}."
                    f"{hint(column, table.columns)} Columns: {', '.join(table.columns)}."
                )

        self._require_types(table)

    def _require_types(self, table: Table) -> None:
        """Refuse columns of types that the encoder does not read."""
        read = self.columns[: -1 if self.read_as == "marked" else None]
        for column in () if self.worded is not None else read:
            kind = table.type_of(column)
            if kind not in self.encoder.reads:
                able = [name for name in encoders.kinds() if kind in encoders.part(name).reads]
                raise DataError(
                    f"{table.files[0]}: column {column!r} holds {kind}; the encoder reads "
                    f"{', '.join(sorted(self.encoder.reads))}. Name another column: input: NAME, or "
                    f"an encoder that reads it: {', '.join(able) or 'there is none yet'}."
                )

    def of(self, table: Table) -> View:
        """Return the view with the types of the columns of a table."""
        there = [column for column in self.columns if table.path_to(column) is not None]
        return replace(self, types={column: table.type_of(column) for column in there})

    def _apply_copying(self, copying: Copying, fields: Fields) -> Fields:
        if self.read_as != "each":
            return copying.fields(fields)
        *front, items = fields  # a list of texts, not one of words
        copied = copying.fields((*front, *items))
        return (*copied[: len(front)], list(copied[len(front) :]))

    def _read_fields(self, row: Row) -> Fields:
        if missing := next(self.find_missing(row), None):
            raise DataError(missing)
        return tuple(self._apply_steps(column, row[column]) for column in self.columns)

    def _apply_steps(self, column: str, value: Any) -> Any:
        """Return a value with the text steps applied, if it is a text or a list of words."""
        if is_missing(value) or self.types.get(column, "text") not in ("text", "words"):
            return None if is_missing(value) else value
        if isinstance(value, str) or all(isinstance(word, str) for word in value):
            for step in self.steps:
                value = step(value)
        return value


def types_of(views: Iterable[View]) -> dict[str, ColumnType]:
    """Return what the input columns of views hold."""
    return {column: kind for view in views for column, kind in view.types.items()}


def new_task(name: str, section: TaskSection) -> Task:
    """Return a task of a recipe, not fitted yet."""
    task = tasks.build(section.part, name)
    task.set_columns(section.columns)
    return task


def views_of(recipe: Recipe) -> list[View]:
    """Return the views of a recipe; tasks that read the same columns of a source alike
    share one.
    """
    groups = _group_columns(recipe)
    views = _views(recipe, {name: task.sources for name, task in recipe.tasks.items()})
    return [
        replace(
            view, groups=tuple({column: None for task in view.tasks for column in groups[task]})
        )
        for view in views
    ]


def views_of_any(recipe: Recipe, name: str) -> list[View]:
    """Return how all tasks of a recipe, also tasks without data, read rows from elsewhere.

    :param name: The source name of the rows.
    """
    return _views(recipe, dict.fromkeys(recipe.tasks, (name,)))


def _group_columns(recipe: Recipe) -> dict[str, list[str]]:
    """Return the columns that the metrics of each task form groups by."""
    chosen = {name: [*(task.metrics or ())] for name, task in recipe.tasks.items()}
    for section in recipe.pooled.values():
        for name in section.tasks:
            chosen[name].append(section.metric)
    return {
        name: [metric.group for each in own if (metric := metrics.build(each, ())).group]
        for name, own in chosen.items()
    }


def _views(recipe: Recipe, sources: Mapping[str, Sequence[str]]) -> list[View]:
    readers: dict[tuple[str, tuple[str, ...], str, ReadAs], list[str]] = {}
    kinds = {name: tasks.part(task.part.kind) for name, task in recipe.tasks.items()}
    for name, task in recipe.tasks.items():
        own = "" if kinds[name].inputs.rows == "shared" else name
        for source in sources[name]:
            key = (source, task.columns, own, kinds[name].inputs.read_as)
            readers.setdefault(key, []).append(name)
    worded = {
        name: new_task(name, recipe.tasks[name])
        for name, kind in kinds.items()
        if kind.inputs.rows == "prompts"
    }
    steps = tuple(text_steps.build(options, recipe.search()) for options in recipe.text)
    return [
        View(
            source,
            columns,
            tuple(names),
            steps,
            read_as,
            any(kinds[n].inputs.needs_offsets for n in names),
            worded.get(names[0]),
            encoder=encoders.part(recipe.encoder.kind),
        )
        for (source, columns, _, read_as), names in readers.items()
    ]
