"""How good predictions are."""

from polytask.core.registry import import_siblings
from polytask.tasks.metrics.base import Metric, metrics

__all__ = ["Metric", "metrics"]

import_siblings(__name__, __path__)
