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
from polytask.core.errors import DataError, RecipeError
from polytask.core.scratch import scratch_folder

STANDARD = "-"


@dataclass
class Predict:
    """Predict all tasks for new rows in one encoder pass; writes one JSON line per row."""

    run: RunPath
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="File of rows, read with the options of the training files. Other formats are "
            "recognised by their names: .jsonl, .json, .csv, .tsv, .parquet, .conll, .conllu or .txt, "
            "also with .gz. - reads JSON lines from standard input. With --parts: files, folders "
            "or patterns.",
            show_default=False,
        ),
    ]
    output: Annotated[
        str, typer.Option(metavar="FILE", help="The file to write; - for standard output.")
    ] = STANDARD
    top_k: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Write only the probabilities of the N most probable labels of each task, most "
            "probable first. Default: all labels.",
        ),
    ] = None
    no_probabilities: Annotated[
        bool,
        typer.Option("--no-probabilities", help="Write only labels and confidences."),
    ] = False
    vectors: Annotated[
        bool,
        typer.Option(
            "--vectors",
            help="Write the features that each task reads, averaged over the tokens of the row, "
            "instead of labels.",
        ),
    ] = False
    task_best: Annotated[
        bool,
        typer.Option(
            "--task-best",
            help="Predict each task with the model of the task's best validation. Needs a run "
            "trained with training.task_best.",
        ),
    ] = False
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            SET,
            metavar="PATH=VALUE ...",
            help="Change how the file is read, as in --set data.reviews.delimiter=';'. May be "
            "repeated.",
        ),
    ] = None
    plugins: Plugins = None
    parts: Annotated[
        bool,
        typer.Option(
            "--parts",
            help="Write parts and a manifest to the folder --out. The same command continues after a "
            "kill.",
        ),
    ] = False
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The folder of the parts.")] = (
        None
    )
    format: Annotated[
        str, typer.Option(metavar="jsonl|parquet", help="The format of the parts.")
    ] = "jsonl"
    part_rows: Annotated[
        int, typer.Option(metavar="N", min=0, help="Rows of a part; 0: one part per file.")
    ] = 0
    engine: Annotated[
        str,
        typer.Option(
            metavar="here|ray", help="Where parts are predicted: here, or on Ray workers."
        ),
    ] = "here"
    address: Annotated[
        str | None,
        typer.Option(help="The Ray cluster, as auto; default: workers on this machine."),
    ] = None

    def __post_init__(self) -> None:
        """Predict. The command is a class because it has too many options for a function."""
        from polytask import api
        from polytask.cli.progress import count_rows

        open_plugins(self.plugins)
        self._check()
        if self.parts:
            self._write_parts()
            return
        seen = self.output == STANDARD and sys.stdout.isatty()  # the records show the progress
        with (
            _rows(self.files[0]) as rows,
            _writer(self.output) as write,
            count_rows("predicting", hidden=seen) as count,
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

    def _check(self) -> None:
        """Refuse options that do not go together."""
        several = bool(self.out or self.part_rows or len(self.files) > 1)
        wrong = {
            "--parts: found no --out, expected a folder. Add --out FOLDER.": self.parts
            and self.out is None,
            "--output: writes one file, found --parts. Use --out FOLDER.": self.parts
            and self.output != STANDARD,
            "Several files, --out and --part-rows need --parts. Add --parts.": several
            and not self.parts,
            f"--format: found {self.format!r}, expected jsonl or parquet.": self.format
            not in ("jsonl", "parquet"),
            f"--engine: found {self.engine!r}, expected here or ray.": self.engine
            not in ("here", "ray"),
            "--engine: Ray predicts parts, found no --parts. Add --parts.": self.engine == "ray"
            and not self.parts,
            "--address: names a Ray cluster. Add --engine ray.": self.address is not None
            and self.engine != "ray",
        }
        mistakes = [text for text, found in wrong.items() if found]
        if mistakes:
            raise RecipeError(mistakes)

    def _write_parts(self) -> None:
        from polytask.assembly.run.parts_prediction import PartsJob, predict_parts
        from polytask.assembly.run.ray_parts import RayEngine
        from polytask.cli.progress import count_rows

        job = PartsJob(
            str(self.run.absolute()),  # workers of a cluster have other working folders
            tuple(self.files),
            str(Path(str(self.out)).absolute()),
            format="parquet" if self.format == "parquet" else "jsonl",
            part_rows=self.part_rows,
            task_best=self.task_best,
            overrides=tuple(self.overrides or ()),
            top_k=self.top_k,
            probabilities=not self.no_probabilities,
            vectors=self.vectors,
        )
        with count_rows("predicting") as count:
            engine = RayEngine(self.address) if self.engine == "ray" else None
            found = predict_parts(job, count, _note, engine)
        parts = [part for own in found["inputs"] for part in own["parts"]]
        rows = sum(part["rows"] for part in parts)
        typer.echo(f"{self.out}: {rows:,} rows in {len(parts)} parts, {len(found['inputs'])} files")


def _note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)


@contextmanager
def _rows(file: str) -> Iterator[Path]:
    """Yield the file to read: standard input is copied to one, because rows are read repeatedly."""
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
    """Yield a function that writes a line; the file appears only after the last line.

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
