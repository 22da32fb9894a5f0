"""Sources: readers of data files and data sets.

``base`` and ``files`` hold the interfaces; ``csv``, ``json``, ``conll`` and others are one format per
module. Start reading at ``files``.
"""

from polytask.core.registry import import_siblings
from polytask.data.sources.base import Source, sources

__all__ = ["Source", "sources"]

import_siblings(__name__, __path__)
