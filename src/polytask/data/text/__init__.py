"""What is done to texts before an encoder reads them."""

from polytask.core.registry import import_siblings
from polytask.data.text.base import Text, TextStep, text_steps

__all__ = ["Text", "TextStep", "text_steps"]

import_siblings(__name__, __path__)
