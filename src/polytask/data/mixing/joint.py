"""Batches with rows of every pool, as methods that compare task gradients expect."""

from typing import ClassVar

import numpy as np
from typing_extensions import override

from polytask.data.mixing.base import Composition, Floats, Mixture, mixtures


@mixtures.register("joint")
class Joint(Mixture):
    """Puts the same number of rows of every pool into each batch."""

    composition: ClassVar[Composition] = "joint"

    @override
    def weights(self, sizes_P: Floats, progress: float) -> Floats:
        return np.ones_like(sizes_P)
