"""The gradient engine: task gradients at the price of a plain sum.

``PROVIDERS`` names the ways of coming by them. ``features`` and ``last_layer`` are approximations,
``adapters`` is where more than low-rank factors is trained; all others give the same numbers.
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
