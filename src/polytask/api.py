"""The verbs of the command line in Python. Importing this module imports no model code."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

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
"""A recipe, the path of one, or the name of a built-in one."""

RUNS = Path("runs")
"""Where runs go unless a folder is named."""


def load_recipe(path: PathLike, overrides: Sequence[str] = ()) -> Recipe:
    """Read and validate a recipe, and look up its data files without reading them.

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
    """Train a recipe into a run folder, and score the best model on what is held out.

    Ends with ``report.html`` in the folder.

    :param run: The folder; ``runs/NAME`` by default.
    :param resume: Resume the training in the folder, if there is one.
    :param console: Where progress goes; standard error by default.
    :raises PolytaskError: If the recipe, the data or the folder does not fit.
    :raises InterruptedTrainingError: If a signal asked to stop; everything needed to resume is saved.
    """
    from polytask.assembly.run import evaluation, training
    from polytask.assembly.run.loaded_run import LoadedRun
    from polytask.reports.page import write_page
    from polytask.training.processes import on_first, process_group

    loaded = _recipe(recipe)
    folder = Path(run or RUNS / loaded.name)

    def score(trained: RunFolder) -> None:
        if evaluation.has_held_out(trained):
            evaluation.evaluate(LoadedRun.load(trained))

    with process_group(loaded.training.device):
        with _advice("Run the same command with --resume to continue."):
            trained = training.train(loaded, folder, resume=resume, console=console)
        on_first(lambda: score(trained))
        on_first(lambda: write_page(trained.path))
    return trained


def load(run: PathLike, **options: Any) -> LoadedRun:
    """Load a run, to predict any number of times, also from several threads at once.

    :param options: ``device``, ``precision``: by default as the recipe says. ``task_best=True``: each
        task has the model of its best validation. See ``LoadedRun.load``.
    :raises PolytaskError: If the folder is no run, or the model cannot be loaded.
    """
    from polytask.assembly.run.loaded_run import LoadedRun
    from polytask.core.run_folder import RunFolder

    return LoadedRun.load(RunFolder.open(Path(run)), **options)


