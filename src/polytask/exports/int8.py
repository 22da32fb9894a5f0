"""Matrix products in int8, accepted only if no task loses more of its main metric than is allowed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polytask.assembly.data.loading import TEST, VALIDATION, Data, load_data
from polytask.assembly.data.scoring import EvaluationRows, evaluation_rows, metrics_of
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.errors import PolytaskError, RunError
from polytask.core.optional import require
from polytask.core.scratch import scratch_folder
from polytask.evaluation.options import EvaluationOptions
from polytask.evaluation.score import score_outcome

_POINTS = 100
"""Points of a metric from 0 to 1."""


def quantize(model: Path) -> None:
    """Replace the weights of matrix products by int8; inputs are quantised during inference."""
    tools = require("onnxruntime.quantization", part="polytask export --int8", extra="onnx")
    smaller = model.with_suffix(".int8")
    with _no_log():
        tools.quantize_dynamic(
            model,
            smaller,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=tools.QuantType.QInt8,
        )
    smaller.replace(model)


def measure(run: LoadedRun, quantized: LoadedRun) -> dict[str, Any]:
    """Score a run and its quantised export on validation rows, or test rows if there are no others.

    :return: ``{"split": name, "tasks": {task: {"metric", "rows", "fp32", "int8", "loss"}}}``, the loss
        in points.
    :raises RunError: If the rows are gone, or a task has no defined score.
    """
    data = _load_data(run)
    split = VALIDATION if data.split(VALIDATION) else TEST
    tables, wanted = data.split(split), {*quantized.tasks}
    views = [own for view in data.views if (own := view.only(wanted)) is not None]
    with scratch_folder() as scratch:
        rows = evaluation_rows(views, tables, run.encoder, run.tasks, scratch)
        fp32, int8 = (_scores(one, rows) for one in (run, quantized))
    if missing := [name for name in quantized.tasks if name not in fp32 or name not in int8]:
        raise RunError(
            f"--int8: there are no {split} rows to score {', '.join(missing)} on. Export other tasks "
            "with --tasks, or export without --int8."
        )
    return {"split": split, "tasks": {name: _pair(fp32[name], int8[name]) for name in fp32}}


def require_small_losses(tasks: Mapping[str, Mapping[str, Any]], most: float) -> None:
    """Refuse an export in which a task loses more points than allowed.

    :param tasks: What ``measure`` returned for each task.
    :raises RunError: Names the loss of every task.
    """
    if all(own["loss"] <= most for own in tasks.values()):
        return
    losses = "; ".join(
        f"{name} loses {own['loss']:.2f} points of {own['metric']} ({own['fp32']:.4f} in fp32, "
        f"{own['int8']:.4f} in int8)"
        for name, own in tasks.items()
    )
    raise RunError(
        f"--int8: {losses}. At most {most:g} points are accepted. Raise --max-loss, export without "
        "--int8, or leave out tasks with --tasks."
    )


def _load_data(run: LoadedRun) -> Data:
    try:
        return load_data(run.recipe, run.folder.splits)
    except PolytaskError as error:
        raise RunError(
            f"--int8: the rows of the run, on which the loss is measured, cannot be read: {error} "
            "Bring the files back, or export without --int8."
        ) from error


def _scores(run: LoadedRun, rows: EvaluationRows) -> dict[str, dict[str, Any]]:
    """Return the main metric of each task that has a defined one."""
    found = run.predict_pools(rows.pools)
    asked = {name: rows.tasks[name].outcome(own) for name, own in found.items()}
    metrics = metrics_of(run.recipe, {name: run.tasks[name] for name in asked})
    scores: dict[str, dict[str, Any]] = {}
    for name, outcome in asked.items():
        for metric in metrics[name][:1]:
            entry = score_outcome(outcome, [metric], EvaluationOptions(bootstrap=0))
            if (value := entry[metric.name]["value"]) is not None:
                sign = 1 if metric.higher_is_better else -1
                own = {"metric": metric.name, "rows": entry["rows"], "value": value, "sign": sign}
                scores[name] = own
    return scores


def _pair(fp32: Mapping[str, Any], int8: Mapping[str, Any]) -> dict[str, Any]:
    loss = _POINTS * fp32["sign"] * (fp32["value"] - int8["value"])
    shared = {name: fp32[name] for name in ("metric", "rows")}
    return {**shared, "fp32": fp32["value"], "int8": int8["value"], "loss": round(loss, 6)}


@contextmanager
def _no_log() -> Iterator[None]:
    """Switch off the advice that quantisation logs."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
