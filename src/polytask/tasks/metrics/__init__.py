"""Metrics of predictions, each registered under its name in recipes.

Start reading at ``base.Metric``, the interface. ``counting`` holds precision, recall and F1, which
several metrics share.
"""

from polytask.core.registry import import_siblings
from polytask.tasks.metrics.base import Metric, metrics

__all__ = ["Metric", "metrics"]

import_siblings(__name__, __path__)
