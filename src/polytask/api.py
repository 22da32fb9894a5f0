"""The commands of the command line as Python functions; importing them imports no model code."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from polytask.core.errors import add_advice
from polytask.core.optional import require

if TYPE_CHECKING:
    from rich.console import Console

    from polytask.assembly.run.checking import Findings
    from polytask.assembly.run.loaded_run import LoadedRun
    from polytask.assembly.run.prediction import Record
    from polytask.core.batch import Row
    from polytask.core.run_folder import RunFolder
    from polytask.recipe import Recipe

PathLike: TypeAlias = "str | Path"
RecipeLike: TypeAlias = "Recipe | str | Path"
"""A recipe, its path, or the name of a built-in recipe."""

RUNS = Path("runs")
"""The default folder of runs."""


def load_recipe(path: PathLike, overrides: Sequence[str] = ()) -> Recipe:
    """Read and validate a recipe, and check that its data files exist.

    :param path: A file, or the name of a built-in recipe such as ``quickstart``.
    :param overrides: Changes as ``path.to.key=value``, the value in YAML.
    :raises RecipeError: With every mistake and every missing file, each with file and line.
    """
    from polytask.analysis.named_strategies import unknown_strategies
    from polytask.recipe import load
    from polytask.recipe.missing_files import find_missing_files

    return load(Path(path), overrides, (find_missing_files, unknown_strategies))


def train(
    recipe: RecipeLike,
    run: PathLike | None = None,
    *,
    resume: bool = False,
    console: Console | None = None,
) -> RunFolder:
    """Train a recipe, score the best model on held-out rows, and write the report of the run.

    :param run: The folder; ``runs/NAME`` by default.
    :param resume: Resume the training in the folder, if there is one.
    :param console: The console for progress; standard error by default.
    :raises PolytaskError: If the recipe, the data or the folder does not fit.
    :raises InterruptedTrainingError: After a signal to stop; everything needed to resume is saved.
    """
    from polytask.assembly.run import evaluation, training
    from polytask.reports.page import write_page
    from polytask.training.processes import on_first, process_group

    loaded = _open_recipe(recipe)
    folder = Path(run or RUNS / loaded.name)

    with process_group(loaded.training.device):
        with add_advice("Run the same command with --resume to continue."):
            trained = training.train(loaded, folder, resume=resume, console=console)
        on_first(lambda: evaluation.evaluate_held_out(trained))
        on_first(lambda: write_page(trained.path))
    return trained


def load(run: PathLike, **options: Any) -> LoadedRun:
    """Load a run, to predict any number of times, also from several threads at once.

    :param run: The folder of a run, or one that ``export`` wrote for onnxruntime.
    :param options: ``device``, ``precision``, ``task_best``; see ``LoadedRun.load``.
    :raises PolytaskError: If the folder is not a run, or the model cannot be loaded.
    """
    from polytask.exports.onnx_run import load_run

    return load_run(Path(run), **options)


def evaluate(
    run: PathLike | LoadedRun,
    split: str | None = None,
    *,
    task_best: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> dict[str, Any]:
    """Score a run, and write ``scores.json`` and ``predictions/`` into it.

    :param split: ``test``, ``validation`` or ``train``; by default the first that there is.
    :param progress: Called with the number of rows of each finished batch.
    :return: Scores by task, with confidence intervals.
    :raises PolytaskError: If the folder is not a run, or its data is missing.
    """
    from polytask.assembly.run import evaluation

    return evaluation.evaluate(_open_run(run, task_best), split, progress=progress).scores


def predict(
    run: PathLike | LoadedRun,
    rows: PathLike | Iterable[Row],
    *,
    task_best: bool = False,
    overrides: Sequence[str] = (),
    left_out: Callable[[str], object] = lambda _: None,
    **wanted: Any,
) -> Iterator[Record]:
    """Predict all tasks of a run for new rows, lazily, in one encoder pass.

    :param rows: A file, read with the options of the training files, or any iterable of rows.
    :param overrides: Changes to how a file is read, as ``data.NAME.OPTION=VALUE``.
    :param left_out: Called with a sentence about tasks and rows that are not predicted.
    :param wanted: ``tasks``, ``top_k``, ``probabilities``, ``vectors``; see ``LoadedRun.predict``.
    :return: One record per row, in order: task to ``label``, ``confidence`` and ``probabilities``.
    :raises PolytaskError: If the folder is not a run, or no task can read the rows.
    """
    loaded = _open_run(run, task_best)
    return loaded.predict(rows, overrides=overrides, left_out=left_out, **wanted)


def remove(run: PathLike, task: str, new: PathLike | None = None) -> RunFolder:
    """Write a copy of a run without one task; the others predict the same, bit for bit.

    :param run: A finished run; it is not changed.
    :param new: The folder to write; ``RUN-without-TASK`` by default.
    :raises PolytaskError: If the run or task does not exist, or other tasks depend on the task.
    """
    from polytask.assembly.warm_start import removal

    path = Path(run)
    folder = path.with_name(f"{path.name}-without-{task}") if new is None else Path(new)
    return removal.remove(path, task, folder)


def compare(
    recipe: RecipeLike, run: PathLike | None = None, *, console: Console | None = None
) -> dict[str, Any]:
    """Compare the strategies of a recipe over paired seeds; write tables and a report.

    :param run: The folder; ``runs/NAME-compare`` by default. An existing comparison is continued.
    :param console: The console for progress; standard error by default.
    :return: The content of ``comparison.json``.
    :raises PolytaskError: If the recipe, the data or the folder does not fit.
    :raises InterruptedTrainingError: After a signal to stop; finished trainings are kept.
    """
    from rich.console import Console

    from polytask.analysis import compare as analysis
    from polytask.core.errors import InterruptedTrainingError, RunError
    from polytask.core.files import write_text
    from polytask.reports.comparison_text import comparison_markdown
    from polytask.reports.page import write_page

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunError("compare runs in one process, but there are several. Start it by itself.")
    loaded = _open_recipe(recipe)
    folder = Path(run or RUNS / f"{loaded.name}-compare")
    with add_advice("Run the same command to continue."):
        try:
            record = analysis.compare(loaded, folder, console or Console(stderr=True))
        except KeyboardInterrupt:
            raise InterruptedTrainingError(f"stopped; finished runs are in {folder}.") from None
    write_text(folder / "comparison.md", comparison_markdown(record))
    write_page(folder)
    return record


def analyse(target: RecipeLike, *, console: Console | None = None, **wanted: Any) -> dict[str, Any]:
    """Measure how the tasks of a run help or hurt each other, and which should share a model.

    :param target: The folder of a run; with ``curve`` or ``pairwise`` also a recipe.
    :param wanted: See ``polytask.analysis.analyse.AnalysisOptions``.
    :return: The written records, by name, and their ``folder``.
    :raises PolytaskError: If there are fewer than two tasks, or the run or its data is incomplete.
    """
    from rich.console import Console

    from polytask.analysis import analyse as analysis
    from polytask.core.run_folder import RunFolder

    shown, asked = console or Console(stderr=True), analysis.AnalysisOptions(**wanted)
    if isinstance(target, str | Path) and Path(target).is_dir():
        run = RunFolder.open(Path(target))
        return {**analysis.analyse(run, asked, shown), "folder": str(run.analysis)}
    recipe = _open_recipe(target)
    folder = RUNS / f"{recipe.name}-analysis"
    with add_advice("Run the same command to continue."):
        found = analysis.analyse_recipe(recipe, folder, asked, shown)
    return {**found, "folder": str(folder)}


def describe(target: RecipeLike) -> dict[str, Any]:
    """Return the layers and parameters that tasks share, and the FLOPs per example.

    :param target: A recipe, or the folder of a run.
    :raises PolytaskError: If the recipe, the run or its data does not fit.
    """
    from polytask.analysis import describe as facts
    from polytask.core.run_folder import RunFolder

    if isinstance(target, str | Path) and Path(target).is_dir():
        return facts.describe_run(RunFolder.open(Path(target)))
    return facts.describe_recipe(_open_recipe(target))


def report(folder: PathLike, out: PathLike | None = None, *, language: str = "en") -> Path:
    """Write the report of a run or of a comparison: one self-contained HTML file.

    :param out: The file; ``report.html`` in the folder by default.
    :param language: The first language, ``en`` or ``zh``; the page can switch between them.
    :return: The written file.
    :raises RunError: If the folder holds neither, or the language is unknown.
    """
    from polytask.reports.page import write_page

    return write_page(Path(folder), None if out is None else Path(out), language)


def watch(run: PathLike, port: int = 8765, **options: Any) -> None:
    """Show a running training on a page that only this machine can open, until Ctrl-C.

    :param run: Its folder, which may not exist yet.
    :param options: ``language`` as for ``report``; ``ready``, called with the address of the page.
    :raises RunError: If the folder holds something else, or the port is taken.
    """
    require("fastapi", part="polytask watch", extra="serve")
    from polytask.serving.watching import watch_run

    watch_run(Path(run), port, **options)


def serve(runs: Sequence[PathLike], **options: Any) -> None:
    """Answer requests over HTTP until SIGTERM or Ctrl-C.

    :param runs: Run folders; requests name a run by the name of its folder.
    :param options: ``address``, ``port``, ``key`` and others, see ``serving.options.ServeOptions``; and
        ``ready``, called with the address once requests are taken.
    :raises RunError: If a run cannot be loaded or answers otherwise than before, or the port is taken.
    """
    require("fastapi", part="polytask serve", extra="serve")
    from polytask.serving.server import serve_runs

    serve_runs([Path(run) for run in runs], **options)


def export(
    run: PathLike, folder: PathLike, to: str, tasks: Sequence[str] | None = None, **options: Any
) -> Path:
    """Write a run for other libraries, after comparing the export with the run on stored rows.

    :param to: ``onnx`` or ``huggingface``.
    :param tasks: Names of tasks; by default all that the format can hold.
    :param options: ``note``, ``int8``, ``max_loss``; see ``exports.export.ExportOptions``.
    :raises PolytaskError: If the run cannot be exported.
    """
    from polytask.exports.export import ExportOptions, export_run

    wanted = ExportOptions(to, tasks, **options)
    return export_run(load(run, device="cpu", precision="fp32"), Path(folder), wanted)


def check(recipe: RecipeLike) -> Findings:
    """Check the data of a recipe: files, columns, labels.

    :return: All mistakes and warnings, each with file and line, and the number of rows of each task.
        Training can start if there are no mistakes.
    :raises RecipeError: If the recipe itself is not valid.
    """
    from polytask.analysis.named_strategies import wrong_strategies
    from polytask.assembly.run import checking

    loaded = _open_recipe(recipe)
    found = checking.check(loaded)
    return replace(found, mistakes=[*wrong_strategies(loaded), *found.mistakes])


def _open_run(run: PathLike | LoadedRun, task_best: bool) -> LoadedRun:
    """Return a loaded run."""
    from polytask.core.errors import RecipeError

    if isinstance(run, str | Path):
        return load(run, task_best=task_best)
    if task_best:
        raise RecipeError(["task_best: the run is loaded already. Give it to polytask.load."])
    return run


def _open_recipe(recipe: RecipeLike) -> Recipe:
    """Return the recipe itself, or the recipe at the given path."""
    return load_recipe(recipe) if isinstance(recipe, str | Path) else recipe
