"""The strategies that a comparison knows; a new file here registers itself."""

from polytask.analysis.strategies.base import Answered, Strategy, strategies
from polytask.core.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["Answered", "Strategy", "strategies"]
