"""How the losses of several tasks become one update of the parameters."""

from polytask.balancing.base import (
    Balancer,
    GramianBalancer,
    JacobianBalancer,
    LossBalancer,
    balancers,
)
from polytask.core.registry import import_siblings

__all__ = ["Balancer", "GramianBalancer", "JacobianBalancer", "LossBalancer", "balancers"]

import_siblings(__name__, __path__)
