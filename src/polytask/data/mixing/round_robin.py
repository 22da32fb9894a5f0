"""Batches of one pool each, in turn."""

from typing import ClassVar

import numpy as np
from typing_extensions import override

from polytask.data.mixing.base import Composition, Floats, Mixture, mixtures


@mixtures.register("round_robin")
class RoundRobin(Mixture):
    """Gives each batch to one pool, in turn."""

    composition: ClassVar[Composition] = "alternating"

    @override
    def weights(self, sizes_P: Floats, progress: float) -> Floats:
        return np.ones_like(sizes_P)
