"""The layers of a model, for whoever looks at it layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from polytask.modeling.model import MultiTaskModel


def layers_of(model: MultiTaskModel) -> dict[str, str]:
    """Return the layer of every parameter: parameter name to the name of a module.

    A layer is one of those that an encoder names as its layers, with all inside it; outside of
    them it is the module that owns the parameter.
    """
    encoders = {id(e): e for e in map(model.sharing.encoder_of, model.sharing.tasks)}
    known = {id(layer) for encoder in encoders.values() for layer in encoder.layers}
    layers = {name for name, module in model.named_modules() if id(module) in known}
    return {name: _layer(name, layers) for name, _ in model.named_parameters()}


def _layer(parameter: str, layers: set[str]) -> str:
    """Return the innermost layer around a parameter, or its owner."""
    owners = [*accumulate(parameter.split(".")[:-1], "{}.{}".format)]
    inside = [owner for owner in owners if owner in layers]
    return (inside or owners or ["model"])[-1].removeprefix("sharing.")


def in_layers(names: Mapping[str, int], layers: Mapping[str, str]) -> dict[str, list[int]]:
    """Return the places of parameters, by layer, in the order of the names."""
    found: dict[str, list[int]] = {}
    for name, place in names.items():
        found.setdefault(layers[name], []).append(place)
    return found
