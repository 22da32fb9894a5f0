"""The training loop, for one task or many, and for any source, encoder and balancer."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

from rich.console import Console

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

    :param console: The console for progress; standard error by default.
    :raises InterruptedTrainingError: If a signal asked to stop; a checkpoint has been written.
    :raises TrainingError: If a loss is not finite and the policy is to stop.
    """
    budget = session.budget
    # Closed here, not when a traceback is garbage collected: a stream may own worker processes.
    with (
        StopSignals() as stop,
        session.open_log(console) as log,
        closing(_steps(session)) as steps,
    ):
        for batches in steps:
            taken = budget.step_share(total(sum(batch.size for batch in batches)))
            rate = session.schedule.apply(session.optimiser, budget.share, taken)
            session.record_interference(batches)
            result = session.stepper.step(batches)
            record = {**budget.advance(result, rate), **session.loader.report()}
            session.observe(record)
            log.step(record)
            if budget.validation_due:
                _validate(session, log)
            # Ranks get signals and read clocks at different times: they decide together, or they would
            # leave after different steps and hang. The first rank's clock alone decides on saving.
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
    """Yield the batches of each step; skip batches whose tasks have all stopped."""
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
        # A rank without labels in this batch takes the step as well: the others wait for it there.
        if any(anywhere(bool(active.targets))):
            yield active


def _validate(session: Session, log: TrainingLog) -> None:
    """Score the validation rows, save the best model, and stop tasks without improvement."""
    scores = session.validate()
    session.budget.validations += 1
    before = session.selection.stopped_tasks
    best, kept = session.selection.update(scores), session.selection.keeps_last
    if kept or session.options.task_best:
        state = session.model_state()  # a collective if sharded, so outside is_first
        if is_first():
            if kept:
                write_tensors(session.run.parameters, state)
            if session.options.task_best:
                improved, step = session.selection.improved_tasks, session.budget.step
                keep_task_best(session.run.task_best, improved, step, state)
    session.observe_validation(scores)
    log.validation(session.validation_record(scores, best=best))
    stopped = session.selection.stopped_tasks
    if stopped != before:
        log.message(f"stopped alone: {', '.join(sorted(stopped - before))}")
        session.loader.exclude(stopped)
    session.budget.pause()
