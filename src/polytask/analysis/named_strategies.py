"""Mistakes in the strategies that a recipe names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from polytask.analysis.strategies import strategies
from polytask.recipe import Recipe
from polytask.recipe.mistakes import Mistake, hint, list_known


def unknown_strategies(values: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield a mistake for each name in ``compare.strategies`` that is no strategy.

    :param values: A recipe as plain data, valid or not.
    """
    options = values.get("compare")
    named = options.get("strategies") if isinstance(options, Mapping) else ()
    known = strategies.kinds()
    for index, name in enumerate(named if isinstance(named, list | tuple) else [named]):
        if isinstance(name, str) and name not in known:
            keys = ("compare", "strategies", index)
            yield Mistake(
                keys, f"no strategy called {name!r}.{hint(name, known)}{list_known(known)}"
            )


def wrong_strategies(recipe: Recipe) -> list[str]:
    """Return the strategies that do not exist, and those that the recipe does not fit."""
    unknown = map(str, unknown_strategies(recipe.model_dump(include={"compare"})))
    known = [name for name in recipe.compare.strategies if name in strategies.kinds()]
    return [*unknown, *(m for name in known for m in strategies.build(name, name).mistakes(recipe))]
