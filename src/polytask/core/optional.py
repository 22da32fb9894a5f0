"""Optional dependencies, imported where they are used."""

import importlib
from types import ModuleType

from polytask.core.errors import MissingExtraError


def require(module: str, *, part: str, extra: str) -> ModuleType:
    """Import an optional dependency.

    :param module: Name of the module.
    :param part: The part that needs it, as written in the recipe; used in the message.
    :param extra: The extra of this package that installs it.
    :raises MissingExtraError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        raise MissingExtraError(part, module, extra) from missing
