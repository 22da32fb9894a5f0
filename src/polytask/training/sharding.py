"""A model whose parameters are divided among the processes by FSDP2.

At rest each rank has its share of the parameters and of the optimiser's state. For a step, and for
a validation, the parameters are put together. Whatever is saved is whole, so a training goes on
with any number of processes. https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import Optimizer

from polytask.core.distributed import rank, sum_over_ranks, world_size
from polytask.core.errors import RecipeError
from polytask.modeling import MultiTaskModel
from polytask.sharing import Architecture
from polytask.training.options import TrainingOptions


def shard(model: MultiTaskModel, options: TrainingOptions, device: torch.device) -> None:
    """Leave each rank its share of the parameters.

    :raises RecipeError: If there is one process, or something that does not go with it.
    """
    from torch.distributed.device_mesh import init_device_mesh  # takes long to import
    from torch.distributed.fsdp import fully_shard

    hindrances = {
        "one process: start several with torchrun": world_size() == 1,
        "training.compile: true": options.compile,
        "training.precision: fp16": options.precision == "fp16",
        "an architecture with a term of its own": (
            type(model.sharing).penalty is not Architecture.penalty
        ),
    }
    if found := [text for text, holds in hindrances.items() if holds]:
        raise RecipeError(
            [f"training.shard: found true and {text}; or set it to false." for text in found]
        )
    fully_shard(
        model, mesh=init_device_mesh(device.type, (world_size(),)), reshard_after_forward=False
    )


@contextlib.contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Have all parameters on every rank for a while; each can then call the model alone."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    modules = [m for m in model.modules() if fsdp is not None and isinstance(m, fsdp.FSDPModule)]
    for module in modules:
        module.unshard()
    yield
    for module in modules:
        module.reshard()


def joined(state: Any) -> Any:
    """A state with its sharded tensors whole, on the CPU, on the first rank. All ranks call it."""
    if isinstance(state, Mapping):
        return {name: joined(value) for name, value in state.items()}
    if isinstance(state, list):
        return [joined(value) for value in state]
    if is_sharded(state):
        full = state.full_tensor()
        return full.cpu() if rank() == 0 else full.new_empty(0)
    return state


def spread(part: Any, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Undo ``joined`` for the state of a part that is sharded."""
    if isinstance(part, Optimizer):
        parameters = [p for group in part.param_groups for p in group["params"]]
        found = {
            place: {name: _like(parameters[place], value) for name, value in entry.items()}
            for place, entry in state["state"].items()
        }
        return {**state, "state": found}
    owned = part.state_dict()
    return {name: _like(owned.get(name), value) for name, value in state.items()}


def _like(owner: Any, value: Any) -> Any:
    """A whole tensor, sharded as another one of its shape is."""
    if not is_sharded(owner) or not isinstance(value, Tensor) or value.shape != owner.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, owner.device_mesh, owner.placements)


def is_sharded(value: object) -> bool:
    """Whether a value is a sharded tensor; none is where nobody has imported them."""
    tensors = sys.modules.get("torch.distributed.tensor")
    return tensors is not None and isinstance(value, tensors.DTensor)


def clip_gradients(parameters: Sequence[Parameter], limit: float) -> Tensor:
    """Scale gradients so that the norm of all of them together is at most the limit.

    :return: The norm before.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    shards = [grad.to_local() for grad in gradients if is_sharded(grad)]  # type: ignore[attr-defined]
    if not shards:
        return clip_grad_norm_(parameters, limit)
    plain = [gradient for gradient in gradients if not is_sharded(gradient)]
    square = sum_over_ranks(get_total_norm(shards).square())
    norm = (square + get_total_norm(plain).to(square).square()).sqrt()
    scale = (limit / (norm + 1e-6)).clamp(max=1.0)
    for gradient in [*shards, *plain]:
        gradient.mul_(scale.to(gradient))
    return norm
