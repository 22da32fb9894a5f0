"""A model with its training rows for inspection: of a run, or of a recipe before training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from polytask.assembly.data.inputs import with_columns
from polytask.assembly.data.loading import Data, load_data
from polytask.assembly.run.training_parts import fit_parts, training_parts
from polytask.core.batch import Batch
from polytask.core.errors import RunError
from polytask.core.partition import Partition
from polytask.core.run_folder import RunFolder
from polytask.core.scratch import scratch_folder
from polytask.core.tensors import read_tensors
from polytask.modeling import MultiTaskModel
from polytask.recipe import Recipe, load
from polytask.training.interference import Observer
from polytask.training.precision import FloatPrecision, select_device
from polytask.training.randomness import seed_everything
from polytask.training.session import Parts


@dataclass(frozen=True)
class Opened:
    """A model with its training rows.

    :param partition: Which parameters each task reaches.
    """

    recipe: Recipe
    data: Data
    parts: Parts
    partition: Partition

    @property
    def model(self) -> MultiTaskModel:
        """The model, as it is while it is trained."""
        return self.parts.model

    def steps(self, count: int) -> Iterator[list[Batch]]:
        """Yield the batches of so many steps of training, in the order of the recipe's seed."""
        batches = iter(self.parts.loader)
        size = self.recipe.training.accumulate
        for _ in range(count):
            yield [*islice(batches, size)]

    def observer(self) -> Observer:
        """Sees the gradients of the tasks."""
        device = select_device(self.recipe.training.device)
        precision = FloatPrecision.choose("fp32", device)
        return Observer(self.model, self.partition, device, precision.autocast)


@contextlib.contextmanager
def open_trained(run: RunFolder) -> Iterator[Opened]:
    """The best model of a run, with the rows that it was trained on.

    :raises RunError: If the run holds no model.
    :raises DataError: If its data are gone or have changed.
    """
    recipe = load(run.recipe)
    if not run.parameters.is_file():
        raise RunError(
            f"{run.model}: holds no parameters yet. Go on with: polytask train {run.recipe} "
            f"--run {run.path} --resume"
        )
    with _open(recipe, run, started=True) as opened:
        opened.model.stored.load_state_dict(read_tensors(run.parameters))
        yield opened


@contextlib.contextmanager
def open_new(recipe: Recipe) -> Iterator[Opened]:
    """The model that a recipe begins with, and its training rows; nothing is written."""
    recipe = with_columns(recipe)
    with scratch_folder() as nowhere, _open(recipe, RunFolder(nowhere), started=False) as opened:
        yield opened


@contextlib.contextmanager
def _open(recipe: Recipe, run: RunFolder, *, started: bool) -> Iterator[Opened]:
    with scratch_folder() as scratch:
        data = load_data(recipe, run.splits)
        seed_everything(recipe.training.seed)
        fitted = fit_parts(recipe, run, data, started=started)
        parts = training_parts(recipe, data, fitted, scratch)
        device = select_device(recipe.training.device)
        model = parts.model.to(device).train()
        yield Opened(recipe, data, parts, model.partition(parts.probe.to(device)))
