"""Runs as folders for other libraries; a folder appears only when it answers as the run does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.errors import RecipeError, RunError
from polytask.core.files import write_json, write_text
from polytask.exports.card import model_card

FORMATS = ("onnx", "huggingface")
Note = Callable[[str], object]


@dataclass(frozen=True)
class ExportOptions:
    """The choices of an export.

    :param to: One of ``FORMATS``.
    :param tasks: Names of tasks; None for all that the format can hold.
    :param note: Called with a sentence about each task that is left out.
    :param int8: Compute matrix products in int8.
    :param max_loss: The most points of its main metric that a task may lose by ``int8``.
    """

    to: str
    tasks: Sequence[str] | None = None
    note: Note = lambda _: None
    int8: bool = False
    max_loss: float = 0.5

    def __post_init__(self) -> None:
        mistakes = []
        if self.to not in FORMATS:
            mistakes.append(f"--to: found {self.to!r}, expected {' or '.join(FORMATS)}.")
        elif self.int8 and self.to != "onnx":
            mistakes.append(f"--int8: found --to {self.to}, expected --to onnx. Leave out --int8.")
        if not self.max_loss >= 0:
            mistakes.append(f"--max-loss: found {self.max_loss}, expected 0 or more points.")
        if mistakes:
            raise RecipeError(mistakes)


def export_run(run: LoadedRun, folder: Path, options: ExportOptions) -> Path:
    """Write a run in another format.

    :param run: A run on the CPU, in fp32.
    :param folder: A folder that does not exist yet.
    :return: The folder; ``export.json`` in it tells the largest difference.
    :raises RecipeError: If there is no such task.
    :raises RunError: If the folder exists, or the run cannot be exported.
    """
    run.views_for(options.tasks)
    if folder.exists():
        raise RunError(f"{folder}: exists. Name a new folder, or remove it.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    unfinished.mkdir()
    try:
        (_to_onnx if options.to == "onnx" else _to_huggingface)(run, unfinished, options)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return folder


def _to_onnx(run: LoadedRun, folder: Path, options: ExportOptions) -> None:
    from polytask.exports.int8 import measure, quantize, require_small_losses
    from polytask.exports.onnx_format import export_onnx
    from polytask.exports.onnx_model import MODEL
    from polytask.exports.onnx_run import FACTS, load_export, write_facts, write_states

    chosen = [*(options.tasks or run.tasks)]
    facts = export_onnx(run, chosen, folder)
    write_states(run, folder)
    if options.int8:
        quantize(folder / MODEL)
        facts["precision"] = "int8"
        write_facts(folder, facts)
        facts["int8"] = measure(run, load_export(folder))
        require_small_losses(facts["int8"]["tasks"], options.max_loss)
        (folder / FACTS).unlink()  # its own hash would be in the new one
    write_facts(folder, facts)
    write_text(folder / "README.md", model_card(run, chosen, {}, facts.get("int8")))


def _to_huggingface(run: LoadedRun, folder: Path, options: ExportOptions) -> None:
    from polytask.exports.peft_adapter import write_adapter
    from polytask.exports.stock_models import (
        shared_encoder,
        task_refusal,
        write_encoder,
        write_task,
    )
    from polytask.sharing.lora import Lora

    tasks, encoder = options.tasks, shared_encoder(run)
    reasons = {name: task_refusal(run, encoder, run.tasks[name]) for name in tasks or run.tasks}
    left_out = {name: reason for name, reason in reasons.items() if reason is not None}
    if tasks is not None and left_out:
        raise RunError("\n".join(f"tasks.{name}: {text}" for name, text in left_out.items()))
    for name, text in left_out.items():
        options.note(f"task {name} is left out: {text}")
    write_encoder(run, encoder, folder / "encoder")
    if isinstance(sharing := run.predictor.model.sharing, Lora):
        write_adapter(run, sharing, folder / "adapter")
    differences = {
        name: write_task(run, encoder, run.tasks[name], folder / "tasks" / name)
        for name, reason in reasons.items()
        if reason is None
    }
    facts = {"format": "huggingface", "left_out": left_out, "largest_difference": differences}
    write_json(folder / "export.json", facts)
    write_text(folder / "README.md", model_card(run, [*differences], left_out))
