"""Mixtures: the share of the training draws that each pool gets.

``base`` holds the interface, ``dynamic`` the common part of mixtures that learn from the training,
and every other module one mixture. Start reading at ``base``.
"""

from polytask.core.registry import import_siblings
from polytask.data.mixing.base import Mixture, mixtures

__all__ = ["Mixture", "mixtures"]

import_siblings(__name__, __path__)
