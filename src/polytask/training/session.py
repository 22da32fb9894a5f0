"""Everything one training holds, and how it is saved and brought back."""

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
from polytask.training.interference import InterferenceLog, Observer, check_plain
from polytask.training.log import TrainingLog, drop_records_after
from polytask.training.observation_schedule import Affordable, Regular, first_look
from polytask.training.optimiser import build_optimiser, encoders_of
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
    """What is trained, on what, and how it is judged.

    :param collation: How rows become tensors, for evaluation.
    :param probe: Rows with a label for every task; shows which parameters each task reaches.
    :param validate: Scores the validation rows; empty scores if there are none.
    :param guide: Batches of validation rows, where the balancer needs them.
    :param accounts: How many rows of each task are used, by split.
    :param pools: The training rows, where the stream draws from pools.
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
    """One training: its parts on their device, optimiser, progress, selection, checkpoints, log."""

    def __init__(self, parts: Parts, options: TrainingOptions, run: RunFolder) -> None:
        self.options, self.run = options, run
        if options.interference:
            check_plain(options)
        self.loader, self.guide = parts.loader, parts.guide
        self.device = select_device(options.device)
        self.precision = FloatPrecision.choose(options.precision, self.device)
        self.model = parts.model.to(self.device).train()
        copy_from_first(self.model)
        self.balancer = parts.balancer.to(self.device)
        if options.shard:
            sharding.shard(self.model, options, self.device)
        with sharding.whole(self.model):
            self.partition = self.model.partition(parts.probe.to(self.device))
        self.optimiser = build_optimiser(
            self.model, self.balancer, options, self.partition.tasks_of
        )
        self.schedule = Schedule(options.schedule, options.warmup)
        self.budget = budget = Budget(options, parts.loader.epoch_draws)
        self.loader.set_progress(lambda: budget.share)  # not of self: a cycle would keep the model
        for loader in filter(None, (self.loader, self.guide)):
            loader.set_rank(rank(), world_size(), options.placement)
        self.selection = Selection(parts.criterion, options.patience, options.task_patience)
        self._collation, self._validate = parts.collation, parts.validate
        self._checkpoints = Checkpoints(run.checkpoints, keep=options.keep)
        if options.compile:
            self.model.sharing.compile(dynamic=True)
        else:
            self.balancer.attach(self.model)

    def look(self, batches: Sequence[Batch]) -> None:
        """See how the gradients of the tasks agree before a step, if that is asked for."""
        if self.options.interference and self.partition.shared:
            self._interference.before(self.budget.step + 1, batches)

    @cached_property
    def _interference(self) -> InterferenceLog:
        """Keeps what is seen of them; records after the step that is gone on from are dropped."""
        asked = self.options.interference
        pace = (
            Affordable(first_look(self.loader.labelled_together))
            if asked == "auto"
            else Regular(asked)
        )
        autocast, scaler = self.precision.autocast, self.precision.scaler
        observer = Observer(
            self.model, self.partition, self.device, autocast,
            lambda: scaler.get_scale() if scaler.is_enabled() else 1.0,
        )  # fmt: skip
        if is_first():
            drop_records_after(self.run.interference, self.budget.step)
        return InterferenceLog(observer, pace, self.run.interference if is_first() else None)

    def validate(self) -> Scores:
        """Score the validation rows with the model as it is."""
        with sharding.whole(self.model):
            return on_first(lambda: self._validate(self.predictor))

    @cached_property
    def predictor(self) -> Predictor:
        """Runs the model over rows."""
        tokens = self.options.batch_tokens
        return Predictor(self.model, self._collation, self.device, tokens, self.precision.autocast)

    @cached_property
    def stepper(self) -> Stepper:
        """Does the updates."""
        return Stepper(
            self.model, self.balancer, self.partition, self.optimiser, self.precision.autocast,
            self.precision.scaler, self.device, self.options.clip, self.options.not_finite,
            None if self.guide is None else iter(self.guide), self._frozen(),
        )  # fmt: skip

    def _frozen(self) -> Callable[[], Sequence[Parameter]]:
        """Which parameters are not updated now; of the budget alone, so nothing more is saved."""
        budget, epochs = self.budget, self.options.freeze_encoder_epochs
        inside = [p for encoder in encoders_of(self.model) for p in encoder.parameters()]
        return lambda: inside if budget.epoch < epochs else ()  # a cycle would keep the model

    @property
    def done(self) -> bool:
        """Whether the budget is used up, patience has run out or every task has stopped alone."""
        stopped = len(self.selection.stopped_tasks) == len(self.model.trained_tasks)
        return self.budget.finished or self.selection.finished or stopped

    def observe(self, record: Mapping[str, Any]) -> None:
        """Tell the parts that adapt what a step did."""
        self.loader.observe(record)
        losses = self._by_position(record["losses"])
        self.balancer.tell({**record, "epoch": int(self.budget.epoch), "losses": losses})

    def observe_validation(self, scores: Scores) -> None:
        """Tell the balancer how good each task is, higher is better."""
        values = self._by_position(self.selection.criterion.by_task(scores))
        epoch = int(self.budget.epoch)
        self.balancer.tell({"step": self.budget.step, "epoch": epoch, "validation": values})

    def _by_position(self, values: Mapping[str, float]) -> dict[int, float]:
        names = list(self.model.trained_tasks)
        return {names.index(task): value for task, value in values.items()}

    def validation_record(self, scores: Scores, *, best: bool) -> dict[str, Any]:
        """The record of a validation; undefined metrics are None."""
        values = {
            task: {name: m["value"] for name, m in entry.items() if name != "rows"}
            for section in ("tasks", "pooled")
            for task, entry in scores[section].items()
        }
        selection = first_mean(self.selection.criterion.merit(scores)) if values else None
        record = {"step": self.budget.step, "epoch": round(self.budget.epoch, 4)}
        return {**record, "validation": values, "selection": selection, "best": best}

    def model_state(self) -> dict[str, Tensor]:
        """The parameters and buffers; if sharded, joined on the first rank."""
        state: dict[str, Tensor] = sharding.joined(self.model.stored.state_dict())
        return state

    def open_log(self, console: Console | None = None) -> TrainingLog:
        """The log of this training, going on after the step that was resumed from."""
        if not is_first():
            return TrainingLog(None, console=Console(quiet=True))
        start = self.budget.step
        trackers = build_trackers(self.options.trackers, self.run.path, start)
        return TrainingLog(self.run.metrics, start, console, trackers)

    def save(self) -> None:
        """Write a checkpoint."""
        state = {**self._modules(), **self._counters(), "random": gather_objects(random_state())}
        on_first(lambda: self._checkpoints.save(self.budget.step, state))
        self.budget.saved()

    def resume(self) -> bool:
        """Go back to the newest verified checkpoint; False if there is none.

        :raises RunError: If all are damaged, or the settings have changed.
        """
        names = [*self._stateful, *self._counters(), "random"]
        found = self._checkpoints.load(names)
        if found is None:
            return False
        for name, part in self._stateful.items():
            part.load_state_dict(sharding.spread(part, found.state[name]))
        self.loader.restore(found.state["loader"])
        if self.guide is not None:
            self.guide.restore(found.state["guide"])
        self.selection.restore(found.state["selection"])
        self.budget.restore(found.state["budget"])
        self.loader.exclude(self.selection.stopped_tasks)
        self._resume_random(found.state["random"])
        return True

    def _resume_random(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Each rank goes on with its own random numbers; one that was not there keeps its seed."""
        if rank() < len(states):
            restore_random_state(states[rank()])
        if is_first() and len(states) != world_size():
            _LOG.warning(
                "saved by %d processes, gone on with %d: the same rows and steps, but other random "
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
        return {name: sharding.joined(part.state_dict()) for name, part in self._stateful.items()}

    def _counters(self) -> dict[str, Any]:
        return {
            "loader": self.loader.state(),
            "guide": {} if self.guide is None else self.guide.state(),
            "selection": self.selection.state(),
            "budget": self.budget.state(),
        }
