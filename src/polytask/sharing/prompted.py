"""The base of architectures with learned tokens in front of the others.

For an encoder that looks no tokens up in a table, as one of tf-idf weights, a vector of the task is
added to the features instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.capabilities import TokenTable, token_table
from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.core.features import Features
from polytask.sharing.bottleneck import OwnShift
from polytask.sharing.layers import change_output
from polytask.sharing.peft_base import Present, Tuned
from polytask.sharing.prompts import in_front, with_room, without_room, word_vectors


class Prompted(Tuned):
    """Base of architectures that put learned tokens in front of the others.

    :param length: Number of learned tokens.
    """

    mixes: ClassVar[Literal["nothing", "start", "row"]] = "start"
    starts_as_encoder: ClassVar[bool] = False
    """A text with tokens in front of it is another text."""

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        length: PositiveInt = 20,
        **options: Any,
    ) -> None:
        super().__init__(encoder, tasks, **options)
        self.length = length
        table = token_table(encoder)
        self._longest = encoder.max_tokens if isinstance(encoder, TokenTable) else None
        self._has_table = table is not None
        if table is None and encoder.layers:
            raise RecipeError(
                [
                    "sharing: puts learned tokens in front of a text, but this encoder looks no "
                    "tokens up in a table. Choose an encoder that does (transformer, huggingface, "
                    "bilstm), or another sharing, such as task_token."
                ]
            )
        if self._longest is not None and self._longest <= length:
            raise RecipeError(
                [
                    f"sharing.length: {length} learned tokens leave no room for a text, as this "
                    f"encoder reads at most {self._longest} tokens"
                ]
            )
        if table is not None:
            self.prompts = self.new_vectors([word_vectors(table, length) for _ in self.tasks])
            self.replace(table, self.prompts)
        else:
            self.shift = OwnShift(self.present, self.tasks, encoder.width)
            change_output(encoder, self.shift)

    def replace(self, module: nn.Module, prompts: nn.ParameterDict) -> None:
        """Let the first hidden states that a module gives be the learned ones."""
        change_output(module, partial(_prompted, self.present, prompts))

    def new_vectors(self, values: Sequence[Tensor]) -> nn.ParameterDict:
        """Learned vectors for each task, with initial values."""
        pairs = zip(self.tasks, values, strict=True)
        return nn.ParameterDict({task: nn.Parameter(value) for task, value in pairs})

    @override
    def encode(self, inputs: Collated) -> Features:
        if not self._has_table:
            return super().encode(inputs)
        longer = with_room(inputs, self.length, self._longest)
        return without_room(super().encode(longer), self.length, longer)


def _prompted(present: Present, prompts: nn.ParameterDict, hidden_VLD: Tensor) -> Tensor:
    return in_front(present.own(prompts), hidden_VLD)