def evaluate(
    run: PathLike | LoadedRun,
    split: str | None = None,
    *,
    task_best: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> dict[str, Any]:
    """Score a run; writes ``scores.json`` and ``predictions/`` into it.

    :param split: ``test``, ``validation`` or ``train``; by default test, or validation where there
        is no test.
    :param progress: Called with the number of rows of each batch that is done.
    :return: Scores by task, with confidence intervals.
    :raises PolytaskError: If the folder is no run, or its data is gone.
    """
    from polytask.assembly.run import evaluation

    return evaluation.evaluate(_loaded(run, task_best), split, progress=progress).scores


def predict(
    run: PathLike | LoadedRun,
    rows: PathLike | Iterable[Row],
    *,
    task_best: bool = False,
    overrides: Sequence[str] = (),
    left_out: Callable[[str], object] = lambda _: None,
    **wanted: Any,
) -> Iterator[Record]:
    """Predict all tasks of a run for new rows, lazily, from one encoder pass.

    :param rows: A file, which each task reads as its training files, or any iterable of rows.
    :param overrides: Changes to how a file is read, as ``data.NAME.OPTION=VALUE``.
    :param left_out: Called with sentences on tasks and rows that are not predicted.
    :param wanted: ``tasks``, ``top_k``, ``probabilities``, ``vectors``; see ``LoadedRun.predict``.
    :return: One record per row, in order: task to ``label``, ``confidence`` and ``probabilities``.
    :raises PolytaskError: If the folder is no run, or no task can read the rows.
    """
    loaded = _loaded(run, task_best)
    return loaded.predict(rows, overrides=overrides, left_out=left_out, **wanted)


def remove(run: PathLike, task: str, new: PathLike | None = None) -> RunFolder:
    """Write a run without one of its tasks; the others answer as before, bit for bit.

    :param run: A finished run; it stays as it is.
    :param new: The folder to write; ``RUN-without-TASK`` by default.
    :raises PolytaskError: If there is no such run or task, or other tasks depend on this one.
    """
    from polytask.assembly.warm_start import removal

    path = Path(run)
    folder = path.with_name(f"{path.name}-without-{task}") if new is None else Path(new)
    return removal.remove(path, task, folder)


def compare(
    recipe: RecipeLike, run: PathLike | None = None, *, console: Console | None = None
) -> dict[str, Any]:
    """Compare the strategies that a recipe names, over paired seeds.

    Writes ``comparison.json``, ``comparison.md`` and ``report.html``.

    :param run: The folder; ``runs/NAME-compare`` by default. An existing one is continued.
    :param console: Where progress goes; standard error by default.
    :return: The comparison, as it is kept in ``comparison.json``.
    :raises PolytaskError: If the recipe, the data or the folder does not fit.
    :raises InterruptedTrainingError: If a signal asked to stop; what is done is kept.
    """
    from rich.console import Console

    from polytask.analysis import compare as analysis
    from polytask.core.errors import InterruptedTrainingError, RunError
    from polytask.core.files import write_text
    from polytask.reports.comparison_text import comparison_markdown
    from polytask.reports.page import write_page

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunError("compare runs in one process, but there are several. Start it by itself.")
    loaded = _recipe(recipe)
    folder = Path(run or RUNS / f"{loaded.name}-compare")
    with _advice("Run the same command to continue."):
        try:
            record = analysis.compare(loaded, folder, console or Console(stderr=True))
        except KeyboardInterrupt:
            raise InterruptedTrainingError(f"stopped; what is done is in {folder}.") from None
    write_text(folder / "comparison.md", comparison_markdown(record))
    write_page(folder)
    return record


def analyse(target: RecipeLike, *, console: Console | None = None, **wanted: Any) -> dict[str, Any]:
    """Find out which tasks of a run help or hurt which, and which should share a model.

    Writes ``analysis/`` into the run.

    :param target: The folder of a run; with ``curve`` or ``pairwise`` also a recipe, for which
        ``runs/NAME-analysis`` is written.
    :param wanted: ``steps``, ``models``, ``parameters``, ``overlapping``, ``pairwise``,
        ``verify``, ``seeds``, ``curve``; see ``polytask.analysis.analyse.Wanted``.
    :return: The records that were written, by name, and their ``folder``.
    :raises PolytaskError: If there are not two tasks, or the run or its data are not whole.
    """
    from rich.console import Console

    from polytask.analysis import analyse as analysis
    from polytask.core.run_folder import RunFolder

    shown, asked = console or Console(stderr=True), analysis.AnalysisOptions(**wanted)
    if isinstance(target, str | Path) and Path(target).is_dir():
        run = RunFolder.open(Path(target))
        return {**analysis.analyse(run, asked, shown), "folder": str(run.analysis)}
    recipe = _recipe(target)
    folder = RUNS / f"{recipe.name}-analysis"
    with _advice("Run the same command to continue."):
        found = analysis.analyse_recipe(recipe, folder, asked, shown)
    return {**found, "folder": str(folder)}


def describe(target: RecipeLike) -> dict[str, Any]:
    """Describe what the tasks of a recipe or run share: layers, parameters, FLOPs per example.

    :param target: A recipe, or the folder of a run.
    :raises PolytaskError: If the recipe, the run or its data does not fit.
    """
    from polytask.analysis import describe as facts
    from polytask.core.run_folder import RunFolder

    if isinstance(target, str | Path) and Path(target).is_dir():
        return facts.describe_run(RunFolder.open(Path(target)))
    return facts.describe_recipe(_recipe(target))


def report(folder: PathLike, out: PathLike | None = None, *, language: str = "en") -> Path:
    """Write the page of a run or of a comparison: one HTML file that needs nothing else.

    :param out: The file; ``report.html`` in the folder by default.
    :param language: What it opens in, ``en`` or ``zh``; it holds both, with a switch.
    :return: The file.
    :raises RunError: If the folder holds neither, or there is no such language.
    """
    from polytask.reports.page import write_page

    return write_page(Path(folder), None if out is None else Path(out), language)


def watch(
    run: PathLike,
    port: int = 8765,
    *,
    language: str = "en",
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Show a training while it runs, on a page of this machine, until Ctrl-C.

    :param run: Its folder, which may not be there yet.
    :param port: 0 for any that is free.
    :param ready: Called with the address of the page.
    :raises RunError: If the folder holds something else, or the port is taken.
    """
    from polytask.reports.watch import serve

    serve(Path(run), port, language, ready)


def serve(
    runs: Sequence[PathLike], *, ready: Callable[[str], object] = lambda url: None, **options: Any
) -> None:
    """Answer requests over HTTP until SIGTERM or Ctrl-C.

    :param runs: Run folders; requests name a run by the name of its folder.
    :param ready: Called with the address once requests are taken.
    :param options: ``address``, ``port``, ``key``, ``rows`` and others; see
        ``polytask.serving.options.ServeOptions``.
    :raises RunError: If a run cannot be loaded, answers differently than when it was trained, or the
        port is taken.
    """
    require("fastapi", part="polytask serve", extra="serve")
    require("uvicorn", part="polytask serve", extra="serve")
    from polytask.serving.options import ServeOptions
    from polytask.serving.server import serve_runs

    serve_runs([Path(run) for run in runs], ServeOptions(**options), ready)


def check(recipe: RecipeLike) -> Findings:
    """Look for mistakes in the data of a recipe: files, columns, labels.

    :return: All mistakes and warnings, each with file and line, and how many rows each task uses;
        training can start if there are no mistakes.
    :raises RecipeError: If the recipe itself is not valid.
    """
    from polytask.analysis.named_strategies import wrong_strategies
    from polytask.assembly.run import checking

    loaded = _recipe(recipe)
    found = checking.check(loaded)
    return replace(found, mistakes=[*wrong_strategies(loaded), *found.mistakes])


def _loaded(run: PathLike | LoadedRun, task_best: bool) -> LoadedRun:
    """Return a loaded run."""
    from polytask.core.errors import RecipeError

    if isinstance(run, str | Path):
        return load(run, task_best=task_best)
    if task_best:
        raise RecipeError(["task_best: the run is loaded already. Give it to polytask.load."])
    return run


def _recipe(recipe: RecipeLike) -> Recipe:
    """A recipe, read if it is a path."""
    return load_recipe(recipe) if isinstance(recipe, str | Path) else recipe


@contextmanager
def _advice(text: str) -> Iterator[None]:
    """Say how to go on with a training that a signal has stopped."""
    from polytask.core.errors import InterruptedTrainingError

    try:
        yield
    except InterruptedTrainingError as stopped:
        raise InterruptedTrainingError(f"{stopped} {text}") from stopped
