"""Equal shares of all pools."""

import numpy as np
from typing_extensions import override

from polytask.data.mixing.base import Floats, Mixture, mixtures


@mixtures.register("uniform")
class Uniform(Mixture):
    """Draws as many rows from a small pool as from a large one."""

    @override
    def weights(self, sizes_P: Floats, progress: float) -> Floats:
        return np.ones_like(sizes_P)
