"""Instructions: a prompt made of a row, and the completion that is wanted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

from typing_extensions import override

from polytask.core.batch import Fields, Row
from polytask.core.errors import DataError, RecipeError
from polytask.core.prompts import Prompt
from polytask.tasks.base import tasks
from polytask.tasks.completion_task import CompletionTask
from polytask.tasks.labels import did_you_mean, is_blank, label_text, unknown_label
from polytask.tasks.template import Template


@final
@tasks.register("instruction")
class Instruction(CompletionTask):
    """A text that follows a prompt, from a language model that reads from left to right.

    Rows are rendered as prompts and completions by templates.

    :param template: The prompt, a Jinja template of the input columns.
    :param completion: The completion, a template of the input columns and the target column; by
        default a space and the target.
    :param options: Values of the target to choose from, or the input column that lists them.
    :param target: Column of the answer.
    :param pattern: A regular expression whose first group is the answer in a completion; by default
        all of it.
    """

    def __init__(
        self,
        name: str,
        /,
        *,
        template: str = "{{ text }}",
        completion: str | None = None,
        options: str | list[str | int | bool] | None = None,
        pattern: str | None = None,
        target: str = "completion",
        **others: Any,
    ) -> None:
        super().__init__(name, target=target, **others)
        self._prompt = Template(f"tasks.{name}.template", template)
        key = f"tasks.{name}.completion"
        self._said = None if completion is None else Template(key, completion)
        self._options = options
        self._pattern = None if pattern is None else self._compile(pattern)

    @property
    @override
    def ranks(self) -> bool:
        return self._options is not None

    @override
    def set_columns(self, columns: Sequence[str]) -> None:
        super().set_columns(columns)
        self._prompt.require(columns)
        if self._said is not None:
            self._said.require([*columns, self.target_column])
        if isinstance(self._options, str) and self._options not in columns:
            raise RecipeError(
                [
                    f"tasks.{self.name}.options: {self._options!r} is no input column."
                    f"{did_you_mean(self._options, columns)} Input columns: {', '.join(columns)}."
                ]
            )

    @override
    def reference(self, row: Row) -> str | None:
        said = self.training_label(row)
        if said is None:
            return None
        answer = self.answer_in(said)
        if not answer:
            raise DataError(
                f"task {self.name}: no answer in {said!r:.80}: expected what tasks.{self.name}."
                "pattern describes"
            )
        if isinstance(self._options, list):
            options = [self.answer_in(self._spell(one, row)) for one in self._options]
            if answer not in options:
                raise DataError(
                    f"task {self.name}: column {self.target_column!r}: "
                    f"{unknown_label(answer, options)}"
                )
        return answer

    @override
    def training_label(self, row: Row) -> str | None:
        value = self._column(row)
        if is_blank(value):
            return None
        if not isinstance(value, str | int | float):
            raise DataError(
                f"task {self.name}: column {self.target_column!r}: expected a text or a number, "
                f"found {value!r:.80}"
            )
        return self._spell(value, row)

    @override
    def texts(self, row: Row, fields: Fields, *, training: bool) -> list[Fields]:
        values = self._values(fields)
        prompt = self._prompt(values)
        if training:
            return [(Prompt(prompt, self.training_label({**row, **values}) or ""),)]
        if not self.ranks:
            return [(Prompt(prompt, room=self.room),)]
        return [(Prompt(prompt, self._spell(one, values)),) for one in self._choices(values)]

    @override
    def fit(self, references: Iterable[str]) -> None:
        if not any(True for _ in references):
            raise DataError(
                f"task {self.name}: no training row has a completion in column "
                f"{self.target_column!r}"
            )

    @override
    def option_answer(self, option: int, fields: Fields) -> str:
        values = self._values(fields)
        return self.answer_in(self._spell(self._choices(values)[option], values))

    @override
    def answer_in(self, completion: str) -> str:
        if self._pattern is None:
            return super().answer_in(completion)
        found = self._pattern.search(completion)
        return found.group(1).strip() if found else ""

    def _values(self, fields: Fields) -> dict[str, Any]:
        return dict(zip(self.input_columns, fields, strict=False))

    def _choices(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the options of a row.

        :raises DataError: If the column does not list any.
        """
        if not isinstance(self._options, str):
            return self._options or []
        found = values[self._options]
        if not isinstance(found, list) or not found:
            raise DataError(
                f"task {self.name}: column {self._options!r}: expected a list of options, found "
                f"{found!r:.80}"
            )
        return found

    def _spell(self, value: Any, values: Mapping[str, Any]) -> str:
        """Return the completion for a value of the target."""
        if self._said is None:
            return f" {value if isinstance(value, str) else label_text(value)}"
        return self._said({**values, self.target_column: value})

    def _compile(self, pattern: str) -> re.Pattern[str]:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise RecipeError([f"tasks.{self.name}.pattern: {error}"]) from error
        if not compiled.groups:
            raise RecipeError(
                [f"tasks.{self.name}.pattern: {pattern!r} has no group; put the answer in (...)"]
            )
        return compiled
