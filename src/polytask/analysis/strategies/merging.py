"""Strategies that merge the encoders of the single-task models; heads stay as they are.

All of these models began as the same encoder. A task vector is what training for a task has
changed: Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023, section 2.
https://arxiv.org/abs/2212.04089
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from polytask.analysis.comparison import Comparison
from polytask.analysis.runs import costs_of
from polytask.analysis.state_vectors import common_names, flatten, unflatten
from polytask.analysis.strategies.base import Answered, Strategy
from polytask.analysis.strategies.single import SingleStrategy
from polytask.analysis.strategies.trained import Model
from polytask.assembly.data.labels import TrainingFields, fit_tasks
from polytask.assembly.data.loading import TRAIN, VALIDATION
from polytask.assembly.data.scoring import evaluation_rows
from polytask.assembly.model.assemble import ENCODER, new_tasks
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.assembly.warm_start.warm_start import begin
from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.core.files import sha256
from polytask.core.scratch import scratch_folder
from polytask.evaluation.merit import Merit, first_mean
from polytask.evaluation.options import EvaluationOptions
from polytask.evaluation.score import Outcome, score
from polytask.recipe import Recipe
from polytask.training.randomness import seed_everything
from polytask.training.selection import Criterion


class MergingStrategy(Strategy):
    """start + coefficient · direction, where the direction is made of the task vectors."""

    shares: ClassVar[bool] = True
    coefficients: ClassVar[tuple[float, ...]]
    """Coefficients to try on validation rows; without such rows the first one is taken."""

    @abstractmethod
    def direction(self, deltas_TP: Tensor, seed: int) -> Tensor:
        """Return the direction in which the start is changed, P numbers.

        :param deltas_TP: The task vector of each of T models: trained parameters minus initial
            parameters. It is large, and may be overwritten.
        """

    @override
    def chooses(self, recipe: Recipe) -> bool:
        return recipe.compare.trials > 0

    @override
    def answer(self, comparison: Comparison, seed: int) -> Answered:
        single = SingleStrategy("single")
        models = single.models(comparison, seed)
        comparison.console.print(f"{self.name}/seed-{seed}", style="bold")
        encoders = Encoders(comparison, models, seed)
        direction_P = self.direction(encoders.deltas_TP(), seed)
        validation = {}
        if len(self.coefficients) > 1 and comparison.selects:
            tried = encoders.outcomes(direction_P, self.coefficients, VALIDATION)
            validation = {c: _merit(comparison, found) for c, found in tried.items()}
        best = max(validation, key=lambda c: validation[c], default=self.coefficients[0])
        [outcomes] = encoders.outcomes(direction_P, [best], comparison.held_out).values()
        notes = {**single.notes(comparison, models), "coefficient": best}
        shown = {str(c): first_mean(found) for c, found in validation.items()}
        notes |= {"validation": shown} if shown else {}
        costs = single.costs(comparison, models) | encoders.inference_costs()
        return Answered(costs, outcomes, notes)


@dataclass(frozen=True)
class Encoders:
    """The encoders of the single-task models of one seed.

    :param models: By task.
    """

    comparison: Comparison
    models: Mapping[str, Model]
    seed: int

    @cached_property
    def start(self) -> Encoder:
        """The initial encoder of all models.

        :raises RecipeError: If their vocabularies differ.
        """
        self._require_alike()
        [(task, model), *_] = self.models.items()
        data = self.comparison.data_of(model.recipe)
        seed_everything(self.seed)
        tables, tasks = data.split(TRAIN), new_tasks(model.recipe)
        labels = fit_tasks(model.recipe, tasks, tables)
        begun = begin(model.recipe, tasks, TrainingFields(data.views, tables, labels), data.views)
        return begun.model.sharing.encoder_of(task)

    @cached_property
    def names(self) -> list[str]:
        """Names of the parameters that all models have."""
        states = [self.start.state_dict()]
        for task, trained in self._load():
            # Names and shapes are enough; tensors would keep every model in memory.
            state = _encoder(trained, task).state_dict()
            states.append({name: tensor.to("meta") for name, tensor in state.items()})
        return common_names(states)

    def deltas_TP(self) -> Tensor:
        """Return the task vectors; at most two models are in memory besides them."""
        start_P = flatten(self.start.state_dict(), self.names)
        deltas_TP = torch.empty(len(self.models), len(start_P))
        for delta_P, (task, trained) in zip(deltas_TP, self._load(), strict=True):
            trained_P = flatten(_encoder(trained, task).state_dict(), self.names)
            torch.sub(trained_P, start_P, out=delta_P)
        return deltas_TP

    def outcomes(
        self, direction_P: Tensor, coefficients: Sequence[float], split: str
    ) -> dict[float, dict[str, Outcome]]:
        """Predict a split with start + c · direction as the encoder of every model.

        :return: Outcomes by coefficient and task.
        """
        start_P = flatten(self.start.state_dict(), self.names)
        found: dict[float, dict[str, Outcome]] = {c: {} for c in coefficients}
        for task, trained in self._load():
            encoder = _encoder(trained, task)
            data = self.comparison.data_of(self.models[task].recipe)
            with scratch_folder() as scratch:
                tables = data.split(split)
                rows = evaluation_rows(data.views, tables, trained.encoder, trained.tasks, scratch)
                for c in coefficients:
                    merged_P = torch.add(start_P, direction_P, alpha=c)
                    encoder.load_state_dict(unflatten(merged_P, encoder.state_dict(), self.names))
                    answers = trained.predict_pools(rows.pools)
                    found[c] |= rows.outcomes(answers)
        return found

    def inference_costs(self) -> dict[str, float]:
        """Return the costs of one encoder with all heads, which reads each row once."""
        encoder = sum(parameter.numel() for parameter in self.start.parameters())
        parts = [costs_of(self.comparison, m.run, m.recipe) for m in self.models.values()]
        encoding = [part["encoding_flops_per_row"] for part in parts]
        heads = sum(part["parameters"] - encoder for part in parts)
        head_flops = sum(p["inference_flops_per_row"] for p in parts) - sum(encoding)
        return {
            "inference_parameters": encoder + heads,
            "inference_flops_per_row": round(fmean(encoding)) + head_flops,
        }

    def _load(self) -> Iterator[tuple[str, LoadedRun]]:
        """Yield one model at a time, as all together may not fit into memory."""
        for task, model in self.models.items():
            yield task, LoadedRun.load(model.run)

    def _require_alike(self) -> None:
        """Raise an error if the models have different vocabularies."""
        reading = {task: _files(model) for task, model in self.models.items()}
        [first, *others] = reading
        differing = [task for task in others if reading[task] != reading[first]]
        if differing:
            raise RecipeError(
                [
                    f"compare.strategies: the single-task models of {first} and "
                    f"{', '.join(differing)} cannot be merged, as they have learned different "
                    "vocabularies. Use a pretrained encoder, or leave merging out."
                ]
            )


def _merit(comparison: Comparison, outcomes: Mapping[str, Outcome]) -> Merit:
    """Return how good a merged model is on validation rows."""
    pooled = comparison.poolings_on(VALIDATION)
    scores = score(outcomes, comparison.metrics, pooled, EvaluationOptions(bootstrap=0))
    measured = {name: comparison.metrics[name] for name in outcomes}
    measured |= {name: [pooling.metric] for name, pooling in pooled.items()}
    return Criterion.of(measured).merit(scores)


def _files(model: Model) -> dict[str, str]:
    """Return the hashes of the files of an encoder, such as its vocabulary."""
    folder = model.run.model / ENCODER
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in found}


def _encoder(trained: LoadedRun, task: str) -> Any:
    return trained.predictor.model.sharing.encoder_of(task)
