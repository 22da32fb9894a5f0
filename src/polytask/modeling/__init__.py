"""Encoder, architecture and heads as one model."""

from polytask.modeling.model import MultiTaskModel

__all__ = ["MultiTaskModel"]
