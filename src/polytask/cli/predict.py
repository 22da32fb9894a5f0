"""``polytask predict``."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from polytask.cli.options import SET, Plugins, RunPath, open_plugins
from polytask.core.errors import DataError
from polytask.core.scratch import scratch_folder

STANDARD = "-"


@dataclass
class Predict:
    """Predict all tasks for new rows, one JSON line a row, from one encoder pass."""

    run: RunPath
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="The rows, read with the options of the training files; a file of another format "
            "by its name: .jsonl, .json, .csv, .tsv, .parquet, .conll, .conllu or .txt. All may be "
            "packed (.gz). - reads JSON lines from standard input.",
            show_default=False,
        ),
    ]
    output: Annotated[
        str, typer.Option(metavar="FILE", help="Where to write; - for standard output.")
    ] = STANDARD
    top_k: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Write the probabilities of the N most probable labels of each task, most probable "
            "first; by default of all labels.",
        ),
    ] = None
    no_probabilities: Annotated[
        bool,
        typer.Option("--no-probabilities", help="Write labels and confidences only."),
    ] = False
    vectors: Annotated[
        bool,
        typer.Option(
            "--vectors",
            help="Write, in place of labels, the features that each task reads, averaged over the "
            "tokens of the row.",
        ),
    ] = False
    task_best: Annotated[
        bool,
        typer.Option(
            "--task-best",
            help="Predict each task with the model of its own best validation, "
            "which training.task_best keeps.",
        ),
    ] = False
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            SET,
            metavar="PATH=VALUE ...",
            help="Read the file differently, as in --set data.reviews.delimiter=';'. May be "
            "repeated.",
        ),
    ] = None
    plugins: Plugins = None

    def __post_init__(self) -> None:
        """Predict: the command line calls a command, and this one has too many options for a call."""
        from polytask import api
        from polytask.cli.progress import row_counter

        open_plugins(self.plugins)
        seen = self.output == STANDARD and sys.stdout.isatty()  # the records are shown themselves
        with (
            _rows(self.file) as rows,
            _writer(self.output) as write,
            row_counter("predicting", hidden=seen) as count,
        ):
            for record in api.predict(
                self.run,
                rows,
                task_best=self.task_best,
                overrides=self.overrides or (),
                left_out=_note,
                top_k=self.top_k,
                probabilities=not self.no_probabilities,
                vectors=self.vectors,
            ):
                write(json.dumps(record, ensure_ascii=False))
                count(1)


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
    """Something that takes lines; a file appears only when all of them are written.

    :raises DataError: If the file cannot be written.
    """
    if output == STANDARD:
        yield typer.echo
        return
    from polytask.core.files import atomic_writer

    with ExitStack() as stack:
        try:
            target = stack.enter_context(atomic_writer(Path(output)))
        except OSError as error:
            text = f"--output {output}: cannot be written: {error.strerror}. Name another file."
            raise DataError(text) from error
        yield lambda line: target.write(f"{line}\n")
