"""Batches of one pool each, in turn."""

from typing import ClassVar

from polytask.data.mixing.base import Composition, mixtures
from polytask.data.mixing.uniform import Uniform


@mixtures.register("round_robin")
class RoundRobin(Uniform):
    """Gives each batch to one pool, in turn."""

    composition: ClassVar[Composition] = "alternating"
