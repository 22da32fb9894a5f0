"""Rows rendered by Jinja templates."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from polytask.core.errors import DataError, RecipeError
from polytask.tasks.labels import did_you_mean

_FAILURES = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, OverflowError)


class Template:
    """A text with places for the columns of a row; it can read nothing else, and change nothing.

    :param key: Where in a recipe it is, for messages.
    :param text: https://jinja.palletsprojects.com/templates
    :raises RecipeError: If it is no valid template.
    """

    def __init__(self, key: str, text: str) -> None:
        self._key = key
        try:
            self._template = _environment().from_string(text)
            self._names = sorted(meta.find_undeclared_variables(_environment().parse(text)))
        except TemplateSyntaxError as error:
            raise RecipeError([f"{key}: line {error.lineno}: {error.message}"]) from error

    def require(self, columns: Sequence[str]) -> None:
        """Refuse columns among which one is missing.

        :raises RecipeError: Names each that is, and the nearest one there is.
        """
        missing = [name for name in self._names if name not in columns]
        if missing:
            known = ", ".join(columns)
            raise RecipeError(
                [
                    f"{self._key}: {name!r} is no input column.{did_you_mean(name, columns)} "
                    f"Input columns: {known}. Name it in the task's input."
                    for name in missing
                ]
            )

    def __call__(self, values: Mapping[str, Any]) -> str:
        """Return the text of a row.

        :raises DataError: If a column is null, or not what the template takes it for.
        """
        try:
            return self._template.render({name: values[name] for name in self._names})
        except _FAILURES as error:
            found = ", ".join(f"{name}={values[name]!r:.60}" for name in self._names)
            raise DataError(f"{self._key}: {error}. Columns: {found}.") from error


def _print(value: Any) -> Any:
    if value is None:
        raise ValueError("a column is null; write {{ column or '' }} where it may be")
    return value


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=_print, keep_trailing_newline=True
    )
