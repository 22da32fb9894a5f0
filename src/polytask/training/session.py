"""The state of one training, and how it is saved and restored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rich.console import Console
from torch import Tensor
from torch.nn import Parameter

from polytask.balancing import Balancer
from polytask.core.accounting import Accounts
from polytask.core.batch import Batch
from polytask.core.distributed import gather_objects, rank, world_size
from polytask.core.run_folder import RunFolder
from polytask.data.pools import Collation, Pool
from polytask.evaluation.merit import first_mean
from polytask.evaluation.predict import Predictor
from polytask.modeling import MultiTaskModel
from polytask.training import sharding
from polytask.training.budget import Budget
from polytask.training.checkpoint import Checkpoints
from polytask.training.interference import InterferenceLog, Observer, check_observable
from polytask.training.log import TrainingLog, drop_records_after
from polytask.training.observation_schedule import (
    Affordable,
    ObservationSchedule,
    Regular,
    estimate_first_observation,
)
from polytask.training.optimiser import build_optimiser, find_encoders
from polytask.training.options import TrainingOptions
from polytask.training.precision import FloatPrecision, select_device
from polytask.training.processes import copy_from_first, is_first, on_first
from polytask.training.randomness import random_state, restore_random_state
from polytask.training.schedule import Schedule
from polytask.training.selection import Criterion, Scores, Selection
from polytask.training.step import Stepper
from polytask.training.stream import Stream
from polytask.training.trackers import build_trackers

_LOG = logging.getLogger("polytask")


@dataclass(frozen=True)
class Parts:
    """The model to train, its data, and its validation.

    :param collation: Turns rows into tensors for evaluation.
    :param probe: Rows with a label for every task, to find the parameters that each task reaches.
    :param validate: Returns scores of the validation rows; empty scores if there are none.
    :param guide: Batches of validation rows, for a balancer that needs them.
    :param accounts: Number of used rows of each task, by split.
    :param pools: The training rows, if the stream draws from pools.
    """

    model: MultiTaskModel
    balancer: Balancer
    loader: Stream
    collation: Collation
    probe: Batch
    validate: Callable[[Predictor], Scores]
    criterion: Criterion
    guide: Stream | None = None
    accounts: Accounts = field(default_factory=dict)
    pools: Sequence[Pool] = ()


class Session:
    """One training: its parts on their device, optimiser, progress, selection, checkpoints, log.

    :raises RecipeError: If the device, precision or options cannot be used together.
    """

    def __init__(self, parts: Parts, options: TrainingOptions, run: RunFolder) -> None:
        self.options, self.run = options, run
        if options.interference:
            check_observable(options)
        self.loader, self.guide = parts.loader, parts.guide
        self.device = select_device(options.device)
        self.precision = FloatPrecision.choose(options.precision, self.device)
        self.model = parts.model.to(self.device).train()
        copy_from_first(self.model)  # ranks must start equal, and before FSDP2 takes its shards
        self.balancer = parts.balancer.to(self.device)
        if options.shard:
            sharding.shard(self.model, options, self.device)
        with sharding.gather_parameters(self.model):
            self.partition = self.model.partition(parts.probe.to(self.device))
        # After sharding, which replaces the parameters: an optimiser of the old ones would do nothing.
        self.optimiser = build_optimiser(
            self.model, self.balancer, options, self.partition.tasks_of
        )
        self.schedule = Schedule(options.schedule, options.warmup)
        self.budget = budget = Budget(options, parts.loader.epoch_draws)
        self.loader.set_progress(lambda: budget.share)  # not self: a cycle keeps the model
        for loader in filter(None, (self.loader, self.guide)):
            loader.set_rank(rank(), world_size(), options.placement)
        self.selection = Selection(parts.criterion, options.patience, options.task_patience)
        self._collation, self._validate = parts.collation, parts.validate
        self._checkpoints = Checkpoints(run.checkpoints, keep=options.keep)
        # A balancer's hooks inside compiled layers would break their graphs.
        if options.compile:
            self.model.sharing.compile(dynamic=True)
        else:
            self.balancer.attach(self.model)

    def record_interference(self, batches: Sequence[Batch]) -> None:
        """Record how far task gradients agree before a step, if the recipe asks for it."""
        if self.options.interference and self.partition.shared:
            self._interference.before(self.budget.step + 1, batches)

    @cached_property
    def _interference(self) -> InterferenceLog:
        """The log of interference; created after a resume, which decides the records to drop."""
        every = self.options.interference
        schedule: ObservationSchedule = (
            Affordable(estimate_first_observation(self.loader.labelled_together))
            if every == "auto"
            else Regular(every)
        )
        autocast, scaler = self.precision.autocast, self.precision.scaler
        observer = Observer(
            self.model, self.partition, self.device, autocast,
            lambda: scaler.get_scale() if scaler.is_enabled() else 1.0,
        )  # fmt: skip
        if is_first():
            drop_records_after(self.run.interference, self.budget.step)
        return InterferenceLog(observer, schedule, self.run.interference if is_first() else None)

    def validate(self) -> Scores:
        """Score the validation rows with the current parameters."""
        with sharding.gather_parameters(self.model):
            return on_first(lambda: self._validate(self.predictor))

    @cached_property
    def predictor(self) -> Predictor:
        """The predictor that runs the model over rows."""
        tokens = self.options.batch_tokens
        return Predictor(self.model, self._collation, self.device, tokens, self.precision.autocast)

    @cached_property
    def stepper(self) -> Stepper:
        """The object that makes the updates."""
        return Stepper(
            self.model, self.balancer, self.partition, self.optimiser, self.precision.autocast,
            self.precision.scaler, self.device, self.options.clip, self.options.not_finite,
            None if self.guide is None else iter(self.guide), self._make_frozen(),
        )  # fmt: skip

    def _make_frozen(self) -> Callable[[], Sequence[Parameter]]:
        """Return a function that lists the parameters not updated now.

        It depends on the budget alone, so a checkpoint needs no state for it.
        """
        budget, epochs = self.budget, self.options.freeze_encoder_epochs
        inside = [p for encoder in find_encoders(self.model) for p in encoder.parameters()]
        return lambda: inside if budget.epoch < epochs else ()  # not self: a cycle keeps the model

    @property
    def done(self) -> bool:
        """True if the budget is used up, patience has run out or every task has stopped alone."""
        stopped = len(self.selection.stopped_tasks) == len(self.model.trained_tasks)
        return self.budget.finished or self.selection.finished or stopped

    def observe(self, record: Mapping[str, Any]) -> None:
        """Pass the record of a step to the stream and the balancer, which may adapt to it."""
        self.loader.observe(record)
        losses = self._by_position(record["losses"])
        self.balancer.tell({**record, "epoch": int(self.budget.epoch), "losses": losses})

    def observe_validation(self, scores: Scores) -> None:
        """Pass the validation score of each task to the balancer; higher is better."""
        values = self._by_position(self.selection.criterion.by_task(scores))
        epoch = int(self.budget.epoch)
        self.balancer.tell({"step": self.budget.step, "epoch": epoch, "validation": values})

    def _by_position(self, values: Mapping[str, float]) -> dict[int, float]:
        names = list(self.model.trained_tasks)
        return {names.index(task): value for task, value in values.items()}

    def validation_record(self, scores: Scores, *, best: bool) -> dict[str, Any]:
        """Return the record of a validation; undefined metrics are None."""
        values = {
            task: {name: m["value"] for name, m in entry.items() if name != "rows"}
            for section in ("tasks", "pooled")
            for task, entry in scores[section].items()
        }
        selection = first_mean(self.selection.criterion.merit(scores)) if values else None
        record = {"step": self.budget.step, "epoch": round(self.budget.epoch, 4)}
        return {**record, "validation": values, "selection": selection, "best": best}

    def model_state(self) -> dict[str, Tensor]:
        """Return parameters and buffers; full tensors on the first rank if sharded. All ranks call it."""
        state: dict[str, Tensor] = sharding.join_state(self.model.stored.state_dict())
        return state

    def open_log(self, console: Console | None = None) -> TrainingLog:
        """Return the log of this training, which continues after the step resumed from."""
        if not is_first():
            return TrainingLog(None, console=Console(quiet=True))
        start = self.budget.step
        trackers = build_trackers(self.options.trackers, self.run.path, start)
        return TrainingLog(self.run.metrics, start, console, trackers)

    def save(self) -> None:
        """Write a checkpoint; all ranks must call this together."""
        # Joining shards and gathering random states are collectives: outside on_first, in this order.
        state = {**self._modules(), **self._counters(), "random": gather_objects(random_state())}
        on_first(lambda: self._checkpoints.save(self.budget.step, state))
        self.budget.record_save()

    def resume(self) -> bool:
        """Restore the newest verified checkpoint; return False if there is none.

        :raises RunError: If all checkpoints are damaged, or the settings have changed.
        """
        names = [*self._stateful, *self._counters(), "random"]
        found = self._checkpoints.load(names)
        if found is None:
            return False
        for name, part in self._stateful.items():
            part.load_state_dict(sharding.shard_state(part, found.state[name]))
        self.loader.restore(found.state["loader"])
        if self.guide is not None:
            self.guide.restore(found.state["guide"])
        self.selection.restore(found.state["selection"])
        self.budget.restore(found.state["budget"])
        # Stopped tasks follow from the selection, which must be restored first.
        self.loader.exclude(self.selection.stopped_tasks)
        self._resume_random(found.state["random"])
        return True

    def _resume_random(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Restore the random numbers of this rank; a rank without a saved state keeps its seed."""
        if rank() < len(states):
            restore_random_state(states[rank()])
        if is_first() and len(states) != world_size():
            _LOG.warning(
                "saved by %d processes, resumed with %d: the same rows and steps, but other random "
                "numbers, as for dropout", len(states), world_size(),
            )  # fmt: skip

    @property
    def _stateful(self) -> dict[str, Any]:
        return {
            "model": self.model.stored,
            "optimiser": self.optimiser,
            "balancer": self.balancer,
            "scaler": self.precision.scaler,
        }

    def _modules(self) -> dict[str, Any]:
        return {
            name: sharding.join_state(part.state_dict()) for name, part in self._stateful.items()
        }

    def _counters(self) -> dict[str, Any]:
        return {
            "loader": self.loader.state(),
            "guide": {} if self.guide is None else self.guide.state(),
            "selection": self.selection.state(),
            "budget": self.budget.state(),
        }
