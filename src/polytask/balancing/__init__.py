"""Balancing methods: they turn the losses of several tasks into one update of the parameters.

Each method has a file; ``engine`` computes one gradient per task. Start reading with ``base``, the
three kinds of methods, and ``balancer``, their common interface.
"""

from polytask.balancing.balancer import Balancer
from polytask.balancing.base import GramianBalancer, JacobianBalancer, LossBalancer, balancers
from polytask.balancing.engine import TaskLosses
from polytask.core.registry import import_siblings

__all__ = [
    "Balancer",
    "GramianBalancer",
    "JacobianBalancer",
    "LossBalancer",
    "TaskLosses",
    "balancers",
]

import_siblings(__name__, __path__)
