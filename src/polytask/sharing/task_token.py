"""A learned vector of the task, added to each token of a shared encoder.

The same as the vectors of languages in Conneau and Lample, "Cross-lingual Language Model Pretraining",
NeurIPS 2019, section 3. https://arxiv.org/abs/1901.07291
A token in front of the text (Johnson et al., "Google's Multilingual Neural Machine Translation
System", TACL 2017, section 3. https://arxiv.org/abs/1611.04558) is ``prompt`` with ``length: 1``
and ``freeze: false``.

For an encoder without a table of token vectors, such as ``tfidf``, the vector is added to the
features. It starts at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from polytask.core.capabilities import token_table
from polytask.core.encoder import Encoder
from polytask.sharing.base import architectures
from polytask.sharing.bottleneck import OwnShift
from polytask.sharing.layers import change_output
from polytask.sharing.peft_base import PeftArchitecture, PresentRows


@architectures.register("task_token")
class TaskToken(PeftArchitecture):
    """All tasks share an encoder; a learned vector of the task is added to each token.

    :param freeze: Freeze the encoder.
    """

    cost: ClassVar[str] = (
        "width parameters per task; rows that several tasks read are encoded once for each"
    )

    def __init__(self, encoder: Encoder, tasks: Sequence[str], /, *, freeze: bool = False) -> None:
        super().__init__(encoder, tasks, freeze=freeze)
        table = token_table(encoder)
        width = encoder.width if table is None else table.embedding_dim
        self.vector = OwnShift(self.present, self.tasks, width)
        if table is None:
            change_output(encoder, self.vector)
        else:
            change_output(table, partial(_add_vector, self.vector, self.present))


def _add_vector(vector: nn.Module, present: PresentRows, tokens_VLD: Tensor) -> Tensor:
    added_VLD: Tensor = vector(tokens_VLD)
    # Padding stays as it is: some encoders, such as a convolution, read its vectors as zeros.
    mask_VL = present.mask(tokens_VLD)
    return added_VLD if mask_VL is None else added_VLD.where(mask_VL.unsqueeze(-1), tokens_VLD)
