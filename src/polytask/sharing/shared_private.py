"""A shared encoder beside a private one for each task.

Liu, Qiu and Huang, "Adversarial Multi-task Learning for Text Classification", ACL 2017: section 3
(shared-private model) and section 4 (adversarial loss, orthogonality constraints).
https://aclanthology.org/P17-1001

Deviations: heads read both features of every token; the paper has one vector per text. The
discriminator and the orthogonality term read the means over the tokens. For orthogonality, rows are
scaled to length one and their product is divided by the number of rows, so that the term does not grow
with width or batch; every task counts by its rows. Encoders start equal, as they may be pretrained;
the paper starts them at random.
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

    The adversary can tell tasks apart only if tasks read different rows.

    :param adversarial: Weight of the adversarial loss: a discriminator predicts the task from the
        shared features, and the shared encoder prevents it.
    :param orthogonality: Weight of the overlap of shared and private features.
    """

    cost: ClassVar[str] = (
        "an encoder per task; every row is encoded once by the shared one, and once for each task "
        "that reads it; heads are twice as wide"
    )

    starts_as_encoder: ClassVar[bool] = False
    """False, as features are twice as wide as the encoder's."""

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
        return {
            task: replace(
                private[task],
                tokens_BLD=torch.cat([shared[task].tokens_BLD, private[task].tokens_BLD], dim=-1),
            )
            for task in rows
        }

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
            "adversarial": self._discriminate([*means], shared_VD),
            "orthogonality": torch.stack(overlaps).sum() / len(shared_VD),
        }
        self._terms = {name: term.detach() for name, term in terms.items()}
        return (
            self._adversarial * terms["adversarial"] + self._orthogonality * terms["orthogonality"]
        )

    @override
    def observe(self) -> dict[str, float]:
        """Return the two terms, without their weights."""
        return {name: float(term) for name, term in self._terms.items()}

    def _discriminate(self, tasks: Sequence[str], shared_VD: Tensor) -> Tensor:
        """Return the cross-entropy of the discriminator, whose gradient is reversed for the encoder."""
        places = [self.tasks.index(task) for task in tasks for _ in self._means[task][0]]
        scores_VT = self.discriminator(reverse_gradient(shared_VD))
        return functional.cross_entropy(scores_VT, torch.tensor(places, device=scores_VT.device))


def reverse_gradient(values: Tensor) -> Tensor:
    """Return the same values, whose gradient changes its sign."""
    return 2 * values.detach() - values


def overlap(shared_bD: Tensor, private_bD: Tensor) -> Tensor:
    """Return the squared Frobenius norm of S^T H / b for rows of length one, between 0 and 1.

    It is 0 if no feature of S correlates with a feature of H over the rows, and 1 for a single row.
    """
    unit_bD, other_bD = functional.normalize(shared_bD), functional.normalize(private_bD)
    # By b x b products, as ||S^T H||^2 = <S S^T, H H^T>: rows are fewer than dimensions.
    products_bb = (unit_bD @ unit_bD.T) * (other_bD @ other_bD.T)
    return products_bb.sum() / len(shared_bD) ** 2
