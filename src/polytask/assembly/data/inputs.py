"""Input columns that a recipe names by ``all`` or ``except``, looked up in the data."""

from __future__ import annotations

from collections.abc import Iterable

from polytask.core.errors import RecipeError
from polytask.data.sources import sources
from polytask.recipe import Recipe
from polytask.recipe.mistakes import hint
from polytask.recipe.schema import AllColumns
from polytask.tasks import tasks


def with_columns(recipe: Recipe) -> Recipe:
    """Return a recipe whose tasks name their input columns one by one, in the order of the table.

    :raises RecipeError: If ``except`` names a column that is not there, or none is left.
    :raises DataError: If a source cannot be read.
    """
    unnamed = {
        name: task.inputs.excluded
        for name, task in recipe.tasks.items()
        if isinstance(task.inputs, AllColumns)
    }
    known: dict[str, list[str]] = {}
    mistakes: list[str] = []
    resolved = dict(recipe.tasks)
    for name, excluded in unnamed.items():
        section = recipe.tasks[name]
        first, labels = section.sources[0], _labels(recipe, section.sources)
        if first not in known:
            known[first] = list(dict.fromkeys(_columns(recipe, first)))
        columns = known[first]
        left = [c for c in columns if c not in labels and c not in excluded]
        unknown = [c for c in excluded if c not in columns]
        mistakes += [
            f"tasks.{name}.input.except: no column {column!r}.{hint(column, columns)} "
            f"Columns: {', '.join(columns)}."
            for column in unknown
        ]
        if not left:
            mistakes.append(f"tasks.{name}.input: no column is left of {', '.join(columns)}.")
        resolved[name] = section.model_copy(update={"inputs": tuple(left)})
    if mistakes:
        raise RecipeError(mistakes)
    return recipe.model_copy(update={"tasks": resolved})


def _columns(recipe: Recipe, source: str) -> Iterable[str]:
    """Yield the columns of a source; of a mapping, not those inside it but the column itself."""
    for table in sources.build(recipe.data[source].part, recipe.search()).load().values():
        yield from (name for name in table.rows.column_names if name in table.columns)


def _labels(recipe: Recipe, names: Iterable[str]) -> set[str]:
    """Return the columns that are labels or weights of any task of some sources."""
    sections = {n: own for n, own in recipe.tasks.items() if {*names} & {*own.sources}}
    labels = {tasks.build(own.part, name).target_column for name, own in sections.items()}
    return labels | {own.weight for own in sections.values() if own.weight is not None}
