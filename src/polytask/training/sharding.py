"""Sharding of a model's parameters among processes with FSDP2.

Between steps each rank holds its shard of the parameters and of the optimiser state. Parameters are
gathered for a step and for a validation. Checkpoints hold full tensors, so a training resumes with
any number of processes. https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html
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
    """Shard the parameters of a model in place.

    :raises RecipeError: If there is one process only, or an option excludes sharding.
    """
    from torch.distributed.device_mesh import init_device_mesh  # takes long to import
    from torch.distributed.fsdp import fully_shard

    hindrances = {
        "one process: start several with torchrun": world_size() == 1,
        "training.compile: true": options.compile,
        "training.precision: fp16": options.precision == "fp16",
        "an architecture with a penalty": (type(model.sharing).penalty is not Architecture.penalty),
    }
    if found := [text for text, holds in hindrances.items() if holds]:
        raise RecipeError(
            [f"training.shard: found true and {text}; or set it to false." for text in found]
        )
    # Without resharding after the forward pass: several backward passes need the same parameters.
    fully_shard(
        model, mesh=init_device_mesh(device.type, (world_size(),)), reshard_after_forward=False
    )


@contextlib.contextmanager
def gather_parameters(model: nn.Module) -> Iterator[None]:
    """Hold full parameters on every rank within the context; a rank may call the model alone.

    All ranks enter and leave together.
    """
    # Looked up, not imported: the import is slow, and without it no module can be sharded.
    fsdp = sys.modules.get("torch.distributed.fsdp")
    modules = [m for m in model.modules() if fsdp is not None and isinstance(m, fsdp.FSDPModule)]
    for module in modules:
        module.unshard()
    yield
    for module in modules:
        module.reshard()


def join_state(state: Any) -> Any:
    """Return a state with full tensors on the CPU of the first rank; all ranks must call this."""
    if isinstance(state, Mapping):
        return {name: join_state(value) for name, value in state.items()}
    if isinstance(state, list):
        return [join_state(value) for value in state]
    if is_sharded(state):
        full = state.full_tensor()  # a collective: all ranks visit the tensors in the same order
        return full.cpu() if rank() == 0 else full.new_empty(0)
    return state


def shard_state(part: Any, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a joined state with its tensors sharded as a part (module or optimiser) needs them."""
    if isinstance(part, Optimizer):
        parameters = [p for group in part.param_groups for p in group["params"]]
        found = {
            place: {name: _shard_like(parameters[place], value) for name, value in entry.items()}
            for place, entry in state["state"].items()
        }
        return {**state, "state": found}
    owned = part.state_dict()
    return {name: _shard_like(owned.get(name), value) for name, value in state.items()}


def _shard_like(owner: Any, value: Any) -> Any:
    """Return a full tensor sharded as another tensor of its shape; anything else as it is."""
    # The shape tells AdamW's moments, which are sharded, from its step count, which is not.
    if not is_sharded(owner) or not isinstance(value, Tensor) or value.shape != owner.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, owner.device_mesh, owner.placements)


def is_sharded(value: object) -> bool:
    """Return whether a value is a sharded tensor; False if their module was never imported."""
    tensors = sys.modules.get("torch.distributed.tensor")
    return tensors is not None and isinstance(value, tensors.DTensor)


def clip_gradients(parameters: Sequence[Parameter], limit: float) -> Tensor:
    """Scale gradients in place so that their joint L2 norm is at most the limit.

    :return: The norm before clipping, over all ranks.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    shards = [grad.to_local() for grad in gradients if is_sharded(grad)]  # type: ignore[attr-defined]
    if not shards:
        return clip_grad_norm_(parameters, limit)
    # The squares of shards add up over ranks; gradients that every rank holds count once.
    plain = [gradient for gradient in gradients if not is_sharded(gradient)]
    square = sum_over_ranks(get_total_norm(shards).square())
    norm = (square + get_total_norm(plain).to(square).square()).sqrt()
    # The same 1e-6 as in clip_grad_norm_, so that sharding does not change the result.
    scale = (limit / (norm + 1e-6)).clamp(max=1.0)
    for gradient in [*shards, *plain]:
        gradient.mul_(scale.to(gradient))
    return norm
