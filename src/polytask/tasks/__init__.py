"""What to predict from a row."""

from polytask.core.registry import import_siblings
from polytask.tasks.base import Head, HeadContext, PooledHead, Task, tasks
from polytask.tasks.inputs import InputSpec
from polytask.tasks.metrics import Metric, metrics
from polytask.tasks.predictions import Predictions

__all__ = [
    "Head",
    "HeadContext",
    "InputSpec",
    "Metric",
    "PooledHead",
    "Predictions",
    "Task",
    "metrics",
    "tasks",
]

import_siblings(__name__, __path__)
