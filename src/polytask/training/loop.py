"""The training loop: one for all, single-task and multi-task, any source, encoder and method."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing

from rich.console import Console
from torch import Tensor

from polytask.core.batch import Batch
from polytask.core.distributed import gather_objects
from polytask.core.errors import InterruptedTrainingError
from polytask.core.tensors import write_tensors
from polytask.training.log import TrainingLog
from polytask.training.processes import anywhere, is_first, total
from polytask.training.session import Session
from polytask.training.signals import StopSignals
from polytask.training.task_best import keep_task_best


def train(session: Session, console: Console | None = None) -> None:
    """Train until the budget is used up, patience runs out or every task has stopped.

    :param console: Where progress goes; standard error by default.
    :raises InterruptedTrainingError: If a signal asked to stop; a checkpoint has been written.
    :raises TrainingError: If a loss is not finite and the policy is to stop.
    """
    budget = session.budget
    # Closed at once, not when a traceback is dropped: a stream may have processes that work ahead.
    with (
        StopSignals() as stop,
        session.open_log(console) as log,
        closing(_steps(session)) as steps,
    ):
        for batches in steps:
            taken = budget.step_share(total(sum(batch.size for batch in batches)))
            rate = session.schedule.apply(session.optimiser, budget.share, taken)
            session.look(batches)
            result = session.stepper.step(batches)
            record = {**budget.advance(result, rate), **session.loader.report()}
            session.observe(record)
            log.step(record)
            if budget.validation_due:
                _validate(session, log)
            stopping, due = anywhere(stop.requested, is_first() and budget.checkpoint_due)
            if session.done and not stopping:
                break
            if stopping or due:
                session.save()
            if stopping:
                name = next(filter(None, gather_objects(stop.received)))
                raise InterruptedTrainingError(
                    f"stopped by {name} after step {budget.step}; everything is saved in "
                    f"{session.run.path}."
                )
    session.save()


def _steps(session: Session) -> Generator[list[Batch]]:
    """The batches of each step; those whose tasks have all stopped are passed over."""
    if session.done:  # killed after the last step, before the run was marked as finished
        return
    batches: list[Batch] = []
    for batch in _active(session, session.loader):
        batches.append(batch)
        if len(batches) == session.options.accumulate:
            yield batches
            batches = []


def _active(session: Session, batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        active = batch.without(session.selection.stopped_tasks)
        if any(anywhere(bool(active.targets))):
            yield active


def _validate(session: Session, log: TrainingLog) -> None:
    """Score the validation rows, keep what is best, stop tasks that had enough."""
    scores = session.validate()
    session.budget.validations += 1
    before = session.selection.stopped_tasks
    best, kept = session.selection.update(scores), session.selection.keeps_last
    if kept or session.options.task_best:
        state = session.model_state()
        if is_first():
            _keep(session, state, kept=kept)
    session.observe_validation(scores)
    log.validation(session.validation_record(scores, best=best))
    stopped = session.selection.stopped_tasks
    if stopped != before:
        log.message(f"stopped alone: {', '.join(sorted(stopped - before))}")
        session.loader.exclude(stopped)
    session.budget.pause()


def _keep(session: Session, state: Mapping[str, Tensor], *, kept: bool) -> None:
    """Write the model if it is to be kept, or the best of some tasks."""
    if kept:
        write_tensors(session.run.parameters, state)
    if session.options.task_best:
        improved, step = session.selection.improved_tasks, session.budget.step
        keep_task_best(session.run.task_best, improved, step, state)
