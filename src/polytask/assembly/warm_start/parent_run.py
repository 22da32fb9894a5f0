"""The run that a training starts from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from polytask.assembly.data.readings import Readings, readings
from polytask.assembly.model.assemble import load_model, restore_encoder
from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError, RunError
from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from polytask.modeling import MultiTaskModel
from polytask.recipe import Recipe, StartOptions, load
from polytask.recipe.mistakes import hint

_MAY_DIFFER = {"dropout", "freeze", "freeze_layers", "gradient_checkpointing"}
"""Options of an encoder that neither its vocabulary, nor its sizes, nor what it gives depends on."""


@dataclass(frozen=True)
class ParentRun:
    """A finished run that another recipe starts from.

    :param options: How the new training starts from it.
    :param model: The model of the run, on the CPU.
    :param encoder: One as the new recipe has it, with the vocabulary of the run.
    :param readings: How the files of the tasks of the run were read.
    """

    options: StartOptions
    model: MultiTaskModel
    encoder: Encoder
    readings: Readings

    @classmethod
    def open(cls, recipe: Recipe, options: StartOptions) -> ParentRun:
        """Open the run that a recipe starts from.

        :raises RunError: If there is no such run, or it cannot be read.
        :raises RecipeError: If its encoder differs from the encoder of the recipe.
        """
        run = find_finished_run(options.run)
        old = load(run.recipe)
        mistakes = [*_differences(recipe, old, options)]
        if mistakes:
            raise RecipeError(mistakes)
        encoder = restore_encoder(recipe, run)
        return cls(options, load_model(old, run)[0], encoder, readings(old, run))


def find_finished_run(path: str | Path) -> RunFolder:
    """Return a run whose training has finished.

    :raises RunError: If it has not, or there is none.
    """
    run = RunFolder.open(Path(os.path.expanduser(path)))
    if not read_json(run.facts)["finished"]:
        raise RunError(
            f"{run.path}: its training has not finished. Finish it with: polytask train "
            f"{run.recipe} --run {run.path} --resume"
        )
    return run


def with_kept(recipe: Recipe, run: RunFolder | None = None) -> Recipe:
    """Return a recipe with the tasks that it keeps of the run it starts from; these come first.

    :param run: Where the recipe has been, or will be, trained. A training that was begun there
        knows what it keeps.
    :raises RunError: If the run it starts from is needed, and not there.
    :raises RecipeError: If a task has no data and is not kept, or no task has data.
    """
    if recipe.start is None or not recipe.start.keep:
        return recipe
    begun = run is not None and run.recipe.is_file()
    known = load(run.recipe if run and begun else find_finished_run(recipe.start.run).recipe).tasks
    kept = {
        name: section.model_copy(update={"sources": ()})
        for name, section in known.items()
        if name not in recipe.trained
    }
    unknown = [name for name in recipe.tasks if name not in {**known, **recipe.trained}]
    mistakes = [
        f"tasks.{name}.from: names no data, and {recipe.start.run} has no task of that name to "
        f"keep.{hint(name, known)}"
        for name in unknown
    ]
    if not recipe.trained:
        mistakes.append("tasks: none has data. Name at least one task to train.")
    if mistakes:
        raise RecipeError(mistakes)
    return recipe.model_copy(update={"tasks": {**kept, **recipe.trained}})


def _differences(recipe: Recipe, old: Recipe, options: StartOptions) -> Iterator[str]:
    """What has to be as in the run, and is not."""
    here, there = recipe.encoder.model_dump(mode="json"), old.encoder.model_dump(mode="json")
    if recipe.encoder.kind != old.encoder.kind:
        here, there = {"kind": recipe.encoder.kind}, {"kind": old.encoder.kind}
    free = _MAY_DIFFER if options.keep else _MAY_DIFFER | {"max_length"}
    pairs = {f"encoder.{key}": (here[key], there[key]) for key in here if key not in free}
    if options.keep:
        pairs["text"] = _text(recipe), _text(old)
        pairs["training.precision"] = recipe.training.precision, old.training.precision
    why = "kept tasks need the same" if options.keep else "what was trained is taken from there"
    for key, (mine, other) in pairs.items():
        if mine != other:
            yield (
                f"{key}: {mine!r} found, but {options.run} has {other!r}, and {why}. Write it as "
                "it is there, or start from another run."
            )


def _text(recipe: Recipe) -> list[dict[str, object]]:
    return [step.model_dump(mode="json") for step in recipe.text]
