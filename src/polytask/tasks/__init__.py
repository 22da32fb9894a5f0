"""Task types: the target of a row, its head, loss, decoding and metrics.

Each task type is a file that registers a class. Start reading at ``base`` (the interface), then
``classification`` (the shortest one); ``metrics`` holds the metrics.
"""

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
