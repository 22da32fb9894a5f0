"""Several ways to compute one gradient per task, at about the cost of a plain sum.

``PROVIDERS`` names them: ``features`` and ``last_layer`` are approximations, ``adapters`` is exact
if only low-rank factors are trained, and all others give the same numbers. Start reading with
``base`` for the interface and ``exact`` for the simplest implementation.
"""

from polytask.balancing.engine.adapters import Adapters
from polytask.balancing.engine.base import Layout, MeanLosses, TaskGradients, TaskLosses
from polytask.balancing.engine.check import agrees
from polytask.balancing.engine.exact import Exact
from polytask.balancing.engine.grouped import GroupedGradients
from polytask.balancing.engine.recorder import Recorder
from polytask.balancing.engine.retained_graph import FeatureGradients, Weighted
from polytask.balancing.engine.streamed import LastLayer, Streamed

PROVIDERS: dict[str, type[TaskGradients]] = {
    "exact": Exact,
    "grouped": GroupedGradients,
    "streamed": Streamed,
    "adapters": Adapters,
    "features": FeatureGradients,
    "last_layer": LastLayer,
    "weighted": Weighted,
}

__all__ = [
    "PROVIDERS",
    "Exact",
    "Layout",
    "MeanLosses",
    "Recorder",
    "TaskGradients",
    "TaskLosses",
    "agrees",
]
