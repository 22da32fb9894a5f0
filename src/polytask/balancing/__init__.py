"""How the losses of several tasks become one update of the parameters."""

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
