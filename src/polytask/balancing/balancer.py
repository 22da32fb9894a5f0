"""The interface of balancing methods.

A step with several batches calls ``accumulate`` for each batch and ``resolve`` once. A plain loop
calls ``backward``, which does both.
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
from polytask.core.distributed import share_seed, sum_over_ranks, world_size
from polytask.core.partition import Partition, infer_partition
from polytask.core.registry import Registry

if TYPE_CHECKING:
    from polytask.balancing.engine.sharded import Shards


class Balancer(nn.Module, ABC):
    """Base of methods that turn the losses of T tasks into the gradients of one update.

    :param num_tasks: Number of tasks, T.
    """

    cost: ClassVar[str] = ""
    """The cost of a step, in one line."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """The inputs of a method besides losses or gradients.

    ``losses_after``: the losses of the same rows after the update, given to ``after``.
    ``halves``: the step's rows as two independent samples, numbered 0 and 1.
    ``validation``: validation rows as sample 1.
    """

    draws: Tensor

    def __init__(self, num_tasks: int, /) -> None:
        super().__init__()
        self.num_tasks = num_tasks
        self.active_t = torch.arange(num_tasks)
        """The tasks present in the step; methods index their state with it."""
        self.losses_t = torch.zeros(num_tasks)
        """The mean losses of these tasks in the step, for gradient methods."""
        self.loss_scale = 1.0
        """The loss scale of fp16 training."""
        self.shards: Shards | None = None
        """The parameters of a model that FSDP2 has sharded."""
        self._attached = False
        self._seed: int | None = None
        self.register_buffer("draws", torch.zeros((), dtype=torch.long))

    def attach(self, model: nn.Module) -> None:
        """Register the model, after ``fully_shard`` if it is sharded.

        Sharded models must be attached. For other models, it makes some methods cheaper.

        :param model: The model, or a module with all shared parameters. If sharded, the whole model.
        :raises ValueError: If a trainable parameter is not sharded like the others.
        """
        self._attached = True
        if _fsdp_classes() and any(isinstance(m, _fsdp_classes()) for m in model.modules()):
            from polytask.balancing.engine.sharded import Shards  # FSDP2 takes long to import

            self.shards = Shards(model)

    def prepare(self, partition: Partition, *, exclusive_rows: bool, tokens: int = 0) -> Layout:
        """Start a step, and return how its rows should be divided into batches.

        :param exclusive_rows: True if every row of the step is read by one task.
        :param tokens: Number of tokens in the step with padding; 0 if its rows cannot be rearranged.
        """
        return "together"

    @property
    def provider(self) -> str | None:
        """The provider that computed the task gradients of the last step; None if there were none."""
        return None

    @property
    def provider_seconds(self) -> float | None:
        """Mean seconds per step spent on task gradients, including backward passes."""
        return None

    @abstractmethod
    def accumulate(self, losses: TaskLosses, partition: Partition) -> None:
        """Add the losses of one batch of a step."""

    @abstractmethod
    def resolve(self, partition: Partition) -> Tensor:
        """Finish a step: add the gradient of the update to ``.grad`` of every parameter.

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
        """Replace ``sum(losses).backward()``, with this method instead of the sum.

        :param losses: One scalar per task, None for tasks without labels in this step. In several
            processes, the mean loss over this rank's rows.
        :param partition: The shared and private parameters. By default it is computed in each step.
            Give the partition of all tasks if tasks may be absent and the method remembers
            gradients, or if a task may be absent from one of several processes.
        :param rows: For each task the rows of the batch that it reads, if no row is read by two
            tasks. After ``attach``, a single backward pass then serves all tasks.
        :param scaler: The gradient scaler of fp16 training. ``.grad`` is scaled as by
            ``scaler.scale(loss).backward()``. The method sees unscaled losses and gradients.
        :return: weights_T, the weight each task received; 0 for absent tasks.
        :raises TypeError: If the losses are one tensor instead of a list.
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
        partition = partition or infer_partition(values)
        chosen = [] if rows is None else [rows[task] for task in tasks]
        device = values[0].device if values else self.draws.device
        scale_t = (1 / ranks_T[tasks]).to(device)
        with self._disable_autocast(device, scaler):
            self.prepare(partition, exclusive_rows=rows is not None)
            self.accumulate(TaskLosses(values, tasks, scale_t, rows=chosen), partition)
            return self.resolve(partition)

    def gather(self) -> None:
        """Make the parameters of a sharded model whole until the end of the step.

        :raises ValueError: If a model was sharded and not attached.
        """
        if self.shards is not None:
            self.shards.gather()
        elif _fsdp_classes() and not self._attached:
            raise ValueError(
                "a model of this process was sharded: call balancer.attach(model) after fully_shard"
            )

    def release(self) -> None:
        """Undo ``gather``."""
        if self.shards is not None:
            self.shards.release()

    @contextlib.contextmanager
    def _disable_autocast(
        self, device: torch.device, scaler: torch.amp.GradScaler | None
    ) -> Iterator[None]:
        """Disable autocast, and scale the gradients of the method's own parameters for fp16.

        Autocast would round inner products of gradients to half precision. The hooks live for one
        step only: they read ``loss_scale``, which the scaler changes from step to step.
        """
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
        """Receive a record of the training. Methods that use records override it.

        :param record: ``step`` and ``epoch``; after a step also ``losses`` by position, after a
            validation also ``validation``, the score by position.
        """

    def after(self, losses_t: Tensor, active_t: Tensor) -> None:
        """Receive the losses of the step's rows after the update; see ``needs``."""

    @final
    def tell(self, record: Mapping[str, Any]) -> None:
        """Pass a record to ``observe`` of this method and of the method that it is combined with."""
        for part in self.modules():
            if isinstance(part, Balancer):
                part.observe(record)

    @contextlib.contextmanager
    def seed_draws(self) -> Iterator[None]:
        """Make random numbers depend only on the seed and the number of the step.

        So all ranks, all batches of a step, and a resumed training draw the same numbers.
        """
        if self._seed is None:
            self._seed = share_seed()
        before = torch.get_rng_state()
        torch.default_generator.manual_seed(hash((self._seed, int(self.draws))))
        try:
            yield
        finally:
            torch.set_rng_state(before)


def _fsdp_classes() -> tuple[type, ...]:
    """Return the classes that ``fully_shard`` has created in this process."""
    # FSDP2 is not imported for this check: if nothing imported it, nothing is sharded.
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return () if fsdp is None else (*fsdp.FSDPModule.__subclasses__(),)


balancers: Registry[Balancer] = Registry("balancing", Balancer)

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
"""An option from 0 to 1."""


def _check_method(method: str | dict[str, Any]) -> str | dict[str, Any]:
    balancers.parse(method)
    return method


LossMethod: TypeAlias = Annotated[str | dict[str, Any], AfterValidator(_check_method)]
"""The loss method that a gradient method is combined with, by name or with options."""
