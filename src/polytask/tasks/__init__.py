"""What to predict from a row."""

from polytask.core.registry import import_siblings
from polytask.tasks.base import Head, PooledHead, Reading, Task, tasks
from polytask.tasks.metrics import Metric, metrics

__all__ = ["Head", "Metric", "PooledHead", "Reading", "Task", "metrics", "tasks"]

import_siblings(__name__, __path__)
