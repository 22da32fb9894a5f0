"""Options of a command that stand for changes of the recipe."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

_KIND = inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True)
class Shorthand:
    """An option ``--NAME VALUE`` that stands for ``--set CHANGE``.

    :param name: Without dashes.
    :param change: The change, with ``{}`` for the value.
    :param type: Of the value, or of none: ``int | None``.
    """

    name: str
    change: str
    type: object
    metavar: str
    help: str

    def parameter(self) -> inspect.Parameter:
        """As Typer reads it."""
        option = typer.Option(metavar=self.metavar, help=self.help)
        annotated: Any = Annotated
        annotation = annotated[self.type, option]
        return inspect.Parameter(self.name, _KIND, default=None, annotation=annotation)


def with_shorthands(options: Sequence[Shorthand]) -> Callable[[Any], Callable[..., None]]:
    """Give options to a command that takes ``overrides``; they count more than those."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(overrides: Sequence[str] | None = None, **values: Any) -> None:
            chosen = [(option, values.pop(option.name, None)) for option in options]
            given = [each.change.format(value) for each, value in chosen if value is not None]
            command(overrides=[*(overrides or ()), *given], **values)

        own = inspect.signature(command, eval_str=True)
        parameters = [*own.parameters.values(), *(option.parameter() for option in options)]
        setattr(run, "__signature__", own.replace(parameters=parameters))  # noqa: B010
        return run

    return decorate
