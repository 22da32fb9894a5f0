"""Learned vectors of each task in front of the tokens of a frozen encoder.

Lester, Al-Rfou and Constant, "The Power of Scale for Parameter-Efficient Prompt Tuning", EMNLP
2021, section 2; they start as vectors of words. https://arxiv.org/abs/2104.08691

Deviations: heads do not read the features of the learned tokens. For an encoder without a table of
token vectors, such as ``tfidf``, a vector of the task is added to the features.
"""

from __future__ import annotations

from typing import ClassVar

from polytask.sharing.base import architectures
from polytask.sharing.prompt_base import PromptArchitecture


@architectures.register("prompt")
class PromptTuning(PromptArchitecture):
    """Every task has learned vectors in front of the tokens of one frozen encoder.

    With ``length: 1`` and ``freeze: false`` this is a task token in front of each text.
    """

    cost: ClassVar[str] = (
        "length x width parameters per task; texts are longer by length; the encoder is frozen; "
        "rows that several tasks read are encoded once for each"
    )
