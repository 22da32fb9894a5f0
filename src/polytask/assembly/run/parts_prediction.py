"""Prediction of many files as parts that a killed process does not lose.

A part has its name only when it is complete, and its name and rows follow from the inputs and the
options. A process that is started again therefore predicts exactly the missing parts.
"""

from __future__ import annotations

import fcntl
import glob
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from polytask.assembly.data.new_rows import NewRows
from polytask.assembly.run.broken_lines import copy_readable
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.assembly.run.part_files import PartFormat, remove_temporary, write_part
from polytask.assembly.run.prediction import Note, Record, RecordOptions
from polytask.core.errors import DataError, RunError
from polytask.core.files import read_json, sha256, write_json
from polytask.core.run_folder import RunFolder
from polytask.core.scratch import scratch_folder

MANIFEST = "manifest.json"
_LOCK = ".lock"
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt", ".conll", ".conllu")
Progress = Callable[[int], object]


@dataclass(frozen=True)
class PartsJob:
    """What is predicted, and how; the same job continues in its folder.

    :param run: The folder of the run.
    :param part_rows: Rows of a part; 0: one part per file.
    """

    run: str
    inputs: tuple[str, ...]
    folder: str
    format: PartFormat = "jsonl"
    part_rows: int = 0
    task_best: bool = False
    overrides: tuple[str, ...] = ()
    top_k: int | None = None
    probabilities: bool = True
    vectors: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The options that decide the content of parts."""
        other = ("run", "inputs", "folder")
        return {
            name: [*value] if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name not in other
        }

    def load(self) -> LoadedRun:
        """Load the run."""
        return LoadedRun.load(RunFolder.open(Path(self.run)), task_best=self.task_best)

    def part(self, file: int, number: int) -> Path:
        """Return the path of a part."""
        return Path(self.folder) / f"part-{file:05d}-{number:05d}.{self.format}"


Engine = Callable[[PartsJob, Sequence[tuple[int, str]], Progress, Note], Iterable[tuple[int, int]]]
"""Predicts files by number and path; yields the number and the rows of each finished file."""


def predict_parts(
    job: PartsJob, progress: Progress, note: Note, engine: Engine | None = None
) -> dict[str, Any]:
    """Predict all files of a job that are not finished, and return the manifest.

    :param progress: Called with the number of rows that were predicted.
    :param engine: Where files are predicted; this process by default.
    :raises RunError: If the folder belongs to another job, or another process works in it.
    :raises DataError: If an input is missing or no task can read it. Finished parts are kept.
    """
    folder = Path(job.folder)
    files = find_inputs(job.inputs)
    with _locked(folder):
        remove_temporary(folder)
        manifest = _open_manifest(job, files)
        left = [
            (number, own["path"])
            for number, own in enumerate(manifest["inputs"])
            if not _is_finished(job, number, own["rows"])
        ]
        if len(left) < len(files):
            note(f"{len(files) - len(left)} of {len(files)} files are finished already.")
        for number, rows in (engine or predict_here)(job, left, progress, note) if left else ():
            own = manifest["inputs"][number]
            own["rows"], own["parts"] = rows, _parts(job, number, rows)
            write_json(folder / MANIFEST, manifest)
    return manifest


def predict_here(
    job: PartsJob, files: Sequence[tuple[int, str]], progress: Progress, note: Note
) -> Iterator[tuple[int, int]]:
    """Predict files in this process."""
    run = job.load()
    for number, path in files:
        yield number, predict_file(run, job, (number, path), progress, note)


def predict_file(
    run: LoadedRun, job: PartsJob, file: tuple[int, str], progress: Progress, note: Note
) -> int:
    """Predict the missing parts of one file, and return the rows of the file."""
    number, path = file
    wanted = RecordOptions(job.top_k, job.probabilities, job.vectors)
    if not Path(path).stat().st_size:  # engines write empty files; they have no columns to check
        write_part(job.part(number, 0), (), [*run.tasks])
        return 0
    with scratch_folder() as scratch:
        tables, errors = _read(run, Path(path), job.overrides, scratch, note)
        rows = len(next(own.table for own in tables if own.views))
        for place, (first, count) in enumerate(_ranges(rows, job.part_rows)):
            if not job.part(number, place).exists():
                some = _select(tables, range(first, first + count))
                found = run.predict_tables(some, wanted, note) if count else ()
                records = (
                    _refused(record, wanted, errors[row]) if row in errors else record
                    for row, record in enumerate(found, first)
                )
                write_part(job.part(number, place), _counted(records, progress), [*run.tasks])
    return rows


def _read(
    run: LoadedRun, path: Path, overrides: Sequence[str], scratch: Path, note: Note
) -> tuple[list[NewRows], dict[int, str]]:
    """Return the tables of a file, and the error of each row that is no JSON."""
    views = run.views_for(None)
    try:
        return run.read_file(path, views, overrides, note), {}
    except DataError:
        copy, errors = copy_readable(path, scratch)
        if not errors:
            raise
    note(f"{path}: {len(errors)} lines cannot be parsed. The first: {errors[min(errors)]}")
    return run.read_file(copy, views, overrides, note), errors


def _refused(record: Record, wanted: RecordOptions, error: str) -> Record:
    return {task: wanted.refused_record(error) for task in record}


def find_inputs(names: Iterable[str]) -> list[Path]:
    """Return the files of names, which may be files, folders or patterns; each file once.

    :raises DataError: If a name matches no file.
    """
    found: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        if path.is_dir():
            own = [one for one in sorted(path.iterdir()) if _is_data(one)]
        else:
            own = [path] if path.is_file() else [Path(one) for one in sorted(glob.glob(name))]
        if not own:
            raise DataError(
                f"{name}: found no file. Expected a file, a folder of files named "
                f"{', '.join(_SUFFIXES)} (also .gz), or a pattern in quotes."
            )
        found |= dict.fromkeys(one.absolute() for one in own if one.is_file())
    return [*found]


def _is_data(path: Path) -> bool:
    shown = not path.name.startswith((".", "_")) and path.is_file()
    return shown and path.name.lower().removesuffix(".gz").endswith(_SUFFIXES)


def _ranges(rows: int, part_rows: int) -> list[tuple[int, int]]:
    """Return the first row and the number of rows of each part; a file has at least one part."""
    size = part_rows or max(rows, 1)
    return [(first, min(size, rows - first)) for first in range(0, max(rows, 1), size)]


def _parts(job: PartsJob, number: int, rows: int) -> list[dict[str, Any]]:
    ranges = enumerate(_ranges(rows, job.part_rows))
    return [{"name": job.part(number, at).name, "rows": count} for at, (_, count) in ranges]


def _is_finished(job: PartsJob, number: int, rows: int | None) -> bool:
    """Tell whether a file has all its parts; someone may have deleted one."""
    if rows is None:
        return False
    places = range(len(_ranges(rows, job.part_rows)))
    return all(job.part(number, place).exists() for place in places)


def _select(tables: Sequence[NewRows], rows: range) -> list[NewRows]:
    return [replace(own, table=own.table.select(rows)) for own in tables]


def _counted(records: Iterable[Any], progress: Progress) -> Iterator[Any]:
    for record in records:
        yield record
        progress(1)


def _open_manifest(job: PartsJob, files: Sequence[Path]) -> dict[str, Any]:
    """Return the manifest of a folder, or write a new one.

    :raises RunError: If the manifest is of another run, of other inputs or of other options.
    """
    path = Path(job.folder) / MANIFEST
    known = read_json(path) if path.exists() else None
    wanted = {
        "run": str(Path(job.run).absolute()),
        "parameters": _parameters(RunFolder.open(Path(job.run))),
        "options": job.options,
        "inputs": [_describe(one, known) for one in files],
    }
    if known is None:
        if any(Path(job.folder).glob("part-*")):
            raise RunError(f"{job.folder}: holds parts, but no {MANIFEST}. Name another folder.")
        write_json(path, wanted)
        return wanted
    for key, text in (("parameters", "run"), ("options", "options"), ("inputs", "inputs")):
        if _compared(known[key]) != _compared(wanted[key]):
            raise RunError(
                f"{job.folder}: belongs to other {text} (see {MANIFEST}: {key}); expected the same "
                "command as before. Name another folder with --out, or repeat that command."
            )
    return dict(known)


def _compared(value: Any) -> Any:
    """Return what must not differ: the time of a file may, if its content does not."""
    if isinstance(value, list):
        return [(own["path"], own["size"], own["sha256"]) for own in value]
    return value


def _parameters(run: RunFolder) -> dict[str, str]:
    files = [run.recipe, *sorted(run.model.rglob("*.safetensors"))]
    return {one.relative_to(run.path).as_posix(): sha256(one) for one in files}


def _describe(path: Path, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return size, time and SHA-256 of an input; it is hashed again only if the others changed."""
    facts = {"path": str(path), "size": path.stat().st_size, "mtime_ns": path.stat().st_mtime_ns}
    for own in known["inputs"] if known else ():
        if all(own[key] == value for key, value in facts.items()):
            return {**facts, "sha256": own["sha256"], "rows": None, "parts": []}
    return {**facts, "sha256": sha256(path), "rows": None, "parts": []}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder, so that a second process does not write to it; a kill releases it.

    :raises RunError: If another process holds it, or there cannot be such a folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _LOCK).open("w")
    except OSError as error:
        raise RunError(
            f"--out {folder}: cannot be written: {error.strerror}. Name another."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{folder}: another process writes to it. Wait until it ends.") from None
        yield
