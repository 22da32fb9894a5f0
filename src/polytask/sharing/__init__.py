"""The sharing architectures: which computation the tasks share.

Each file holds one method of the literature, or a base that several methods extend. Start reading at
``base`` (the interface), then ``hard`` (one encoder) and ``rows`` (rows of several tasks in a pass).
"""

from polytask.core.registry import import_siblings
from polytask.sharing.base import Architecture, architectures

__all__ = ["Architecture", "architectures"]

import_siblings(__name__, __path__)
