"""Records of how far the gradients of tasks agree, taken in some steps of a training.

The cosine between the gradients of two tasks; a negative one is a conflict: Yu, Kumar,
Gupta, Levine, Hausman and Finn, "Gradient Surgery for Multi-Task Learning", NeurIPS 2020,
definition 1. https://arxiv.org/abs/2001.06782

Deviation: also layer by layer, and in some steps only. An observation does not change the training:
random numbers and buffers are restored, and ``.grad`` is not touched.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polytask.balancing.engine import Exact, TaskLosses
from polytask.balancing.engine.base import inner_products
from polytask.core.batch import Batch
from polytask.core.distributed import sum_over_ranks
from polytask.core.errors import RecipeError
from polytask.core.partition import Partition
from polytask.modeling import MultiTaskModel
from polytask.modeling.layers import in_layers, layers_of
from polytask.training.log import finite
from polytask.training.loss_scaling import Shares
from polytask.training.observation_schedule import ObservationSchedule
from polytask.training.options import TrainingOptions

WHOLE = "all"
"""The key of all shared parameters together, among the layers of a record."""


def check_observable(options: TrainingOptions) -> None:
    """Check that observing gradients leaves the training unchanged.

    :raises RecipeError: If the model is compiled or sharded.
    """
    for name in ("compile", "shard"):
        if getattr(options, name):
            raise RecipeError(
                [
                    f"training.interference: cannot look at the gradients of tasks together with "
                    f"training.{name}. Remove one of the two options."
                ]
            )


@dataclass
class Observer:
    """An observer of task gradients that leaves the training unchanged.

    Random numbers and buffers are restored, so all observations of a step see the same dropout.

    :param autocast: Returns the context of the forward pass.
    :param scale: Returns the factor of the losses in fp16.
    """

    model: MultiTaskModel
    partition: Partition
    device: torch.device
    autocast: Callable[[], AbstractContextManager[object]]
    scale: Callable[[], float] = lambda: 1.0

    def __post_init__(self) -> None:
        self._names = [*self.model.trained_tasks]
        self._shared = Partition(self.partition.shared, [])  # heads get no gradient
        places = {id(parameter): place for place, parameter in enumerate(self.partition.shared)}
        shared = {n: places[id(p)] for n, p in self.model.trainable().items() if id(p) in places}
        self._layers = in_layers(shared, layers_of(self.model))
        self._provider = Exact()

    def look(self, batches: Sequence[Batch]) -> dict[str, Any]:
        """Return cosines and norms of the gradients of the tasks in a step, layer by layer.

        :return: ``tasks`` present; ``losses`` of each; ``layers``: for each, ``cosine`` (t × t) and
            ``norm`` (t); a cosine is None where a task does not reach the layer. ``gramian`` (t × t)
            of all shared parameters. The gradient of a task is taken of its mean loss in the step.
        """
        losses_T, jacobian_TP = self.gradients(batches)
        present = losses_T.isfinite().nonzero().flatten().tolist()
        pieces = jacobian_TP.split([p.numel() for p in self.partition.shared], dim=1)

        def gramian(places: Sequence[int]) -> Tensor:
            # Double precision and a sum over blocks: over millions of numbers fp32 loses digits.
            parts = [inner_products(pieces[place]).double().cpu() for place in places]
            return torch.stack(parts).sum(0)[present][:, present]

        gramians = {layer: gramian(places) for layer, places in self._layers.items()}
        whole_tt = torch.stack([*gramians.values()]).sum(0)
        everything = {WHOLE: whole_tt, **gramians}
        return {
            "tasks": [self._names[at] for at in present],
            "losses": {self._names[at]: float(losses_T[at]) for at in present},
            "gramian": whole_tt.tolist(),
            "layers": {name: agreement(gramian_tt) for name, gramian_tt in everything.items()},
        }

    def gradients(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Return the mean losses_T of the tasks in a step, nan if absent, and their jacobian_TP.

        The Jacobian is valid until the next call, which reuses its memory.
        """
        sums_2T = self._sum_losses(batches, self._differentiate)
        jacobian_TP = sum_over_ranks(self._provider.jacobian(range(len(self._names))))
        scale_T1 = self.scale() * sums_2T[1, :, None].to(jacobian_TP)
        self._provider.forget()
        return sums_2T[0] / sums_2T[1], jacobian_TP.div_(scale_T1)

    def losses(self, batches: Sequence[Batch]) -> Tensor:
        """Return the mean losses_T of the tasks in a step, with the dropout that gradients see."""
        with torch.no_grad():
            sums_2T = self._sum_losses(batches, lambda losses: None)
        return sums_2T[0] / sums_2T[1]

    def _sum_losses(self, batches: Sequence[Batch], take: Callable[[TaskLosses], None]) -> Tensor:
        """Return sums_2T over all ranks: losses times their shares, and the shares."""
        parts = [part for batch in batches for part in batch.by_tasks()]
        sums_2T = torch.zeros(2, len(self._names), dtype=torch.float64)
        with restore_afterwards(self.model, self.device):
            shares = Shares(parts, self.model.trained_tasks, self.device)
            for part in parts:
                losses = self._losses(part, shares)
                take(losses)
                for place, loss, share in zip(
                    losses.tasks, losses.values, losses.scale_t.tolist(), strict=True
                ):
                    sums_2T[:, place] += torch.tensor([float(loss.detach()) * share, share])
        return sum_over_ranks(sums_2T)

    def _losses(self, part: Batch, shares: Shares) -> TaskLosses:
        if not part.targets:
            return TaskLosses([], [], torch.zeros(0))
        with self.autocast():
            losses = self.model.losses(part.to(self.device))
        places = [self._names.index(task) for task in losses]
        return TaskLosses([*losses.values()], places, shares.of(part, [*losses]))

    def _differentiate(self, losses: TaskLosses) -> None:
        scale_t = (losses.scale_t * self.scale()).to(self.device)
        self._provider.add(replace(losses, scale_t=scale_t), self._shared)


def agreement(gramian_tt: Tensor) -> dict[str, Any]:
    """Return norms and cosines computed from inner products, as JSON.

    :return: ``norm`` (t) and ``cosine`` (t × t), None where a norm is 0 or not finite.
    """
    norm_t = gramian_tt.diagonal().clamp(min=0).sqrt()
    cosine_tt = gramian_tt / (norm_t[:, None] * norm_t)
    return {"norm": _json(norm_t.tolist()), "cosine": [_json(row) for row in cosine_tt.tolist()]}


def _json(values: Sequence[float]) -> list[float | None]:
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]


@contextlib.contextmanager
def restore_afterwards(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Restore the random numbers of PyTorch and the buffers of a model at the end of the context."""
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield
    with torch.no_grad():
        # In place: the graph and other modules may hold the same buffer.
        for name, buffer in model.named_buffers():
            buffer.copy_(kept[name])


class InterferenceLog:
    """A file that every observation adds a record to.

    :param schedule: Decides which steps are observed.
    :param path: The file; None to write nothing, as in all processes but the first.
    """

    def __init__(
        self, observer: Observer, schedule: ObservationSchedule, path: Path | None
    ) -> None:
        self._observer, self._schedule, self._path = observer, schedule, path

    def before(self, step: int, batches: Sequence[Batch]) -> None:
        """Observe the rows of a step before its update, if the step is due.

        :param step: The number of the step, from 1 on.
        """
        if not self._schedule.is_due(step):
            return
        record = {"step": step, **self._observer.look(batches)}
        if self._path is not None:
            with self._path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(finite(record), ensure_ascii=False) + "\n")
        self._schedule.record_end(step)
