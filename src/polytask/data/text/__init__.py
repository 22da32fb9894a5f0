"""Text steps: transformations of texts before an encoder reads them.

``base`` holds the interface, and every other module one step. Start reading at ``base``.
"""

from polytask.core.registry import import_siblings
from polytask.data.text.base import Text, TextStep, text_steps

__all__ = ["Text", "TextStep", "text_steps"]

import_siblings(__name__, __path__)
