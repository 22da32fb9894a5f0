"""New rows, read for each task as its training rows were."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polytask.assembly.data.readings import Readings
from polytask.assembly.data.views import View, views_of_any
from polytask.core.batch import Row
from polytask.core.columns import ColumnType
from polytask.core.errors import DataError, PolytaskError
from polytask.core.registry import Options
from polytask.data.column_values import Types
from polytask.data.nested_columns import path_of
from polytask.data.sources import sources
from polytask.data.sources.files import FileSource
from polytask.data.tables import Table
from polytask.recipe import Recipe

_NAME = "new"
_KINDS = {
    ".jsonl": "jsonl",
    ".json": "json",
    ".txt": "text",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".conll": "conll",
    ".conllu": "conllu",
}
"""How a file is read that is named like no file of the training."""

ROW_OPTIONS = ("train", "validation", "test", "path", "where")
"""Options of a source that choose rows; the others are how they are read."""


@dataclass(frozen=True)
class NewRows:
    """Rows to predict, as some tasks read them.

    :param views: How these tasks read the table; only views whose columns it has.
    :param notes: Remarks for people: views that were left out, with the columns they lack, and
        files that could be read in several ways.
    """

    table: Table
    views: list[View]
    notes: list[str]


def new_views(
    recipe: Recipe, types: Mapping[str, ColumnType], tasks: Collection[str]
) -> list[View]:
    """Return how some tasks of a recipe read new rows.

    :param types: The types of the input columns of the training rows.
    """
    views = [
        replace(view, types={name: types[name] for name in view.columns if name in types})
        for view in views_of_any(recipe, _NAME)
    ]
    return [narrowed for view in views if (narrowed := view.only(tasks)) is not None]


def readable_views(views: Sequence[View], rows: Sequence[Row]) -> tuple[list[View], list[str]]:
    """Return the views whose columns some of the rows have, and a sentence on each other view.

    :raises DataError: If there is none.
    """
    missing = [
        [name for name in view.columns if not any(path_of(row, name) for row in rows)]
        for view in views
    ]
    readable = [view for view, names in zip(views, missing, strict=True) if not names]
    if not readable:
        raise _unreadable_error("rows", dict.fromkeys(name for row in rows for name in row), views)
    return readable, [
        _describe_missing(view, names) for view, names in zip(views, missing, strict=True) if names
    ]


def require_mappings(rows: Iterable[object]) -> None:
    """Refuse rows that are something else than mappings of columns to values.

    :raises DataError: Names the type of the first one.
    """
    odd = next((row for row in rows if not isinstance(row, Mapping)), {})
    if odd != {}:
        found = type(odd).__name__
        raise DataError(f"rows: found {found}, expected mappings of columns to values.")


def read_new_file(
    path: Path, views: Sequence[View], known: Readings, types: Mapping[str, ColumnType]
) -> list[NewRows]:
    """Read a file for views; tasks whose sources are read alike share a table.

    :param known: How the files of each task were read.
    :param types: The types of the input columns of the training rows.
    :raises DataError: If no task can read the rows, or tasks find different numbers of rows.
    """
    found = _read_file(path, views, known, types)
    if not any(own.views for own in found):
        columns = dict.fromkeys(name for own in found for name in own.table.columns)
        if conflicts := [text for own in found for text in own.table.conflicts.values()]:
            raise DataError("\n".join(dict.fromkeys(conflicts)))
        raise _unreadable_error(found[0].table.files[0], columns, views)
    return found


def _unreadable_error(place: str, columns: Iterable[str], views: Sequence[View]) -> DataError:
    wanted = " or ".join(dict.fromkeys(" and ".join(map(repr, view.columns)) for view in views))
    return DataError(
        f"{place}: no task can read these rows: found columns {', '.join(columns) or 'none'}, "
        f"expected {wanted}."
    )


def _select_given(types: Mapping[str, ColumnType]) -> Types:
    """Return the types that new rows do not show by themselves."""
    found: Types = {}
    for name, kind in types.items():
        if kind in ("image", "audio", "number", "category", "json"):
            found[name] = kind
    return found


def _read_file(
    path: Path, views: Sequence[View], known: Readings, types: Mapping[str, ColumnType]
) -> list[NewRows]:
    """Read a file once for every way in which the sources of tasks are read.

    :raises DataError: If it cannot be read in any of these ways.
    """
    groups: dict[str, tuple[Options | dict[str, str], list[str]]] = {}
    notes = []
    for task in (name for view in views for name in view.tasks):
        options, ambiguous = _choose_reading(path, known[task])
        if ambiguous:
            notes.append(
                f"{task}: the training files are not all read alike; {path} is read as the first. "
                "Change that with --set data.NAME.OPTION=VALUE."
            )
        groups.setdefault(_key(options), (options, []))[1].append(task)
    found, errors = [], []
    for options, names in groups.values():
        own = [narrowed for view in views if (narrowed := view.only(names)) is not None]
        try:
            found.append(_new_rows(_table(options, path, own, types), own))
        except PolytaskError as error:
            errors.append((error, names))
    if not found:
        raise errors[0][0]
    _check_sizes(path, found, [_values(options) for options, _ in groups.values()])
    notes += [f"not predicted: {', '.join(names)}. {error}" for error, names in errors]
    return [NewRows(found[0].table, found[0].views, found[0].notes + notes), *found[1:]]


def _check_sizes(path: Path, found: Sequence[NewRows], ways: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a file in which tasks find different numbers of rows, as a record is about one row.

    :param ways: The options that the file was read with.
    :raises DataError: Names the tasks, and the options in which their sources differ.
    """
    sizes = {
        len(own.table): ", ".join(task for view in own.views for task in view.tasks)
        for own in found
        if own.views
    }
    if len(sizes) > 1:
        rows = "; ".join(f"{size} rows for {tasks}" for size, tasks in sizes.items())
        names = dict.fromkeys(name for way in ways for name in way)
        values = {name: [way.get(name) for way in ways] for name in names}
        options = {name: own for name, own in values.items() if any(one != own[0] for one in own)}
        shown = ", ".join(f"{name}: {' or '.join(map(str, own))}" for name, own in options.items())
        option = next(iter(options))
        raise DataError(
            f"{path}: found {rows}, as their training files are read differently ({shown}). Read "
            f"it alike for all tasks, as with --set data.NAME.{option}={options[option][0]}."
        )


