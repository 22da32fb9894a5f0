"""AdamW over the parameters of a model and of its balancer, grouped by rate and decay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import nn
from torch.nn import Parameter
from torch.optim import AdamW, Optimizer

from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.modeling import MultiTaskModel
from polytask.training.options import OptimiserOptions

_NORMS = (nn.LayerNorm, nn.RMSNorm)
_FUSED_DEVICES = {"cpu", "cuda"}


def build_optimiser(
    model: MultiTaskModel,
    balancer: nn.Module,
    options: OptimiserOptions,
    tasks_of: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> AdamW:
    """Return AdamW with a group for each rate and decay, in the order of the parameters.

    There is no decay of norms, biases, other vectors and the balancer's parameters. Encoders have
    the rate of the recipe, multiplied by ``layer_decay`` for each layer further down. Everything
    else has the rate of the heads, or of the only task that reaches it. Frozen parameters are
    left out, and tied ones occur once.

    The rates are peak rates; each group keeps its peak as ``initial_lr``.

    :param tasks_of: The tasks that reach each parameter, by its name; for rates of tasks.
    :raises RecipeError: If a task with a rate trains no parameter alone outside the encoder.
    """
    head_rate = options.head_learning_rate or options.learning_rate
    rates = {**_task_rates(model, options, tasks_of), **_encoder_rates(model, options)}
    groups: dict[tuple[float, float], list[Parameter]] = {}
    for parameter, decays in _trainable(model):
        rate = rates.get(parameter, head_rate)
        decay = options.weight_decay if decays else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    param_groups = [_group(rate, decay, params) for (rate, decay), params in groups.items()]
    learned = [parameter for parameter in balancer.parameters() if parameter.requires_grad]
    if learned:
        param_groups.append(_group(head_rate, 0.0, learned))
    every = [parameter for group in param_groups for parameter in group["params"]]
    optimiser = AdamW(
        param_groups,
        lr=options.learning_rate,
        betas=options.betas,
        eps=options.epsilon,
        fused=all(map(_suits_fused_kernel, every)),
    )
    optimiser.register_step_pre_hook(_make_gradients_contiguous)
    return optimiser


def _group(rate: float, decay: float, parameters: list[Parameter]) -> dict[str, Any]:
    return {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}


def _trainable(model: nn.Module) -> Iterator[tuple[Parameter, bool]]:
    """Yield every trainable parameter once, in order, and whether it decays."""
    seen: set[Parameter] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                is_vector = parameter.ndim < 2 or name.endswith("bias")
                yield parameter, not (is_vector or isinstance(module, _NORMS))


def find_encoders(model: MultiTaskModel) -> list[Encoder]:
    """Return the encoders of a model, with all that an architecture put into their layers."""
    return [module for module in model.sharing.modules() if isinstance(module, Encoder)]


def _encoder_rates(model: MultiTaskModel, options: OptimiserOptions) -> dict[Parameter, float]:
    return {
        parameter: options.learning_rate * options.layer_decay**depth
        for encoder in find_encoders(model)
        for parameter, depth in _depths(encoder)
    }


def _task_rates(
    model: MultiTaskModel, options: OptimiserOptions, tasks_of: Mapping[str, Sequence[str]]
) -> dict[Parameter, float]:
    """Return the rates of parameters that one task with a rate alone reaches."""
    inside = {parameter for encoder in find_encoders(model) for parameter in encoder.parameters()}
    owners = {
        parameter: tasks_of[name][0]
        for name, parameter in model.named_parameters()
        if parameter not in inside and len(tasks_of.get(name, ())) == 1
    }
    rates = options.task_learning_rates
    without = [task for task in rates if task not in owners.values()]
    if without:
        raise RecipeError(
            [
                f"training.task_learning_rates.{task}: the task trains no parameter alone outside "
                "the encoder. Remove its rate, or use head_learning_rate."
                for task in without
            ]
        )
    return {parameter: rates[task] for parameter, task in owners.items() if task in rates}


def _depths(encoder: Encoder) -> Iterator[tuple[Parameter, int]]:
    """Yield each parameter and the number of layers above it.

    Parameters registered before the layers, such as embeddings, lie below all of them.
    """
    depth_of = {
        parameter: depth
        for depth, layer in enumerate(reversed(encoder.layers))
        for parameter in layer.parameters()
    }
    outside = len(encoder.layers)
    for parameter in encoder.parameters():
        if parameter in depth_of:
            outside = 0
        yield parameter, depth_of.get(parameter, outside)


def _suits_fused_kernel(parameter: Parameter) -> bool:
    return parameter.device.type in _FUSED_DEVICES and parameter.is_contiguous()


def _make_gradients_contiguous(optimiser: Optimizer, *_: Any) -> None:
    """Make gradients contiguous: the fused CPU kernel ignores strides."""
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad = parameter.grad.contiguous()
