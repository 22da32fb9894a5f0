"""What all tasks share beside what each keeps to itself.

Liu, Qiu and Huang, "Adversarial Multi-task Learning for Text Classification", ACL 2017: section 3
(shared-private model) and section 4 (adversarial loss, orthogonality constraints).
https://aclanthology.org/P17-1001

Deviations: heads read both features of every token, where the paper has one vector per text; the
means over the tokens are what the discriminator reads and what the orthogonality is about. Rows of
these are scaled to length one, and their product is divided by the number of rows, so that the term
does not grow with width or batch; every task counts by its rows. Encoders start equal, as they may
be pretrained; the paper starts them at random.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.sharing.base import architectures
from polytask.sharing.own_encoders import OwnEncoders


@architectures.register("shared_private")
class SharedPrivate(OwnEncoders):
    """A shared encoder beside one for each task, kept apart by an adversary and orthogonality.

    An adversary that has to tell tasks apart needs tasks that read rows of their own.

    :param adversarial: Weight of telling the task from the shared features: a discriminator learns
        to, and the shared encoder not to let it.
    :param orthogonality: Weight of what shared and private features have in common.
    """

    cost: ClassVar[str] = (
        "an encoder per task; every row is encoded once by the shared one, and once for each task "
        "that reads it; heads are twice as wide"
    )

    # There are twice as many features as the encoder has.
    starts_as_encoder: ClassVar[bool] = False

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[str],
        /,
        *,
        adversarial: NonNegativeFloat = 0.05,
        orthogonality: NonNegativeFloat = 0.01,
    ) -> None:
        super().__init__(encoder, tasks)
        self.shared = copy.deepcopy(encoder)
        self.discriminator = nn.Linear(encoder.width, len(self.tasks))
        self._adversarial, self._orthogonality = adversarial, orthogonality
        self._means: dict[str, tuple[Tensor, Tensor]] = {}
        self._terms: dict[str, Tensor] = {}

    @override
    def forward(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        features = self.shared(inputs)
        shared = {task: features.select(rows_b) for task, rows_b in rows.items()}
        private = super().forward(inputs, rows)
        self._means = {}
        if self.training:
            self._means = {t: (shared[t].mean_BD, private[t].mean_BD) for t in rows}
        return {task: side_by_side(shared[task], private[task]) for task in rows}

    @override
    def width_of(self, task: str) -> int:
        return 2 * super().width_of(task)

    @override
    def penalty(self) -> Tensor | None:
        if not self._means:
            return None
        means = {task: (own.float(), apart.float()) for task, (own, apart) in self._means.items()}
        shared_VD = torch.cat([shared_bD for shared_bD, _ in means.values()])
        overlaps = [len(one[0]) * overlap(*one) for one in means.values()]
        terms = {
            "adversarial": self._told_apart([*means], shared_VD),
            "orthogonality": torch.stack(overlaps).sum() / len(shared_VD),
        }
        self._terms = {name: term.detach() for name, term in terms.items()}
        return (
            self._adversarial * terms["adversarial"] + self._orthogonality * terms["orthogonality"]
        )

    @override
    def observed(self) -> dict[str, float]:
        """The two terms before they are weighted."""
        return {name: float(term) for name, term in self._terms.items()}

    def _told_apart(self, tasks: Sequence[str], shared_VD: Tensor) -> Tensor:
        """How badly the discriminator names the task of a row; the encoder is to make it worse."""
        places = [self.tasks.index(task) for task in tasks for _ in self._means[task][0]]
        scores_VT = self.discriminator(reverse_gradient(shared_VD))
        return functional.cross_entropy(scores_VT, torch.tensor(places, device=scores_VT.device))


def reverse_gradient(values: Tensor) -> Tensor:
    """The same values; what comes back through them changes its sign."""
    return 2 * values.detach() - values


def overlap(shared_bD: Tensor, private_bD: Tensor) -> Tensor:
    """Squared Frobenius norm of S^T H / b, for rows of length one: between 0 and 1.

    It is about rows together: 0 where no number of one goes with a number of the other over the
    rows, and always 1 for a single row.
    """
    unit_bD, other_bD = functional.normalize(shared_bD), functional.normalize(private_bD)
    # Through b x b products, as ||S^T H||^2 = <S S^T, H H^T>: rows are fewer than dimensions.
    products_bb = (unit_bD @ unit_bD.T) * (other_bD @ other_bD.T)
    return products_bb.sum() / len(shared_bD) ** 2


def side_by_side(shared: Features, private: Features) -> Features:
    """Both features of every token: BL(2D)."""
    both_BLD = torch.cat([shared.tokens_BLD, private.tokens_BLD], dim=-1)
    return replace(private, tokens_BLD=both_BLD)
