"""What to predict from a row."""

from polytask.core.registry import import_siblings
from polytask.tasks.base import Head, HeadContext, PooledHead, Task, tasks
from polytask.tasks.metrics import Metric, metrics

__all__ = ["Head", "HeadContext", "Metric", "PooledHead", "Task", "metrics", "tasks"]

import_siblings(__name__, __path__)
