"""Exported folders, loaded by transformers alone and compared with the run on its stored rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.batch import Fields
from polytask.core.errors import RunError
from polytask.encoders.text import text_of
from polytask.exports.stored_rows import TOLERANCE, StoredRows, stored_rows
from polytask.tasks import Predictions, Task
from polytask.tasks.tagging import Tagging


def check_encoder(run: LoadedRun, folder: Path) -> None:
    """Compare the mean vectors of the stored rows that are one text.

    :raises RunError: If they differ.
    """
    import transformers  # slow

    with quiet_transformers():
        model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for one in stored_rows(run, [*run.tasks]):
        task = one.tasks[0]
        expected = _answers(run, task, one, vectors=True).labels
        for fields, row, vector in zip(one.fields, one.rows, expected, strict=True):
            if len(fields) > 1 or "ids" not in row:
                continue
            given = tokenizer(text_of(fields[0]), truncation=True, return_tensors="pt")
            with torch.no_grad():
                mean_D = model(**given).last_hidden_state[0].mean(0)
            _require_close("encoder", float((mean_D - torch.tensor(vector)).abs().max()))


def check_task(run: LoadedRun, task: Task, folder: Path) -> float:
    """Compare a pipeline with the run: probabilities, or numbers.

    :return: The largest difference.
    :raises RunError: If it is too large.
    """
    import transformers  # slow

    words = isinstance(task, Tagging)
    name: Any = "token-classification" if words else "text-classification"
    with quiet_transformers():
        pipe = transformers.pipeline(name, model=str(folder), device="cpu")
    largest = 0.0
    for one in stored_rows(run, [task.name]):
        found = _answers(run, task.name, one)
        for place in range(len(one.rows)):
            gap = (_tag_gap if words else _label_gap)(pipe, task, found, one, place)
            largest = max(largest, gap)
    _require_close(task.name, largest)
    return largest


def pipeline_input(fields: Fields) -> Any:
    """Return the input fields of a row as pipelines take them."""
    texts = [*map(text_of, fields)]
    return dict(zip(("text", "text_pair"), texts, strict=True)) if len(texts) > 1 else texts[0]


def _answers(
    run: LoadedRun, task: str, stored: StoredRows, *, vectors: bool = False
) -> Predictions:
    asked = {task: np.arange(len(stored.rows))}
    found = run.predictor.answer_rows(stored.rows, stored.fields, asked, vectors=vectors)
    return found[task]


def _label_gap(pipe: Any, task: Task, found: Predictions, stored: StoredRows, place: int) -> float:
    answer = pipe(pipeline_input(stored.fields[place]), top_k=None, truncation=True)
    scores = {one["label"]: one["score"] for one in answer}
    if task.label_type == "number":
        return abs(float(scores["number"]) - float(found.labels[place]))
    own_C = [scores[label] for label in task.labels]
    return float(np.abs(np.array(own_C) - found.probabilities[place]).max())


def _tag_gap(pipe: Any, task: Task, found: Predictions, stored: StoredRows, place: int) -> float:
    """Return the difference for the first token of each word; 1 where the tags differ."""
    answer = pipe(pipeline_input(stored.fields[place]), ignore_labels=[])
    tokens = {one["index"]: (one["entity"], one["score"]) for one in answer}
    first: Sequence[int] = stored.rows[place]["words"]
    largest = 0.0
    for token, chances_C in zip(first, found.probabilities[place], strict=False):
        tag, score = tokens.get(token, ("", 0.0))
        own = chances_C[task.labels.index(tag)] if tag in task.labels else 0.0
        largest = max(largest, abs(float(own) - float(score)), float(chances_C.max() - own))
    return largest


def _require_close(name: str, gap: float) -> None:
    if not gap <= TOLERANCE:
        raise RunError(
            f"--to huggingface: {name}: transformers differs from the run by {gap:.2g} on the stored "
            f"rows; at most {TOLERANCE} is accepted. Export it with --to onnx."
        )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Switch off the load reports and progress bars of transformers."""
    from transformers.utils import logging  # slow

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
