"""Batches with rows of every pool, as methods that compare task gradients expect."""

from typing import ClassVar

from polytask.data.mixing.base import Composition, mixtures
from polytask.data.mixing.uniform import Uniform


@mixtures.register("joint")
class Joint(Uniform):
    """Puts the same number of rows of every pool into each batch."""

    composition: ClassVar[Composition] = "joint"
