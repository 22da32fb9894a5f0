"""A recipe's encoder, tasks and architecture as a model, new or read back from a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from polytask.assembly.data.views import View, new_task, types_of
from polytask.assembly.model.base_weights import check_base, read_base, save_base
from polytask.core.batch import Fields
from polytask.core.capabilities import get_pretrained_name
from polytask.core.columns import Column, ColumnType
from polytask.core.encoder import Encoder
from polytask.core.errors import RunError
from polytask.core.files import read_json, write_json
from polytask.core.run_folder import RunFolder
from polytask.core.tensors import read_tensors
from polytask.encoders import encoders
from polytask.modeling import MultiTaskModel, frozen_among, prints_of
from polytask.modeling.readers import check_reads
from polytask.recipe import Recipe
from polytask.sharing import architectures
from polytask.tasks import Task

ENCODER, _TASKS, _COLUMNS = "encoder", "tasks.json", "columns.json"


def new_tasks(recipe: Recipe) -> dict[str, Task]:
    """Return the tasks of a recipe, not fitted yet.

    :raises RecipeError: If a task reads the scores of one that is not there, or that reads other rows.
    """
    made = {name: new_task(name, section) for name, section in recipe.tasks.items()}
    check_reads(made)
    return made


def new_encoder(recipe: Recipe, rows: Iterable[Fields], views: Sequence[View]) -> Encoder:
    """Return the encoder of a recipe, fitted on training rows.

    :param views: How tasks read their sources.
    """
    encoder = _with_columns(recipe, types_of(views))
    encoder.fit(rows)
    return encoder


def _with_columns(recipe: Recipe, types: Mapping[str, ColumnType]) -> Encoder:
    """Return a new encoder that knows its columns, where all tasks read the same ones."""
    encoder = encoders.build(recipe.encoder, recipe.search())
    named = {section.columns for section in recipe.tasks.values()}
    columns = next(iter(named))
    if len(named) == 1 and types.keys() >= {*columns}:
        encoder.set_columns([Column(name, types[name]) for name in columns])
    return encoder


def restore_encoder(recipe: Recipe, run: RunFolder) -> Encoder:
    """Return the encoder of a run, without the parameters that the run stores."""
    encoder = _with_columns(recipe, column_types(run))
    encoder.restore(run.model / ENCODER)
    read_base(run, encoder)
    return encoder


def save_columns(run: RunFolder, types: Mapping[str, ColumnType]) -> None:
    """Write what the input columns of a run hold, so that new rows are read alike."""
    write_json(run.model / _COLUMNS, dict(types))


def column_types(run: RunFolder) -> dict[str, ColumnType]:
    """Return what the input columns of a run hold."""
    path = run.model / _COLUMNS
    types: dict[str, ColumnType] = dict(read_json(path)) if path.is_file() else {}
    return types


def assemble(recipe: Recipe, encoder: Encoder, fitted: Mapping[str, Task]) -> MultiTaskModel:
    """Put encoder and heads together as the recipe's architecture says."""
    base = [] if get_pretrained_name(encoder) is None else [*encoder.parameters()]
    sharing = architectures.build(recipe.sharing, encoder, list(fitted))
    model = MultiTaskModel(sharing, fitted, recipe.trained)
    model.given = frozen_among(model, lambda: prints_of(base))
    return model


def save_parts(run: RunFolder, encoder: Encoder, model: MultiTaskModel) -> None:
    """Write everything about a model but its parameters; training writes those."""
    save_states(run, encoder, model.tasks)
    save_base(run, model, get_pretrained_name(encoder))


def save_states(run: RunFolder, encoder: Encoder, tasks: Mapping[str, Task]) -> None:
    """Write what ``restore_parts`` reads."""
    folder = run.model / ENCODER
    folder.mkdir(parents=True, exist_ok=True)
    encoder.save(folder)
    write_json(run.model / _TASKS, {name: task.state() for name, task in tasks.items()})


def restore_parts(recipe: Recipe, run: RunFolder) -> tuple[Encoder, dict[str, Task]]:
    """Return the encoder and the tasks of a run, with the parameters that the run does not store.

    :raises RunError: If the files are not there, or the model that has these parameters.
    """
    if not (run.model / _TASKS).is_file():
        raise RunError(
            f"{run.model}: holds no model. Train first: polytask train {run.recipe} "
            f"--run {run.path} --resume"
        )
    return restore_encoder(recipe, run), restore_tasks(recipe, run)


def restore_tasks(recipe: Recipe, run: RunFolder) -> dict[str, Task]:
    """Return the fitted tasks of a run."""
    restored = new_tasks(recipe)
    states = read_json(run.model / _TASKS)
    for name, task in restored.items():
        task.restore(states[name])
    return restored


def reassemble(
    recipe: Recipe, run: RunFolder, encoder: Encoder, restored: Mapping[str, Task]
) -> MultiTaskModel:
    """Return the model of a run without the parameters that the run stores.

    :raises RunError: If those that it does not store have changed since.
    """
    model = assemble(recipe, encoder, restored)
    check_base(run, model)
    return model


def load_model(recipe: Recipe, run: RunFolder) -> tuple[MultiTaskModel, Encoder]:
    """Return the best model of a run, ready to predict.

    :raises RunError: If the run holds no model, or one of other parameters.
    """
    encoder, restored = restore_parts(recipe, run)
    model = reassemble(recipe, run, encoder, restored)
    if not (run.parameters).is_file():
        raise RunError(
            f"{run.model}: holds no parameters yet, as no validation has been reached. Go on with: "
            f"polytask train {run.recipe} --run {run.path} --resume"
        )
    try:
        model.stored.load_state_dict(read_tensors(run.parameters))
    except RuntimeError as mismatch:
        raise RunError(f"{run.parameters}: does not fit the recipe: {mismatch}") from mismatch
    return model.eval(), encoder
