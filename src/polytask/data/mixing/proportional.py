"""Shares in proportion to the rows of each pool."""

from typing_extensions import override

from polytask.data.mixing.base import Floats, Mixture, mixtures


@mixtures.register("proportional")
class Proportional(Mixture):
    """Draws from each pool in proportion to its rows: an epoch is every row exactly once."""

    @override
    def weights(self, sizes_P: Floats, progress: float) -> Floats:
        return sizes_P
