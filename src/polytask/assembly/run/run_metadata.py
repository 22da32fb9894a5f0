"""The facts in ``run.json``: versions, seed, data hashes, notes, duration."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from typing import Any

import torch

from polytask.core.distributed import world_size
from polytask.core.run_folder import FORMAT
from polytask.evaluation.merit import first_mean
from polytask.recipe.plugins import get_loaded_plugins
from polytask.training.session import Session

_PACKAGES = ("polytask", "torch", "transformers", "tokenizers", "datasets", "numpy")


def get_starting_facts(session: Session, data: Mapping[str, Any]) -> dict[str, Any]:
    """Versions, plugins, data, device and sizes, known before the first step."""
    model, partition = session.model, session.partition
    trained = model.trainable().values()
    return {
        "format": FORMAT,
        "finished": False,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "seed": session.options.seed,
        "device": str(session.device),
        "precision": session.precision.name,
        "processes": world_size(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained_parameters": sum(p.numel() for p in trained),
        "shared_parameters": sum(p.numel() for p in partition.shared),
        "plugins": get_loaded_plugins(),
        "data": dict(data),
    }


def final_facts(session: Session) -> dict[str, Any]:
    """Return the facts that are known after the last step."""
    budget = session.budget
    return {
        "finished": True,
        "steps": budget.step,
        "epochs": round(budget.epoch, 4),
        "tokens": budget.tokens,
        "padding": round(1 - budget.tokens / max(1, budget.padded), 4),
        "seconds": round(budget.seconds, 3),
        "tokens_per_second": round(budget.tokens / max(budget.seconds, 1e-9), 1),
        "best_selection": first_mean(session.selection.best),
        "best_merit": session.selection.best,
        "stopped_tasks": sorted(session.selection.stopped_tasks),
        "task_gradients": session.balancer.provider,
        "task_gradients_seconds": session.balancer.provider_seconds,
    }
