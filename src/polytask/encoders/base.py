"""The registry of encoders; their interface is ``core.encoder.Encoder``."""

from polytask.core.encoder import Encoder
from polytask.core.registry import Registry

encoders: Registry[Encoder] = Registry("encoder", Encoder)
