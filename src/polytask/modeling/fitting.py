"""Checks that heads, encoder and architecture go together, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from polytask.core.capabilities import Causal, token_table
from polytask.core.collated import Collated
from polytask.core.errors import RecipeError
from polytask.core.features import Features
from polytask.sharing import Architecture
from polytask.tasks import Head
from polytask.tasks.language_head import is_causal


def check_heads(
    sharing: Architecture,
    heads: Mapping[str, Head],
    encode: Callable[[str, Collated], Features],
    *,
    reads_scores: bool,
) -> None:
    """Refuse heads that cannot read what encoder and architecture give them.

    :param encode: From a task and inputs to the features of all rows as the task reads them.
    :param reads_scores: Whether a task reads the scores of others.
    :raises RecipeError: Names the task or the option.
    """
    for task, head in heads.items():
        if head.needs_causal and sharing.mixes == "row":
            text = f"tasks.{task}: predicts the next token, but this sharing lets it be seen before"
            raise RecipeError([f"{text}. Choose another one."])
        _check_packing(sharing, task, encode, reads_scores=reads_scores)
        head.validate(partial(encode, task))


def _check_packing(
    sharing: Architecture,
    task: str,
    encode: Callable[[str, Collated], Features],
    *,
    reads_scores: bool,
) -> None:
    encoder = sharing.encoder_of(task)
    if not isinstance(encoder, Causal) or encoder.packed_length is None:
        return
    if reads_scores:
        text = "encoder.packing: is not for tasks that read the scores of others. Leave it out."
        raise RecipeError([text])
    if sharing.mixes != "nothing":
        text = "encoder.packing: this sharing does not keep texts in a sequence apart"
        raise RecipeError([f"{text}. Leave it out, or choose another sharing."])
    table = token_table(encoder)
    if table is None or not is_causal(partial(encode, task), table.weight):
        text = "encoder.packing: is for models that read from left to right, and this one does"
        raise RecipeError([f"{text} not. Leave it out."])
