"""Learned vectors of each task in front of the tokens of a frozen encoder.

Lester, Al-Rfou and Constant, "The Power of Scale for Parameter-Efficient Prompt Tuning", EMNLP
2021, section 2; they start as vectors of words. https://arxiv.org/abs/2104.08691

Deviations: what the encoder gives for these tokens is not read by heads. For an encoder that looks
no tokens up in a table, as one of tf-idf weights, a vector of the task is added to the features.
"""

from __future__ import annotations

from typing import ClassVar

from polytask.sharing.base import architectures
from polytask.sharing.prompted import Prompted


@architectures.register("prompt")
class PromptTuning(Prompted):
    """Every task has learned vectors in front of the tokens of one frozen encoder.

    With ``length: 1`` and ``freeze: false`` it is a task token in front of each text.
    """

    cost: ClassVar[str] = (
        "length x width parameters per task; texts are longer by length; the encoder is frozen; "
        "rows that several tasks read are encoded once for each"
    )
