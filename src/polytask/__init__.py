"""Multi-task learning for language models: train, compare, predict.

Names are imported at first use, so that importing the package is fast. Start reading at ``api``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polytask.api import (
        analyse,
        check,
        compare,
        describe,
        evaluate,
        export,
        load,
        load_recipe,
        predict,
        train,
    )
    from polytask.core.errors import PolytaskError
    from polytask.recipe import Recipe

__all__ = [
    "PolytaskError",
    "Recipe",
    "analyse",
    "check",
    "compare",
    "describe",
    "evaluate",
    "export",
    "load",
    "load_recipe",
    "predict",
    "train",
]

_ELSEWHERE = {"PolytaskError": "polytask.core.errors", "Recipe": "polytask.recipe"}


def __getattr__(name: str) -> Any:
    """Import and return a public name."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "polytask.api")), name)


def __dir__() -> list[str]:
    return __all__
