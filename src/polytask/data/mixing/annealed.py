"""Temperature mixing that moves from proportional towards uniform.

Stickland and Murray, "BERT and PALs: Projected Attention Layers for Efficient Adaptation in
Multi-Task Learning", ICML 2019, section 4.1: alpha = 1 - 0.8 (e - 1) / (E - 1).
https://arxiv.org/abs/1902.02671
"""

from typing_extensions import override

from polytask.data.mixing.base import Floats, Mixture, mixtures


@mixtures.register("annealed")
class Annealed(Mixture):
    """Lowers the exponent of temperature mixing during training, towards equal shares.

    Deviation: the exponent falls with the share of the budget used, not once per epoch.

    :param start: Exponent at the beginning.
    :param end: Exponent at the end.
    """

    def __init__(self, *, start: float = 1.0, end: float = 0.2) -> None:
        self.start, self.end = start, end

    @override
    def weights(self, sizes_P: Floats, progress: float) -> Floats:
        alpha: float = self.start + (self.end - self.start) * progress
        return sizes_P**alpha
