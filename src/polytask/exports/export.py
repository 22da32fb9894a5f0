"""Runs as folders for other libraries; a folder appears only when it answers as the run does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.errors import RecipeError, RunError
from polytask.core.files import write_json, write_text
from polytask.exports.card import model_card

FORMATS = ("onnx", "huggingface")
Note = Callable[[str], object]


def export_run(
    run: LoadedRun,
    folder: Path,
    to: str,
    tasks: Sequence[str] | None = None,
    note: Note = lambda _: None,
) -> Path:
    """Write a run in another format.

    :param run: A run on the CPU, in fp32.
    :param folder: A folder that does not exist yet.
    :param to: One of ``FORMATS``.
    :param tasks: Names of tasks; None for all that the format can hold.
    :param note: Called with a sentence about each task that is left out.
    :return: The folder; ``export.json`` in it tells the largest difference.
    :raises RecipeError: If there is no such format or task.
    :raises RunError: If the folder exists, or the run cannot be exported.
    """
    if to not in FORMATS:
        raise RecipeError([f"--to: found {to!r}, expected {' or '.join(FORMATS)}."])
    run.views_for(tasks)
    if folder.exists():
        raise RunError(f"{folder}: exists. Name a new folder, or remove it.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    unfinished.mkdir()
    try:
        (_to_onnx if to == "onnx" else _to_huggingface)(run, unfinished, tasks, note)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return folder


def _to_onnx(run: LoadedRun, folder: Path, tasks: Sequence[str] | None, note: Note) -> None:
    from polytask.exports.onnx_format import export_onnx
    from polytask.exports.onnx_run import write_facts, write_states

    chosen = [*(tasks or run.tasks)]
    facts = export_onnx(run, chosen, folder)
    write_states(run, folder)
    write_facts(folder, facts)
    write_text(folder / "README.md", model_card(run, chosen, {}))


def _to_huggingface(run: LoadedRun, folder: Path, tasks: Sequence[str] | None, note: Note) -> None:
    from polytask.exports.stock_models import (
        shared_encoder,
        task_refusal,
        write_encoder,
        write_task,
    )

    encoder = shared_encoder(run)
    reasons = {name: task_refusal(run, encoder, run.tasks[name]) for name in tasks or run.tasks}
    left_out = {name: reason for name, reason in reasons.items() if reason is not None}
    if tasks is not None and left_out:
        raise RunError("\n".join(f"tasks.{name}: {text}" for name, text in left_out.items()))
    for name, text in left_out.items():
        note(f"task {name} is left out: {text}")
    write_encoder(run, encoder, folder / "encoder")
    differences = {
        name: write_task(run, encoder, run.tasks[name], folder / "tasks" / name)
        for name, reason in reasons.items()
        if reason is None
    }
    facts = {"format": "huggingface", "left_out": left_out, "largest_difference": differences}
    write_json(folder / "export.json", facts)
    write_text(folder / "README.md", model_card(run, [*differences], left_out))
