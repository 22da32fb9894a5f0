"""A training that is resumed: what may have changed, and more epochs for one that has finished."""

from __future__ import annotations

from polytask.core.errors import RunError
from polytask.core.files import read_json, write_json
from polytask.core.run_folder import RunFolder
from polytask.recipe import Recipe, dump
from polytask.recipe.difference import find_differences
from polytask.training.session import Session

_LENGTH = {"training.epochs", "training.steps", "training.patience"}
"""Options that a resumed training may raise; the rate follows the share of the new budget."""

_MAY_CHANGE = _LENGTH | {
    f"training.{name}"
    for name in (
        "shard",
        "workers",
        "not_finite",
        "keep",
        "checkpoint_minutes",
        "checkpoint_steps",
        "trackers",
    )
}
"""Options that a resumed training may change: none of the steps that are done depends on them."""


def open_folder(run: RunFolder, recipe: Recipe, *, resume: bool) -> tuple[bool, bool]:
    """Return whether the folder holds a training to resume, and whether there is nothing to do.

    Its recipe must lead to the same steps, as far as they are done.
    """
    file = next((path for path in (run.path, *run.path.parents) if path.is_file()), None)
    if file is not None:
        raise RunError(f"{file}: is a file. Choose a folder for the run with --run.")
    if not run.path.exists() or all(file.name.startswith(".") for file in run.path.iterdir()):
        return (
            False,
            False,
        )  # hidden files: left by a training that was killed before its first write
    if not resume:
        raise RunError(
            f"{run.path}: the folder is not empty. Choose another one with --run, or resume "
            "the training it holds with --resume. Nothing was overwritten."
        )
    if not run.recipe.is_file():
        raise RunError(f"{run.path}: is not a run folder: it holds no {run.recipe.name}.")
    run.require_format()
    changed = _find_changes(run, recipe)
    other = [key for key in changed if key not in _MAY_CHANGE and not key.startswith("compare.")]
    if other:
        raise RunError(
            f"{run.path}: holds a training of another recipe, {run.recipe}: {', '.join(other)} "
            "differ. Resume with that one, or choose another folder with --run."
        )
    started = any(run.checkpoints.glob("step-*"))
    finished = run.facts.is_file() and read_json(run.facts)["finished"]
    longer = finished and not _LENGTH.isdisjoint(changed)
    if longer and not started:
        raise RunError(
            f"{run.path}: holds no checkpoint to resume from. Train into another folder."
        )
    return started, finished and not longer


def refuse_begun(run: RunFolder) -> None:
    """Refuse to write into a folder in which another process has begun a training meanwhile.

    :raises RunError: If it has.
    """
    if run.recipe.is_file():
        raise RunError(
            f"{run.path}: another training has begun in this folder meanwhile. Choose another one "
            "with --run. Nothing was overwritten."
        )


def reopen(recipe: Recipe, run: RunFolder, session: Session) -> None:
    """Mark a training as unfinished if it was given more epochs, steps or patience.

    :param session: The training, after its last checkpoint was loaded.
    :raises RunError: If that leaves no step to do.
    """
    if _LENGTH.isdisjoint(_find_changes(run, recipe)):
        return
    if session.done:
        budget = session.budget
        advice = "Ask for more than that." if budget.finished else "Raise training.patience, too."
        why = "" if budget.finished else " and stopped early"
        raise RunError(
            f"{run.path}: {recipe.training.budget} are asked for, but its training has done "
            f"{budget.epoch:.4g} epochs in {budget.step} steps{why}. {advice}"
        )
    if run.facts.is_file():
        write_json(run.facts, {**read_json(run.facts), "finished": False})


def _find_changes(run: RunFolder, recipe: Recipe) -> list[str]:
    return find_differences(run.recipe.read_text(encoding="utf-8"), dump(recipe))
