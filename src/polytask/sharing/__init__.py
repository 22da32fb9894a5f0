"""Which computation the tasks share."""

from polytask.core.registry import import_siblings
from polytask.sharing.base import Architecture, architectures

__all__ = ["Architecture", "architectures"]

import_siblings(__name__, __path__)
