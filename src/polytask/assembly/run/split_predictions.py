"""The answers of a model on the rows of a split, and the files that they are written to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from polytask.assembly.data.scoring import ScoredRows
from polytask.core.columns import show_value
from polytask.core.files import atomic_writer
from polytask.data.rows import each_row
from polytask.data.sources import sources
from polytask.data.sources.annotated import AnnotatedSource
from polytask.data.tables import Table
from polytask.recipe import Recipe
from polytask.tasks import Predictions, Task
from polytask.tasks.answered import AnsweredRow


@dataclass(frozen=True)
class SplitPredictions:
    """What tasks predicted for the rows of one split.

    :param rows: The rows of each task.
    :param found: The predictions for these rows.
    """

    rows: Mapping[str, ScoredRows]
    found: Mapping[str, Predictions]
    tasks: Mapping[str, Task]

    def write(self, folder: Path, recipe: Recipe) -> None:
        """Write a JSONL file for each task, official files, and annotated sources."""
        for name in self.rows:
            _write_lines(folder / f"{name}.jsonl", map(_json, self._records(name)))
            for ending, lines in self.tasks[name].export(_Answered(self, name)).items():
                _write_lines(folder / f"{name}.{ending}", lines)
        for name, section in recipe.data.items():
            source = sources.build(section.part, recipe.search())
            if isinstance(source, AnnotatedSource):
                self._write_annotated(folder, name, source)

    def of(self, task: str) -> Iterator[AnsweredRow]:
        """Yield all rows of a task with its predictions."""
        own = self.rows[task]
        labels = self.found[task].labels
        everything = zip(own.rows(), own.fields(), own.references, labels, strict=True)
        for (_, row), fields, reference, label in everything:
            yield AnsweredRow(row, fields, reference, label)

    def _records(self, task: str) -> Iterator[dict[str, Any]]:
        """Yield each row with its place, its prediction and their probabilities."""
        found, labels = self.found[task], self.tasks[task].labels
        places = (table.place_of(row) for table, row in self.rows[task].rows())
        for index, (place, one) in enumerate(zip(places, self.of(task), strict=True)):
            record = {
                "place": place,
                "input": [*map(show_value, one.fields)],
                "reference": one.reference,
            }
            yield {**record, "prediction": one.prediction, **found.certainty(index, labels)}

    def _write_annotated(self, folder: Path, name: str, source: AnnotatedSource) -> None:
        """Write a source back with the columns that tasks predict; no file if there are none."""
        columns: dict[str, Iterator[Any]] = {}
        rows: Table | None = None
        for task, table, labels in self._parts_of(name):
            if self.tasks[task].target_column in source.annotations:
                filled = [self.tasks[task].columns(label) for label in labels]
                for column in source.annotations.intersection(*filled[:1]) if filled else ():
                    columns[column] = iter([row[column] for row in filled])
                rows = table
        if rows is None:
            return
        with atomic_writer(folder / f"{name}{source.suffixes[0]}") as file:
            for row in each_row(rows):
                own = {column: next(values) for column, values in columns.items()}
                file.write(source.annotate(row, own))

    def _parts_of(self, source: str) -> Iterator[tuple[str, Table, list[Any]]]:
        """Yield each task of a source with the rows of that source and their predictions."""
        for name, own in self.rows.items():
            labels = iter(self.found[name].labels)
            for view, table in own.parts:
                part = [*islice(labels, len(table))]
                if view.source == source:
                    yield name, table, part


@dataclass(frozen=True)
class _Answered:
    """The rows of one task, which can be walked several times."""

    answers: SplitPredictions
    task: str

    def __iter__(self) -> Iterator[AnsweredRow]:
        return self.answers.of(self.task)


def _json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with atomic_writer(path) as file:
        file.writelines(line + "\n" for line in lines)
