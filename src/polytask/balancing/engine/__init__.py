"""The gradient engine: task gradients at the price of a plain sum.

``PROVIDERS`` names the ways of coming by them. ``features`` and ``last_layer`` are approximations,
``adapters`` is where more than low-rank factors is trained; all others give the same numbers.
"""

from polytask.balancing.engine.adapters import Adapters
from polytask.balancing.engine.base import Layout, Tally, TaskGradients, TaskLosses
from polytask.balancing.engine.check import agrees
from polytask.balancing.engine.exact import Exact
from polytask.balancing.engine.grouped import Grouped
from polytask.balancing.engine.kept import Features, Weighted
from polytask.balancing.engine.recorder import Recorder
from polytask.balancing.engine.stretches import LastLayer, Streamed

PROVIDERS: dict[str, type[TaskGradients]] = {
    "exact": Exact,
    "grouped": Grouped,
    "streamed": Streamed,
    "adapters": Adapters,
    "features": Features,
    "last_layer": LastLayer,
    "weighted": Weighted,
}

__all__ = [
    "PROVIDERS",
    "Exact",
    "Layout",
    "Recorder",
    "Tally",
    "TaskGradients",
    "TaskLosses",
    "agrees",
]
