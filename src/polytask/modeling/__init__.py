"""Encoder, architecture and heads as one model.

``model`` computes scores and losses of all tasks in one pass, ``encoding`` packs and encodes rows, ``losses`` sums
them up per task, ``stored`` leaves out pretrained weights. Start reading at ``model``.
"""

from polytask.modeling.model import MultiTaskModel
from polytask.modeling.stored import StoredState, frozen_among, prints_of

__all__ = ["MultiTaskModel", "StoredState", "frozen_among", "prints_of"]
