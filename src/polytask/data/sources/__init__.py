"""Where rows come from."""

from polytask.core.registry import import_siblings
from polytask.data.sources.base import Source, sources

__all__ = ["Source", "sources"]

import_siblings(__name__, __path__)
