"""Conversations: the turns of an assistant, rendered by the chat template of the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, final

from typing_extensions import override

from polytask.core.batch import Fields, Row
from polytask.core.errors import DataError, RecipeError
from polytask.core.prompts import Conversation, Turn
from polytask.tasks.base import tasks
from polytask.tasks.completion_task import CompletionTask
from polytask.tasks.inputs import InputSpec
from polytask.tasks.labels import did_you_mean, is_blank, unknown_label
from polytask.tasks.turns import answer_text, answer_turns, read_tools, read_turns


@final
@tasks.register("chat")
class Chat(CompletionTask):
    """Turns of an assistant in conversations, from a language model with a chat template.

    A conversation is a column of turns, ``messages`` (OpenAI) or ``conversations`` (ShareGPT), or
    columns of texts such as ``instruction`` and ``input`` with the target ``output`` (Alpaca). The
    column ``tools`` lists tools, and ``system`` is a system text. The last assistant turn is
    predicted from the turns before it.

    :param target: The column of turns, or of the text of the last assistant turn.
    :param learn: The assistant turns that are learned: all, each by its ``weight``, or the last.
    :param options: Answers to choose from, or the input column that lists them.
    """

    inputs = InputSpec(
        ("messages",), rows="prompts", json=("messages", "conversations", "tools", "prompt")
    )
    is_chat = True

    def __init__(
        self,
        name: str,
        /,
        *,
        target: str | None = None,
        learn: Literal["all", "last"] = "all",
        options: str | list[str] | None = None,
        **others: Any,
    ) -> None:
        super().__init__(name, target=target or "", **others)
        self._learn: Literal["all", "last"] = learn
        self._options = options

    @property
    @override
    def ranks(self) -> bool:
        return self._options is not None

    @override
    def set_columns(self, columns: Sequence[str]) -> None:
        super().set_columns(columns)
        self.target_column = self.target_column or columns[0]
        if isinstance(self._options, str) and self._options not in columns:
            raise RecipeError(
                [
                    f"tasks.{self.name}.options: {self._options!r} is no input column."
                    f"{did_you_mean(self._options, columns)} Input columns: {', '.join(columns)}."
                ]
            )

    @override
    def reference(self, row: Row) -> str | None:
        turns = self._turns({**self._values_of(row), **self._answer_of(row)})
        if not turns or turns[-1]["role"] != "assistant":
            return None
        answer = answer_text(turns[-1])
        if isinstance(self._options, list) and answer not in self._options:
            raise DataError(f"task {self.name}: {unknown_label(answer, self._options)}")
        return answer

    @override
    def texts(self, row: Row, fields: Fields, *, training: bool) -> list[Fields]:
        values = dict(zip(self.input_columns, fields, strict=False))
        tools = read_tools(values)
        if training:
            turns = self._turns({**values, **self._answer_of(row)})
            return [(Conversation(turns, tools, self._learn),)]
        turns = self._turns(values)
        prompt = turns[:-1] if turns and turns[-1]["role"] == "assistant" else turns
        if not prompt:
            raise DataError(f"task {self.name}: no turn to answer")
        if not self.ranks:
            return [(Conversation(prompt, tools, "none", self.room),)]
        answers = ({"role": "assistant", "content": one} for one in self._choices(values))
        return [(Conversation([*prompt, answer], tools, "last"),) for answer in answers]

    @override
    def fit(self, references: Iterable[str]) -> None:
        if not any(True for _ in references):
            raise DataError(
                f"task {self.name}: no training row has an assistant turn at its end, "
                f"in column {self.target_column!r}"
            )

    @override
    def option_answer(self, option: int, fields: Fields) -> str:
        return self._choices(dict(zip(self.input_columns, fields, strict=False)))[option].strip()

    def _turns(self, values: Mapping[str, Any]) -> list[Turn]:
        read = {name: value for name, value in values.items() if name != self._options}
        try:
            return read_turns(read)
        except DataError as error:
            raise DataError(f"task {self.name}: {error}") from None

    def _values_of(self, row: Row) -> dict[str, Any]:
        return {name: row[name] for name in self.input_columns if name in row}

    def _answer_of(self, row: Row) -> dict[str, Any]:
        """Return the target as a turn, unless it is among the input columns."""
        if self.target_column in self.input_columns:
            return {}
        value = self._column(row)
        if is_blank(value):
            return {}
        return {self.target_column: answer_turns(value)}

    def _choices(self, values: Mapping[str, Any]) -> list[str]:
        """Return the options of a row.

        :raises DataError: If the column does not list any.
        """
        found = values[self._options] if isinstance(self._options, str) else self._options
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found or [None]):
            raise DataError(
                f"task {self.name}: column {self._options!r}: expected a list of texts, found "
                f"{found!r:.80}"
            )
        return found
