"""Encoder, architecture and heads as one model."""

from polytask.modeling.model import MultiTaskModel
from polytask.modeling.stored import StoredState, frozen_among, prints_of

__all__ = ["MultiTaskModel", "StoredState", "frozen_among", "prints_of"]
