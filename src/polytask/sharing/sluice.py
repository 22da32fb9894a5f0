"""Sluice networks: columns in two subspaces that read all subspaces, and sums of all layers.

Ruder, Bingel, Augenstein and Søgaard, "Latent Multi-task Architecture Learning", AAAI 2019, section
2 and figure 1. https://arxiv.org/abs/1705.08142

Deviations: embeddings, and modules above the layers, are shared. Columns start equal. Subspaces start
apart, and the top reads only the last layer, so that a pretrained encoder is not disturbed. The
orthogonality of subspaces is measured on the outputs of layers, not on weights. It is the mean squared
correlation of their channels within a row, so that neither lengths nor widths count. Weights of
subspaces have the weight decay of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import architectures
from polytask.sharing.layers import sum_layers
from polytask.sharing.per_task import new_parameters
from polytask.sharing.task_columns import TaskColumns

_SUBSPACES = 2


@architectures.register("sluice")
class Sluice(TaskColumns):
    """A column of layers per task, in two subspaces; columns read weighted sums of all subspaces.

    The head of each task reads a weighted sum of the layers.

    :param orthogonality: Weight of the squared correlations between the subspaces.
    """

    cost: ClassVar[str] = (
        "all layers once per task, each for all rows; 4 x tasks + 1 parameters per task and layer"
    )

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        orthogonality: NonNegativeFloat = 0.01,
        **options: Any,
    ) -> None:
        super().__init__(encoder, tasks, **options)
        self._orthogonality = orthogonality
        self._given: list[Tensor] = []
        self._mixed: list[Tensor] = []
        self._mask_BL = torch.zeros(0)
        starts = torch.einsum("ts,gh->tgsh", self.shares_TT, torch.eye(_SUBSPACES))
        self._alphas = [new_parameters(tasks, starts) for _ in range(self.depth)]
        self.alphas = nn.ModuleList(self._alphas)
        self.betas = new_parameters(tasks, [torch.eye(self.depth)[-1]] * len(tasks))

    @override
    def mix(self, place: int, hidden_TBLD: Tensor) -> Tensor:
        if place == 0:  # a new pass; the states of the one before were needed for its penalty
            self._given, self._mixed = [], []
        if self.training and self._orthogonality:
            self._given.append(hidden_TBLD)
        self._mixed.append(
            mix_subspaces(torch.stack(self.readers(place, self._alphas[place])), hidden_TBLD)
        )
        if place < self.depth - 1:
            return self._mixed[-1]
        mixed, self._mixed = self._mixed, []
        return sum_layers(torch.stack(self.readers(place, self.betas)), mixed)

    @override
    def columns(self, inputs: Collated) -> list[Features]:
        found = super().columns(inputs)
        if self.training:
            self._mask_BL = found[0].mask_BL
        return found

    @override
    def penalty(self) -> Tensor | None:
        if not self._given:
            return None
        terms = [correlation(hidden_TBLD, self._mask_BL) for hidden_TBLD in self._given]
        return self._orthogonality * torch.stack(terms).sum()

    @override
    def observe(self) -> dict[str, float]:
        """Return the weights of subspaces, by layer, reader and column; and the weights of layers."""
        alphas = {
            f"alpha/{task}_{own + 1}/layer_{place + 1}/{giver}_{other + 1}": share
            for place, alphas in enumerate(self._alphas)
            for task in self.tasks
            for own, alpha_TG in enumerate(alphas[task].tolist())
            for giver, alpha_G in zip(self.tasks, alpha_TG, strict=True)
            for other, share in enumerate(alpha_G)
        }
        return alphas | {
            f"beta/{task}/layer_{place + 1}": share
            for task in self.tasks
            for place, share in enumerate(self.betas[task].tolist())
        }


def subspaces(hidden_TBLD: Tensor) -> Tensor:
    """Return the halves of each hidden state, T x 2 x BLC; an odd width is padded with a zero."""
    even_TBLD = functional.pad(hidden_TBLD, (0, hidden_TBLD.shape[-1] % _SUBSPACES))
    halves: Tensor = even_TBLD.unflatten(-1, (_SUBSPACES, -1)).movedim(-2, 1)
    return halves


def mix_subspaces(alphas_TGTG: Tensor, hidden_TBLD: Tensor) -> Tensor:
    """Return hidden states TBLD in which every subspace is a weighted sum of all subspaces.

    The result has the precision of the hidden states, also under autocast.

    :param alphas_TGTG: For each subspace of a reader, the weight of each subspace of a column.
    """
    given_TGBLC = subspaces(hidden_TBLD)
    alphas_XX = alphas_TGTG.flatten(2).flatten(0, 1).to(hidden_TBLD.dtype)
    with torch.autocast(hidden_TBLD.device.type, enabled=False):
        mixed_XN = alphas_XX @ given_TGBLC.flatten(0, 1).flatten(1)
    joined_TBLD = mixed_XN.view_as(given_TGBLC).movedim(1, -2).flatten(-2)
    own_TBLD: Tensor = joined_TBLD[..., : hidden_TBLD.shape[-1]]
    return own_TBLD


def correlation(hidden_TBLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Return how far two subspaces are from orthogonal: a scalar, a sum over columns, a mean over rows.

    :param mask_BL: True where a token is real.
    """
    real_BL1 = mask_BL.unsqueeze(-1).to(hidden_TBLD.dtype)
    first, second = subspaces(hidden_TBLD * real_BL1).unbind(1)
    tokens_B11 = real_BL1.sum(1, keepdim=True).clamp(min=1)
    # Divided before the product, which could overflow in half precision on long rows.
    products_TBCC = first.transpose(-1, -2) @ (second / tokens_B11)
    sizes_T: Tensor = products_TBCC.square().mean((1, 2, 3))
    return sizes_T.sum()
