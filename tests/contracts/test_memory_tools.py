"""Activation checkpointing and torch.compile change nothing but time and memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint
from transformers.models.bert.modeling_bert import BertModel

from polytask.balancing import balancers
from polytask.core.errors import RecipeError, TrainingError
from tests.contracts.test_precision_matrix import (
    METHODS,
    LowRank,
    Model,
    Recurrent,
    Tied,
    built,
    gradient,
    run,
)

BATCHES = (1, 2)
"""Of different lengths."""


def dropping(model: Model) -> Model:
    """With dropout, which a layer that is computed again has to draw as it did before."""
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.2
    return model


def checkpointed(model: Model) -> Model:
    """All below the heads is computed again, or each layer, as users of Hugging Face have it."""
    if isinstance(model.encoder, BertModel):
        enable: Any = model.encoder.activation_checkpointing_enable
        enable({"use_reentrant": False})
        return model
    plain = model.features
    model.features = lambda ids_BL: checkpoint(plain, ids_BL, use_reentrant=False)  # type: ignore[method-assign]
    return model


@pytest.fixture(
    scope="module", params=[(Tied, None), (LowRank, True)], ids=["tied", "low rank, of all sizes"]
)
def pair(request: pytest.FixtureRequest) -> tuple[Model, Model]:
    """A compiled model and a plain one; no code is generated, so that no compiler has to be there."""
    kind, dynamic = request.param
    model, plain = kind(), kind()
    model.features = torch.compile(model.features, backend="aot_eager", dynamic=dynamic)
    return model, plain


def update(method: Mapping[str, Any], model: Model) -> tuple[Tensor, Tensor]:
    """The weights, and the gradients of all parameters."""
    torch.manual_seed(1)
    weights_T = run(built(method, model), model, BATCHES)
    return weights_T, gradient([*model.parameters()])


@pytest.mark.parametrize("name", METHODS)
def test_checkpointing_changes_nothing(name: str) -> None:
    found = update(METHODS[name], checkpointed(dropping(Model())))
    assert_close(found, update(METHODS[name], dropping(Model())))


@pytest.mark.parametrize("kind", [Recurrent, Tied, LowRank])
@pytest.mark.parametrize("gradients", ["auto", "exact", "streamed", "features", "last_layer"])
def test_checkpointing_changes_nothing_whatever_the_model_looks_like(
    kind: type[Model], gradients: str
) -> None:
    method = {"kind": "mgda", "gradients": gradients}
    assert_close(update(method, checkpointed(kind())), update(method, kind()))


@pytest.mark.parametrize("name", [name for name in METHODS if not name.endswith("last_layer")])
def test_compiling_changes_nothing(name: str, pair: tuple[Model, Model]) -> None:
    """Layers of a compiled model are not seen, so that ``auto`` stands for ``grouped`` here."""
    method = METHODS[name]
    if method.get("gradients") == "grouped":
        method = {**method, "gradients": "auto"}
    compiled, plain = pair
    assert_close(update(method, compiled), update(method, plain), rtol=1e-4, atol=1e-6)


def test_what_needs_to_see_layers_is_refused_where_they_are_compiled(
    pair: tuple[Model, Model],
) -> None:
    with pytest.raises(RecipeError, match="compiled model"):
        update(METHODS["mgda last_layer"], pair[0])
    with pytest.raises(TrainingError, match="gradients differ from autograd"):
        update(METHODS["mgda grouped"], pair[0])


def rows_read_by_all(model: Model) -> Tensor:
    """The gradient for losses that have all rows in common."""
    model.zero_grad()
    losses = model.losses(1)
    total = torch.stack(losses).sum()
    balancers.build("mgda", len(losses)).backward([total * loss for loss in losses])
    return gradient([*model.parameters()])


def test_a_compiled_graph_is_differentiated_once_per_task(pair: tuple[Model, Model]) -> None:
    assert_close(*map(rows_read_by_all, pair))


def test_a_checkpointed_graph_is_differentiated_once_per_task() -> None:
    assert_close(rows_read_by_all(checkpointed(LowRank())), rows_read_by_all(LowRank()))
