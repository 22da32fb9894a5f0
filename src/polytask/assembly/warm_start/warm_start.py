"""The model before the first step: new parameters, or parameters of the run that it starts from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from polytask.assembly.data.views import View
from polytask.assembly.model.assemble import assemble, new_encoder
from polytask.assembly.model.dependencies import (
    find_differing,
    find_reached,
    probe_inputs,
    with_tied,
)
from polytask.assembly.warm_start.parent_run import ParentRun
from polytask.core.batch import Fields
from polytask.core.capabilities import get_pretrained_name
from polytask.core.collated import Collated
from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError, RunError
from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from polytask.modeling import MultiTaskModel, frozen_among, prints_of
from polytask.recipe import Recipe
from polytask.recipe.mistakes import hint
from polytask.tasks import Task

_PROBED = 4
"""How many rows show what tasks read."""


@dataclass(frozen=True)
class Beginning:
    """A model before its first step.

    :param facts: The parameters taken from another run, for ``run.json``; empty if there is none.
    :param notes: The same, for people.
    """

    encoder: Encoder
    model: MultiTaskModel
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: Collection[str] = ()


def begin(
    recipe: Recipe, tasks: Mapping[str, Task], rows: Iterable[Fields], views: Sequence[View]
) -> Beginning:
    """Return the model that a recipe trains.

    :param tasks: Its tasks, fitted but for those that are kept from another run.
    :param rows: Training rows.
    :param views: How tasks read them.
    :raises PolytaskError: If the run that it starts from is missing, or does not fit.
    """
    if recipe.start is None:
        encoder = new_encoder(recipe, rows, views)
        return Beginning(encoder, assemble(recipe, encoder, tasks))
    origin = ParentRun.open(recipe, recipe.start)
    for name in tasks.keys() - recipe.trained.keys():
        tasks[name].restore(origin.model.tasks[name].state())
    return _begin(recipe, tasks, origin, list(islice(rows, _PROBED)))


def freeze_again(run: RunFolder, model: MultiTaskModel) -> None:
    """Freeze what was frozen when the training of a run began."""
    _freeze(model, read_json(run.facts).get("start", {}).get("frozen", ()))


def _begin(
    recipe: Recipe, tasks: Mapping[str, Task], origin: ParentRun, rows: list[Fields]
) -> Beginning:
    encoder = origin.encoder
    base = (
        prints_of(encoder.parameters()) if get_pretrained_name(encoder) is not None else frozenset()
    )
    model = assemble(recipe, encoder, tasks)
    taken = _take(origin, model)
    frozen = set(_choose(origin, model, taken))
    inputs = probe_inputs(encoder, rows)
    if origin.options.keep:
        frozen |= _keep(recipe, origin, model, inputs, taken)
    _freeze(model, frozen)
    model.given = frozen_among(model, lambda: base)
    _check_trained(model, inputs)
    named = {
        "taken": {name: t for name, t in model.state_dict().items() if name in taken},
        "new": {name: t for name, t in model.state_dict().items() if name not in taken},
        "left_over": {n: t for n, t in origin.model.state_dict().items() if n not in taken},
    }
    counts = {kind: _count(tensors) for kind, tensors in named.items()}
    facts = {"run": origin.options.run, **counts, "frozen": sorted(frozen)}
    facts["sources"] = {
        name: [options.model_dump(mode="json") for options in origin.readings[name]]
        for name in tasks
        if name not in recipe.trained
    }
    return Beginning(encoder, model, facts, [*_describe(origin.options.run, counts)])


def _take(origin: ParentRun, model: MultiTaskModel) -> set[str]:
    """Copy what fits by name and size, heads only with the labels they were trained for.

    :return: The names of what was taken.
    :raises RunError: If only heads fit.
    """
    old, own = origin.model.state_dict(), model.state_dict()
    there, here = _head_shapes(origin.model), _head_shapes(model)
    same = tuple(f"heads.{key}." for key, shape in here.items() if there.get(key) == shape)
    taken = {
        name
        for name, tensor in own.items()
        if name in old and old[name].shape == tensor.shape
        if name.startswith(same) or not name.startswith("heads.")
    }
    if all(name.startswith("heads.") for name in taken):
        raise RunError(
            f"start.run: nothing but heads of {origin.options.run} fits: its sharing is another. "
            "Write sharing as it is there, or start from another run."
        )
    with torch.no_grad():
        for name in taken:
            own[name].copy_(old[name])
    return with_tied(model, taken)


def _head_shapes(model: MultiTaskModel) -> dict[str, Any]:
    return {task.head_key: task.head_shape for task in model.tasks.values()}


def _choose(origin: ParentRun, model: MultiTaskModel, taken: Collection[str]) -> Iterator[str]:
    """Yield the names of taken parameters that the recipe freezes."""
    options = origin.options
    encoders = {id(e): e for e in map(model.sharing.encoder_of, model.tasks)}.values()
    parts = {p for encoder in encoders for p in _lowest(encoder, options.freeze_layers)}
    parts |= {p for encoder in encoders if options.freeze for p in encoder.parameters()}
    heads = tuple(f"heads.{_head_taken(origin, model, t, taken)}." for t in options.freeze_heads)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name in taken and (parameter in parts or name.startswith(heads)):
            yield name


def _lowest(encoder: Encoder, count: int) -> Iterator[Parameter]:
    """Yield the parameters registered up to some layer: embeddings come before layers.

    :raises RecipeError: If there are fewer layers.
    """
    layers = encoder.layers
    if count > len(layers):
        raise RecipeError([f"start.freeze_layers: {count}, but there are {len(layers)}"])
    last = [*layers[count - 1].parameters()][-1] if count else None
    for parameter in encoder.parameters() if count else ():
        yield parameter
        if parameter is last:
            return


def _head_taken(origin: ParentRun, model: MultiTaskModel, task: str, taken: Collection[str]) -> str:
    """Return the key of the head of a task, if it was taken."""
    key = model.tasks[task].head_key if task in model.tasks else task
    if not any(name.startswith(f"heads.{key}.") for name in taken):
        known = sorted({name.split(".")[1] for name in taken if name.startswith("heads.")})
        raise RecipeError(
            [
                f"start.freeze_heads: no head of task {task!r} was taken from "
                f"{origin.options.run}.{hint(task, known)} Taken: {', '.join(known) or 'none'}."
            ]
        )
    return key


def _keep(
    recipe: Recipe,
    origin: ParentRun,
    model: MultiTaskModel,
    inputs: Collated,
    taken: Collection[str],
) -> set[str]:
    """Return all that the kept tasks read.

    :raises RunError: If part of it is new, so that their outputs cannot stay as they are.
    """
    kept = [name for name in model.tasks if name not in model.trained_tasks]
    read = find_reached(model, inputs, kept)
    new = sorted(read - {*taken})
    if new or find_differing(origin.model, model, inputs, kept):
        shown = ", ".join(new[:3]) or "other features"
        raise RunError(
            f"start.keep: with sharing: {recipe.sharing.kind}, the outputs of {', '.join(kept)} "
            f"depend on which tasks there are besides: they read {shown}. Leave start.keep out, or "
            "keep them in a run whose tasks do not read each other's parameters."
        )
    return read


def _freeze(model: MultiTaskModel, names: Collection[str]) -> None:
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name in names:
            parameter.requires_grad_(False)


def _check_trained(model: MultiTaskModel, inputs: Collated) -> None:
    trained = {n for n, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    idle = [
        task for task in model.trained_tasks if not trained & find_reached(model, inputs, [task])
    ]
    if idle:
        raise RecipeError(
            [
                f"start: everything that {', '.join(idle)} reads is frozen; nothing is left to "
                "train. Freeze less, or give the task a separate head."
            ]
        )


def _count(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """How many numbers there are in each part of a model."""
    counts: dict[str, int] = {}
    for name, tensor in tensors.items():
        part = ".".join(name.split(".")[:2])
        counts[part] = counts.get(part, 0) + tensor.numel()
    return counts


def _describe(run: str, counts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    texts: dict[str, Callable[[str], str]] = {
        "taken": lambda parts: f"taken from {run}: {parts}",
        "new": lambda parts: f"new: {parts}",
        "left_over": lambda parts: f"left over in {run}: {parts}",
    }
    for kind, text in texts.items():
        parts = [f"{name} ({count:,} numbers)" for name, count in counts[kind].items()]
        yield f"start: {text(', '.join(parts) or 'nothing')}."
