"""The strategies of a comparison: trained, merged, linear and constant models.

A file in this folder registers its strategies when it is imported. Start reading at ``base.py``.
"""

from polytask.analysis.strategies.base import Answered, Strategy, strategies
from polytask.core.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["Answered", "Strategy", "strategies"]
