"""Nothing shared: the single-task baseline inside one model.

Each task trains a copy of the encoder of its own; what joint training gains or loses is measured
against it.
"""

from __future__ import annotations

from polytask.sharing.base import architectures
from polytask.sharing.own_encoders import OwnEncoders


@architectures.register("independent")
class Independent(OwnEncoders):
    """Every task has an encoder of its own, all with the same initial values."""
