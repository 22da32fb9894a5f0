"""Rows to features."""

from polytask.core.encoder import Encoder
from polytask.core.registry import import_siblings
from polytask.encoders.base import encoders

__all__ = ["Encoder", "encoders"]

import_siblings(__name__, __path__)
