"""The parts that the tasks of a model share: its layers, their parameters and who reaches them; FLOPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.flop_counter import FlopCounterMode

from polytask.assembly.model.assemble import reassemble, restore_parts
from polytask.assembly.run.inspection import Opened, open_new, open_trained
from polytask.assembly.warm_start.warm_start import freeze_again
from polytask.core.batch import Batch
from polytask.core.errors import DataError, PolytaskError
from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from polytask.modeling import MultiTaskModel
from polytask.modeling.layers import layers_of
from polytask.recipe import Recipe, load
from polytask.training.interference import restore_afterwards

Record = dict[str, Any]


def describe_run(run: RunFolder) -> Record:
    """Describe what the tasks of a run share; only FLOPs need its training rows.

    :return: As ``description``; ``flops`` is None where the training rows cannot be read, and
        ``flops_missing`` then says why.
    :raises RunError: If the run holds no model.
    :raises DataError: If its training rows are gone, and an older version wrote it, which did not
        keep which task trains what.
    """
    if not run.reach.is_file():
        return _describe_old(run)
    recipe = load(run.recipe)
    model = reassemble(recipe, run, *restore_parts(recipe, run))
    freeze_again(run, model)
    known = structure(recipe, model, read_json(run.reach))
    try:
        with open_trained(run) as opened:
            return {**known, "flops": _flops_of(opened)}
    except PolytaskError as error:
        return {**known, "flops": None, "flops_missing": str(error)}


def _describe_old(run: RunFolder) -> Record:
    try:
        with open_trained(run) as opened:
            return description(opened)
    except DataError as error:
        raise DataError(
            f"{error}\n{run.path}: an older version wrote this run and did not keep which tasks "
            "train which parameters, so its training rows are needed."
        ) from error


def describe_recipe(recipe: Recipe) -> Record:
    """Describe what the tasks of a recipe would share before the first step."""
    with open_new(recipe) as opened:
        return description(opened)


def description(opened: Opened) -> Record:
    """Return the facts as JSON.

    :return: ``tasks``; ``parameters``: ``all``, ``trained``, ``shared``; ``layers`` in the order of
        the model, each with ``name``, ``parameters``, those ``trained``, and the ``tasks`` that
        reach these; ``flops`` of a forward pass per example, for ``all`` tasks and each
        alone, with the mean ``tokens`` of an example.
    """
    known = structure(opened.recipe, opened.model, opened.partition.tasks_of)
    return {**known, "flops": _flops_of(opened)}


def structure(
    recipe: Recipe, model: MultiTaskModel, tasks_of: Mapping[str, Sequence[str]]
) -> Record:
    """Return the facts that need no rows.

    :param tasks_of: The tasks that reach each parameter that is trained.
    """
    parameters = dict(model.named_parameters())
    return {
        "format": 1,
        "name": recipe.name,
        "encoder": recipe.encoder.kind,
        "sharing": recipe.sharing.kind,
        "tasks": [*model.trained_tasks],
        "parameters": {
            "all": sum(p.numel() for p in parameters.values()),
            "trained": sum(p.numel() for p in model.trainable().values()),
            "shared": sum(parameters[n].numel() for n, tasks in tasks_of.items() if len(tasks) > 1),
        },
        "layers": layers(model, tasks_of),
    }


def _flops_of(opened: Opened) -> Record:
    [batch] = next(iter(opened.steps(1)))[:1]
    device = next(opened.model.parameters()).device
    return flops(opened.model, opened.parts.probe.to(device), batch.to(device))


def layers(model: MultiTaskModel, tasks_of: Mapping[str, Sequence[str]]) -> list[Record]:
    """Return the layers of a model; a layer repeats where tasks reach different parts of it."""
    found: dict[tuple[str, tuple[str, ...]], Record] = {}
    layer_of = layers_of(model)
    for name, parameter in model.named_parameters():
        layer, tasks = layer_of[name], tuple(tasks_of.get(name, ()))
        new = {"name": layer, "parameters": 0, "trained": 0, "tasks": list(tasks)}
        part = found.setdefault((layer, tasks), new)
        part["parameters"] += parameter.numel()
        part["trained"] += parameter.numel() * parameter.requires_grad
    return [*found.values()]


def flops(model: MultiTaskModel, probe: Batch, batch: Batch) -> Record:
    """Count floating-point operations of a forward pass per row, multiplications and additions.

    Looked-up vectors, norms and activations are not counted, nor are fused recurrent layers.

    :param probe: Rows with a label for every task.
    :param batch: A batch of training rows, for all tasks together.
    """
    model.eval()
    alone = {task: _per_row(model, probe.only(task)) for task in model.trained_tasks}
    everything = _per_row(model, batch)
    model.train()
    return {
        "all": everything,
        "alone": alone,
        "tokens": batch.tokens / max(1, batch.size),
    }


def _per_row(model: MultiTaskModel, batch: Batch) -> float:
    counter = FlopCounterMode(display=False)
    device = next(model.parameters()).device
    rows = {task: own.rows_b for task, own in batch.targets.items()}
    values = {task: own.values for task, own in batch.targets.items()}
    # With gradients: the counter cannot follow parameters that a head returns without them.
    with restore_afterwards(model, device), counter:
        model(batch.inputs, rows, values)
    return float(counter.get_total_flops() / max(1, batch.size))
