"""All registries, by the names that ``polytask list`` takes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from polytask.balancing import balancers
from polytask.core.registry import Registry
from polytask.data.augmentation import augmentations
from polytask.data.mixing import mixtures
from polytask.data.sources import sources
from polytask.data.text import text_steps
from polytask.encoders import encoders
from polytask.sharing import architectures
from polytask.tasks import metrics, tasks

REGISTRIES: Mapping[str, Registry[Any]] = MappingProxyType(
    {
        "sources": sources,
        "text_steps": text_steps,
        "augmentations": augmentations,
        "encoders": encoders,
        "architectures": architectures,
        "tasks": tasks,
        "metrics": metrics,
        "mixtures": mixtures,
        "balancers": balancers,
    }
)
