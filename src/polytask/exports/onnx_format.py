"""The encoder and the heads of a run as one ONNX model, compared with the run in onnxruntime."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.batch import DRAW_SEED
from polytask.core.collated import Collated
from polytask.core.errors import RunError
from polytask.core.optional import require
from polytask.core.texts import TEXTS
from polytask.data.pools import collate
from polytask.data.prepared_rows import PreparedRow
from polytask.exports.onnx_model import MODEL, new_session
from polytask.exports.stored_rows import TOLERANCE, StoredRows, stored_rows
from polytask.modeling import MultiTaskModel

_PART = "polytask export --to onnx"


class FlatModel(nn.Module):
    """A model of tensors in and tensors out, in which every task reads every row.

    :param names: Names of the input tensors, in order.
    """

    def __init__(self, model: MultiTaskModel, tasks: Sequence[str], names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.chosen = tuple(tasks)
        self.names = tuple(names)

    @override
    def forward(self, tensors: list[Tensor]) -> dict[str, Tensor]:
        inputs = Collated(zip(self.names, tensors, strict=True))
        rows_B = torch.arange(inputs.size, device=tensors[0].device)
        return flat_scores(self.model(inputs, dict.fromkeys(self.chosen, rows_B)))


def flat_scores(scores: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return all tensors of the scores of tasks, as ``TASK`` or ``TASK.NAME``."""
    found: dict[str, Tensor] = {}
    for task, own in scores.items():
        parts = {"": own} if isinstance(own, Tensor) else {f".{key}": own[key] for key in own}
        found |= {f"{task}{key}": value for key, value in parts.items()}
    return found


def export_onnx(run: LoadedRun, tasks: Sequence[str], folder: Path) -> dict[str, Any]:
    """Write ``model.onnx``; return the names of its inputs and outputs, and other facts.

    :raises RunError: If the model cannot be exported, or answers otherwise in onnxruntime.
    :raises MissingExtraError: If a package of the extra is not installed.
    """
    require("onnx", part=_PART, extra="onnx")
    require("onnxscript", part=_PART, extra="onnx")
    require("onnxruntime", part=_PART, extra="onnx")
    stored = stored_rows(run, tasks)
    batches = _batches(run, stored)
    names = [*batches[0]]
    model = FlatModel(run.predictor.model, tasks, names).eval()
    with torch.no_grad():
        outputs = [*model([*batches[0].values()])]
    _write(run, model, batches[0], outputs, folder / MODEL)
    session = new_session(folder / MODEL)
    return {
        "format": "onnx",
        "precision": "fp32",
        "inputs": names,
        "outputs": outputs,
        "tasks": {task: {"labels": list(run.tasks[task].labels)} for task in tasks},
        "largest_difference": _compare(session, model, batches),
    }


def _batches(run: LoadedRun, stored: Sequence[StoredRows]) -> list[Collated]:
    """Return a batch of all stored rows, and smaller ones of other lengths with the same inputs."""
    rows = [row for one in stored for row in one.rows]
    rows = rows if len(rows) > 1 else rows * 2  # an exported batch of one row stays one row
    whole = _collate(run, rows)
    if TEXTS in whole:
        raise RunError(
            "--to onnx: rows of several texts, or long texts in windows, have no fixed number of "
            "inputs. Train with stride: 0, or export other tasks with --tasks."
        )
    batches = [whole]
    for part in (rows[:1], rows[1:]):
        inputs = _collate(run, part)
        if inputs.keys() == whole.keys():
            batches.append(inputs)
    return batches


def _collate(run: LoadedRun, rows: Sequence[PreparedRow]) -> Collated:
    """Return rows as tensors, without the seeds that only training and sampling read."""
    inputs = collate(rows, run.predictor.collation).inputs
    return Collated({name: tensor for name, tensor in inputs.items() if name != DRAW_SEED})


def _write(
    run: LoadedRun, model: FlatModel, inputs: Collated, outputs: Sequence[str], path: Path
) -> None:
    """Trace the model with any number of rows and tokens.

    :raises RunError: If it cannot be traced.
    """
    shapes = [_dynamic(tensor) for tensor in inputs.values()]
    try:
        with _quiet():
            torch.onnx.export(
                model,
                ([*inputs.values()],),
                str(path),
                dynamo=True,
                dynamic_shapes=(shapes,),
                input_names=[*inputs],
                output_names=[*outputs],
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        cause = error.__cause__ or error  # the exporter's own error holds advice on reporting it
        reason = next((line for line in str(cause).splitlines() if line.strip()), "")
        raise RunError(
            f"--to onnx: sharing {run.recipe.sharing.kind!r} with tasks "
            f"{', '.join(model.chosen)} cannot be traced: {type(cause).__name__}: {reason} "
            "Export other tasks with --tasks, or answer with polytask serve."
        ) from error


def _dynamic(tensor: Tensor) -> dict[int, Any]:
    """Return that rows, and tokens or words, may be of any number."""
    return dict.fromkeys(range(min(tensor.dim(), 2)), torch.export.Dim.DYNAMIC)


def _compare(session: Any, model: FlatModel, batches: Sequence[Collated]) -> float:
    """Return the largest difference between onnxruntime and the run.

    :raises RunError: If it is too large.
    """
    largest = 0.0
    for batch in batches:
        given = {name: tensor.numpy() for name, tensor in batch.items()}
        answers = session.run(None, given)
        with torch.no_grad():
            expected = model([*batch.values()])
        for (name, own), answer in zip(expected.items(), answers, strict=True):
            found = torch.from_numpy(answer)
            if found.shape != own.shape:
                raise RunError(
                    f"--to onnx: output {name!r} has shape {tuple(found.shape)} in onnxruntime, but "
                    f"{tuple(own.shape)} in the run. Export other tasks with --tasks."
                )
            gap = (found.double() - own.cpu().double()).abs().max() if own.numel() else 0.0
            largest = max(largest, float(gap))
    if not largest <= TOLERANCE:
        raise RunError(
            f"--to onnx: onnxruntime differs from the run by {largest:.2g} on the stored rows; "
            f"at most {TOLERANCE} is accepted. Export other tasks with --tasks."
        )
    return largest


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Switch off what the exporter prints and warns of."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),  # the whole graph, after an error
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
