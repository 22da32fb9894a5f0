"""The text encoders: rows to features.

There are word encoders (``bag``, ``cnn``, ``bilstm``), tf-idf, subword encoders trained from scratch, and
models of the transformers library. Start reading at ``core.encoder`` (the interface), then ``bag``.
"""

from polytask.core.encoder import Encoder
from polytask.core.registry import import_siblings
from polytask.encoders.base import encoders

__all__ = ["Encoder", "encoders"]

import_siblings(__name__, __path__)
