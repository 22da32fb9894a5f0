"""Trainings of a comparison: run, copied from an equal run, and measured."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from polytask.analysis.comparison import Comparison
from polytask.analysis.costs import PeakMemory, count_operations
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.assembly.run.training import train
from polytask.core.files import read_json, write_json
from polytask.core.run_folder import RunFolder
from polytask.recipe import Recipe, dump
from polytask.recipe.difference import find_differences
from polytask.training.precision import select_device

_FACTS = ("parameters", "trained_parameters", "seconds", "tokens")
_COST = "cost.json"


def with_seed(recipe: Recipe, seed: int) -> Recipe:
    """Return the recipe with another seed."""
    training = recipe.training.model_copy(update={"seed": seed})
    return recipe.model_copy(update={"training": training})


def train_model(comparison: Comparison, recipe: Recipe, place: Path) -> RunFolder:
    """Train a recipe in a folder of the comparison, or resume the training in it.

    If another strategy has run the same training, its run is copied. Checkpoints are deleted.

    :param place: The folder, relative to the folder of the comparison.
    """
    folder = comparison.folder / place
    kept = folder / _COST
    if not folder.exists():
        _copy_equal(comparison, recipe, place)
    if not kept.is_file():
        comparison.console.print(f"{place}", style="bold")
    with PeakMemory(select_device(recipe.training.device)) as peak:
        data = comparison.data_of(recipe)
        run = train(recipe, folder, resume=True, data=data, console=comparison.console)
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    if not kept.is_file():
        write_json(kept, {"peak_memory_mb": peak.megabytes})
    return run


def _copy_equal(comparison: Comparison, recipe: Recipe, place: Path) -> None:
    """Copy the finished run of an equal recipe, if there is one."""
    folder, wanted = comparison.folder / place, dump(recipe)
    for cost in sorted(comparison.folder.glob(f"*/seed-*/**/{_COST}")):
        run = RunFolder(cost.parent)
        changed = find_differences(run.recipe.read_text(encoding="utf-8"), wanted)
        if not run.path.name.startswith(".") and all(key.startswith("compare.") for key in changed):
            found = run.path.relative_to(comparison.folder)
            comparison.console.print(f"{place} is the same training as {found}", style="bold")
            copying = folder.with_name(f".{folder.name}")  # a killed copy is repeated
            shutil.rmtree(copying, ignore_errors=True)
            shutil.copytree(run.path, copying)
            copying.rename(folder)
            return


def costs_of(comparison: Comparison, run: RunFolder, recipe: Recipe) -> dict[str, Any]:
    """Return ``COSTS`` of a model, and ``encoding_flops_per_row``: one pass of the encoder."""
    kept = run.path / _COST
    measured = dict(read_json(kept))
    if "operations" not in measured:
        model = LoadedRun.load(run)
        counted = count_operations(model, comparison.data_of(recipe), comparison.held_out)
        measured["operations"] = counted._asdict()
        write_json(kept, measured)
    facts = {name: read_json(run.facts)[name] for name in _FACTS}
    operations = measured["operations"]
    return {
        **facts,
        "flops": round(operations["training"] * facts["tokens"]),
        "peak_memory_mb": measured["peak_memory_mb"],
        "inference_parameters": facts["parameters"],
        "inference_flops_per_row": round(operations["answering"]),
        "encoding_flops_per_row": round(operations["encoding"]),
    }
