"""``polytask predict``."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from polytask.cli.options import SET, Plugins, RunPath, open_plugins
from polytask.core.scratch import scratch_folder

STANDARD = "-"


def predict(
    run: RunPath,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="The rows, read with the options of the training files; a file of another format "
            "by its name: .jsonl, .json, .csv, .tsv, .parquet, .conll, .conllu or .txt. All may be "
            "packed (.gz). - reads JSON lines from standard input.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str, typer.Option(metavar="FILE", help="Where to write; - for standard output.")
    ] = STANDARD,
    task_best: Annotated[
        bool,
        typer.Option(
            "--task-best",
            help="Predict each task with the model of its own best validation, "
            "which training.task_best keeps.",
        ),
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            SET,
            metavar="PATH=VALUE ...",
            help="Read the file differently, as in --set data.reviews.delimiter=';'. May be "
            "repeated.",
        ),
    ] = None,
    plugins: Plugins = None,
) -> None:
    """Predict all tasks for new rows, one JSON line a row, from one encoder pass."""
    from polytask import api

    open_plugins(plugins)
    with _rows(file) as rows, _writer(output) as write:
        changes = overrides or ()
        for record in api.predict(
            run, rows, task_best=task_best, overrides=changes, left_out=_note
        ):
            write(json.dumps(record, ensure_ascii=False))


def _note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)


@contextmanager
def _rows(file: str) -> Iterator[Path]:
    """The file to read; standard input is copied to one, because rows are read more than once."""
    if file != STANDARD:
        yield Path(file)
        return
    with scratch_folder() as folder:
        copy = folder / "stdin.jsonl"
        with copy.open("wb") as target:
            shutil.copyfileobj(sys.stdin.buffer, target)
        yield copy


@contextmanager
def _writer(output: str) -> Iterator[Callable[[str], Any]]:
    """Something that takes lines; a file appears only when all of them are written."""
    if output == STANDARD:
        yield typer.echo
        return
    from polytask.core.files import atomic_writer

    with atomic_writer(Path(output)) as target:
        yield lambda line: target.write(f"{line}\n")
