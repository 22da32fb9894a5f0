"""Shares between proportional and uniform.

Devlin, multilingual BERT, 2018, exponentially smoothed weighting; Raffel et al., "Exploring the
Limits of Transfer Learning with a Unified Text-to-Text Transformer", JMLR 2020, section 3.5.2
(temperature is 1/alpha, the limit is ``limit``). https://arxiv.org/abs/1910.10683
"""

import numpy as np
from typing_extensions import override

from polytask.data.mixing.base import Floats, Mixture, mixtures


@mixtures.register("temperature")
class Temperature(Mixture):
    """Draws from a pool of n rows in proportion to n to the power of alpha.

    :param alpha: 1 is proportional, 0 is uniform.
    :param limit: Largest number of rows that a pool counts as; None for no limit.
    """

    def __init__(self, *, alpha: float = 0.5, limit: int | None = None) -> None:
        self.alpha = alpha
        self.limit = np.inf if limit is None else limit

    @override
    def weights(self, sizes_P: Floats, progress: float) -> Floats:
        return np.minimum(sizes_P, self.limit) ** self.alpha