def _choose_reading(path: Path, every: Sequence[Options]) -> tuple[Options | dict[str, str], bool]:
    """Return the options that a file is read with for a task, and whether others fit as well.

    The first source of the task with files like this one decides: files with the same ending, or
    of the format that the ending stands for. Without such a source the ending decides alone. A
    folder, or an ending that stands for no format, is read as the files of the task if these are
    all read alike.

    :raises DataError: If the format remains unknown.
    """
    kind = _KINDS.get(_suffix(path.name))
    parts = [part for part in every if issubclass(sources.part(part.kind), FileSource)]
    fitting = [part for part in parts if part.kind == kind or _suffix(path.name) in _suffixes(part)]
    if fitting or (kind is None and _ways(parts) == 1):
        return [*fitting, *parts][0], _ways(fitting) > 1
    if kind is None:
        known = ", ".join(_KINDS)
        raise DataError(
            f"{path}: cannot tell its format. Name it as the training files, or {known}, or .gz."
        )
    return {"kind": kind}, False


def _ways(parts: Iterable[Options]) -> int:
    return len(set(map(_key, parts)))


def _suffixes(part: Options) -> Iterator[str]:
    """Yield the endings of the files that a source names."""
    for split in ("train", "validation", "test", "path"):
        names = getattr(part, split) or []
        yield from map(_suffix, [names] if isinstance(names, str) else names)


def _suffix(name: str) -> str:
    return Path(name.lower().removesuffix(".gz")).suffix


def _key(options: Options | Mapping[str, str]) -> str:
    """Return the same text for options that read a file alike."""
    return json.dumps(_values(options), sort_keys=True)


def _values(options: Options | Mapping[str, str]) -> dict[str, Any]:
    """Return the options that decide how a file is read."""
    values = options.model_dump(mode="json") if isinstance(options, Options) else options
    return {name: value for name, value in values.items() if name not in ROW_OPTIONS}


def _table(
    options: Options | dict[str, str],
    path: Path,
    views: Sequence[View],
    types: Mapping[str, ColumnType],
) -> Table:
    if isinstance(options, dict):
        options = sources.parse({**options, "path": str(path)})
    source = sources.build(options, ())
    assert isinstance(source, FileSource)
    source.types = {**_select_given(types), **source.types}
    return source.read_new(path.absolute(), list({c for view in views for c in view.columns}))


def _new_rows(table: Table, views: Sequence[View]) -> NewRows:
    reasons = [_unreadable(table, view) for view in views]
    pairs = zip(views, reasons, strict=True)
    readable = [view.of(table) for view, reason in pairs if reason is None]
    return NewRows(table, readable, [reason for reason in reasons if reason is not None])


def _unreadable(table: Table, view: View) -> str | None:
    """Return why a view cannot read a table; None if it can."""
    tasks = ", ".join(view.tasks)
    try:
        missing = [name for name in view.columns if table.path_to(name) is None]
    except DataError as error:  # a column without a common type
        return f"not predicted: {tasks}. {error}"
    return _describe_missing(view, missing) if missing else None


def _describe_missing(view: View, columns: Sequence[str]) -> str:
    return f"not predicted, as the rows have no {', '.join(columns)}: {', '.join(view.tasks)}."
