"""Losses of a batch whose token vectors an adversary has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from polytask.core.capabilities import token_table
from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.data.augmentation import Adversary
from polytask.modeling.losses import Losses


class Attack:
    """Lets an adversary see the gradients of the losses at token vectors, and then change these.

    :param adversary: What changes them.
    :param tables: The tables that token vectors come from.
    """

    def __init__(self, adversary: Adversary, tables: Iterable[nn.Module]) -> None:
        self._adversary = adversary
        self._seen: list[Tensor] | None = None
        self._gradients: list[Tensor | None] = []
        for table in tables:
            table.register_forward_hook(self._pass)

    def losses(self, compute: Callable[[], Losses], rows: Mapping[str, float]) -> Losses:
        """Return the losses under attack: the batch goes through the model twice.

        Methods that compare losses before and after an update, the latter without gradients, see
        both under attack.

        :param compute: The losses of a batch; called again, it looks up as many token vectors in
            the same order.
        :param rows: How many rows of the batch each task labels, by weight: they count the same,
            whatever other rows are in the batch.
        """
        self._seen = []
        try:
            with torch.enable_grad():
                total = torch.stack([rows[task] * loss for task, loss in compute().items()]).sum()
            self._gradients = [*torch.autograd.grad(total, self._seen, allow_unused=True)]
            self._seen = None
            return compute()
        finally:
            self._seen, self._gradients = None, []

    def _pass(self, table: nn.Module, given: object, vectors_BLD: Tensor) -> Tensor:
        """Keep what a table gave, or change it."""
        if self._seen is not None:
            if not vectors_BLD.requires_grad:  # the table is not trained
                vectors_BLD = vectors_BLD.detach().requires_grad_()
            self._seen.append(vectors_BLD)
            return vectors_BLD
        gradients_BLD = self._gradients.pop(0) if self._gradients else None
        if gradients_BLD is None:
            return vectors_BLD
        return self._adversary.change(vectors_BLD, gradients_BLD)


def token_tables(encoders: Iterable[Encoder]) -> list[nn.Embedding]:
    """Return the tables of token vectors of encoders, each once.

    :raises RecipeError: If an encoder has none.
    """
    tables = {id(table): table for table in map(token_table, encoders)}
    found = [table for table in tables.values() if table is not None]
    if len(found) < len(tables):
        raise RecipeError(
            [
                "augment: changes token vectors, but the encoder has no table of them. "
                "Remove it, or choose an encoder that has one, such as transformer."
            ]
        )
    return found
