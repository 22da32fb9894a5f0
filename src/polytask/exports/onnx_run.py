"""A folder of ``polytask export --to onnx`` as a loaded run, without the run that it was made from."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from polytask.assembly.data.new_rows import new_views
from polytask.assembly.data.pools import collation
from polytask.assembly.model.assemble import (
    column_types,
    restore_parts,
    save_columns,
    save_states,
)
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.errors import RecipeError, RunError
from polytask.core.files import read_json, write_json
from polytask.core.run_folder import FORMAT, RunFolder
from polytask.core.sealed import describe_files, verify_files
from polytask.evaluation.predict import Predictor
from polytask.exports.onnx_model import MODEL, OnnxModel, new_session
from polytask.recipe import load
from polytask.sharing import architectures

FACTS = "export.json"


def write_states(run: LoadedRun, folder: Path) -> None:
    """Write the parts of a run that an export needs to read rows and to decode scores."""
    new = RunFolder(folder)
    shutil.copyfile(run.folder.recipe, new.recipe)
    save_states(new, run.encoder, run.predictor.model.tasks)
    save_columns(new, run.types)


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ``export.json`` with the hashes of the other files; the model card may change later."""
    write_json(folder / FACTS, {**facts, "run_format": FORMAT, "files": describe_files(folder)})


def load_run(folder: Path, **options: Any) -> LoadedRun:
    """Load a run, or an export; see ``LoadedRun.load`` and ``load_export``."""
    if (folder / FACTS).is_file():
        return load_export(folder, **options)
    return LoadedRun.load(RunFolder.open(folder), **options)


def load_export(
    folder: Path,
    *,
    task_best: bool = False,
    device: str | None = None,
    precision: str | None = None,
) -> LoadedRun:
    """Load an export, whose model runs in onnxruntime on the CPU.

    :raises RunError: If a file is missing or damaged, or the export is for another library.
    :raises MissingExtraError: If onnxruntime is not installed.
    """
    facts = _read_facts(folder)
    own_precision = facts["precision"]
    mistakes = [
        f"{name}: found {found!r}, but the export computes on {own}. Leave it out."
        for name, found, own in (
            ("task_best", task_best or None, "the best model"),
            ("device", device, "cpu"),
            ("precision", precision, own_precision),
        )
        if found not in (None, "auto", own)
    ]
    if mistakes:
        raise RecipeError(mistakes)
    session, parts = new_session(folder / MODEL), RunFolder(folder)
    recipe = load(parts.recipe)
    with torch.random.fork_rng(devices=[]):
        encoder, tasks = restore_parts(recipe, parts)
        sharing = architectures.build(recipe.sharing, encoder, list(tasks))
        model = OnnxModel(sharing, tasks, session)
    own = {name: tasks[name] for name in facts["tasks"]}
    files, types = dict.fromkeys(own, folder / MODEL), column_types(parts)
    predictor = Predictor(
        model,
        collation(encoder, model.tasks),
        torch.device("cpu"),
        recipe.training.batch_tokens,
        nullcontext,
    )
    views = new_views(recipe, types, own)
    loaded = {folder / MODEL: predictor}
    return LoadedRun(parts, recipe, own, encoder, files, loaded, types, own_precision, views)


def _read_facts(folder: Path) -> dict[str, Any]:
    """Return what an export says about itself, after a check of every file."""
    try:
        facts: dict[str, Any] = read_json(folder / FACTS)
        kind, version, files = facts["format"], facts.get("run_format"), facts.get("files", {})
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder / FACTS}: damaged: {error}. Export again.") from error
    if kind != "onnx":
        raise RunError(
            f"{folder}: an export for transformers, expected one for onnxruntime. Load the folders "
            "in it with transformers, or export with --to onnx."
        )
    if version != FORMAT:
        raise RunError(
            f"{folder}: found an export of run format {version}, expected {FORMAT}. Export again."
        )
    verify_files(folder, files)
    return facts
