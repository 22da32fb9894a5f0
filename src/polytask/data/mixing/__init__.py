"""Which tasks' rows each step sees."""

from polytask.core.registry import import_siblings
from polytask.data.mixing.base import Mixture, mixtures

__all__ = ["Mixture", "mixtures"]

import_siblings(__name__, __path__)
