"""What a training loop sees of a balancing method.

In a step of several batches, ``accumulate`` is called for each and ``resolve`` once; ``backward``
is both, for a plain loop.
"""

from __future__ import annotations

import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias, final

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from polytask.balancing.engine import Layout, TaskLosses
from polytask.core.distributed import seed_of_all, sum_over_ranks, world_size
from polytask.core.partition import Partition, found_partition
from polytask.core.registry import Registry

if TYPE_CHECKING:
    from polytask.balancing.engine.sharded import Shards


class Balancer(nn.Module, ABC):
    """Turns the losses of T tasks into the gradients of one update.

    :param num_tasks: Number of tasks, T.
    """

    cost: ClassVar[str] = ""
    """What a step costs, in a line."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """What a method needs besides losses or gradients.

    ``losses_after``: the losses of the same rows after the update, given to ``after``.
    ``halves``: the step's rows as two independent samples, 0 and 1.
    ``validation``: validation rows as sample 1.
    """

    draws: Tensor

    def __init__(self, num_tasks: int, /) -> None:
        super().__init__()
        self.num_tasks = num_tasks
        self.active_t = torch.arange(num_tasks)
        """The tasks whose losses or gradients are being looked at; methods index state with it."""
        self.losses_t = torch.zeros(num_tasks)
        """Their mean losses in the step, for methods that look at gradients."""
        self.loss_scale = 1.0
        """What fp16 multiplies losses by before they are differentiated."""
        self.shards: Shards | None = None
        """The parameters of a model that FSDP2 has divided among the processes."""
        self._attached = False
        self._seed: int | None = None
        self.register_buffer("draws", torch.zeros((), dtype=torch.long))

    def attach(self, model: nn.Module) -> None:
        """Get to know the model: needed after ``fully_shard``, and some methods are cheaper then.

        :param model: The module, or a module that holds all that the tasks share; if sharded, all
            of it.
        :raises ValueError: If a trainable parameter is not sharded like the others.
        """
        self._attached = True
        if _sharded_classes() and any(isinstance(m, _sharded_classes()) for m in model.modules()):
            from polytask.balancing.engine.sharded import Shards  # FSDP2 takes long to import

            self.shards = Shards(model)

    def prepare(self, partition: Partition, *, rows_alone: bool, tokens: int = 0) -> Layout:
        """Get ready for a step; return how its rows should be laid out.

        :param rows_alone: Whether every row of the step is read by one task.
        :param tokens: Those of the step, padding among them; 0 if its rows cannot be laid out anew.
        """
        return "together"

    @property
    def provider(self) -> str | None:
        """How the task gradients of the last step were come by; None where there were none."""
        return None

    @property
    def provider_seconds(self) -> float | None:
        """What a step spent on them on average, its backward passes among it, in seconds."""
        return None

    @abstractmethod
    def accumulate(self, losses: TaskLosses, partition: Partition) -> None:
        """Take in the losses of one batch of a step."""

    @abstractmethod
    def resolve(self, partition: Partition) -> Tensor:
        """Finish a step: the update's gradient is added to ``.grad`` of every parameter.

        :return: weights_T, the weight each task received; 0 for absent tasks.
        """

    @final
    def backward(
        self,
        losses: Sequence[Tensor | None],
        partition: Partition | None = None,
        rows: Sequence[Tensor] | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> Tensor:
        """Do what ``sum(losses).backward()`` does, with this method instead of the sum.

        :param losses: One scalar per task, None for tasks without labels in this step. In several
            processes, the mean loss over this rank's rows.
        :param partition: Which parameters the tasks share. Found anew if it is not given; give the
            one of all tasks if some may be absent and the method remembers gradients, or if some
            may be absent from one of several processes.
        :param rows: For each task the rows of the batch that it reads, if none is read by two. After
            ``attach``, a single backward pass then serves all tasks.
        :param scaler: What scales the losses of fp16; ``.grad`` is scaled like those of
            ``scaler.scale(loss).backward()``. The method sees losses and gradients as they are.
        :return: weights_T, the weight each task received; 0 for absent tasks.
        :raises TypeError: If the losses have been put into one tensor.
        :raises ValueError: If their number is not T, the method needs several samples, or a task is
            absent from some ranks and no partition is given.
        """
        values, tasks = self._present(losses)
        presence_T = torch.zeros(self.num_tasks)
        presence_T[tasks] = 1.0
        ranks_T = sum_over_ranks(presence_T)
        if partition is None and bool((ranks_T % world_size()).any()):
            raise ValueError(
                "found a task that only some ranks have losses for: give the partition of all "
                "tasks, which is the same everywhere"
            )
        partition = partition or found_partition(values)
        chosen = [] if rows is None else [rows[task] for task in tasks]
        device = values[0].device if values else self.draws.device
        scale_t = (1 / ranks_T[tasks]).to(device)
        with self._in_full_precision(device, scaler):
            self.prepare(partition, rows_alone=rows is not None)
            self.accumulate(TaskLosses(values, tasks, scale_t, rows=chosen), partition)
            return self.resolve(partition)

    def gather(self) -> None:
        """Make the parameters of a sharded model whole until the step is resolved.

        :raises ValueError: If there is a sharded model that the method does not know.
        """
        if self.shards is not None:
            self.shards.gather()
        elif _sharded_classes() and not self._attached:
            raise ValueError(
                "a model of this process was sharded: call balancer.attach(model) after fully_shard"
            )

    def release(self) -> None:
        """Undo ``gather``."""
        if self.shards is not None:
            self.shards.release()

    @contextlib.contextmanager
    def _in_full_precision(
        self, device: torch.device, scaler: torch.amp.GradScaler | None
    ) -> Iterator[None]:
        """Products of gradients are not rounded by autocast; own gradients are scaled as others."""
        one = torch.ones((), device=device)
        self.loss_scale = float(one if scaler is None else scaler.scale(one))
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.autocast(device.type, enabled=False))
            for parameter in self.parameters():
                stack.enter_context(parameter.register_hook(lambda grad: grad * self.loss_scale))
            yield

    def _present(self, losses: Sequence[Tensor | None] | Tensor) -> tuple[list[Tensor], list[int]]:
        if isinstance(losses, Tensor):
            raise TypeError(
                "found one tensor of losses, expected a list of scalars: once they are stacked, "
                "the graph no longer tells which parameters each task reaches"
            )
        if len(losses) != self.num_tasks:
            raise ValueError(
                f"found {len(losses)} losses, expected one for each of {self.num_tasks}"
            )
        if self.needs & {"halves", "validation"}:
            raise ValueError(
                f"{type(self).__name__} needs two samples of rows in a step: call accumulate for "
                "each, with sample=0 and sample=1, and then resolve"
            )
        present = {task: loss for task, loss in enumerate(losses) if loss is not None}
        return [*present.values()], [*present]

    def observe(self, record: Mapping[str, Any]) -> None:
        """Be told what happened.

        :param record: After a step ``step``, ``epoch`` and ``losses`` by position; after a
            validation ``step``, ``epoch`` and ``validation``, the score by position.
        """

    def after(self, losses_t: Tensor, active_t: Tensor) -> None:
        """Be told the losses of the step's rows after the update; see ``needs``."""

    @final
    def tell(self, record: Mapping[str, Any]) -> None:
        """Let the method, and one that it is combined with, observe a record."""
        for part in self.modules():
            if isinstance(part, Balancer):
                part.observe(record)

    @contextlib.contextmanager
    def drawing(self) -> Iterator[None]:
        """Random numbers that depend on the seed and the number of the step alone.

        So all ranks draw the same, and so do all batches of a step and a resumed training.
        """
        if self._seed is None:
            self._seed = seed_of_all()
        before = torch.get_rng_state()
        torch.default_generator.manual_seed(hash((self._seed, int(self.draws))))
        try:
            yield
        finally:
            torch.set_rng_state(before)


def _sharded_classes() -> tuple[type, ...]:
    """What ``fully_shard`` has made of the classes of modules; each process begins with none."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return () if fsdp is None else (*fsdp.FSDPModule.__subclasses__(),)


balancers: Registry[Balancer] = Registry("balancing", Balancer)

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
"""An option from 0 to 1."""


def _known(method: str | dict[str, Any]) -> str | dict[str, Any]:
    balancers.parse(method)
    return method


LossMethod: TypeAlias = Annotated[str | dict[str, Any], AfterValidator(_known)]
"""A method by name, or with options, that another method is combined with."""
