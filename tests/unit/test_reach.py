"""Which parameters tasks read."""

from __future__ import annotations

from torch import nn

from polytask.assembly.model.dependencies import with_tied


def test_a_tied_parameter_has_all_its_names() -> None:
    model = nn.ModuleDict({"table": nn.Embedding(3, 2), "scorer": nn.Linear(2, 3)})
    assert with_tied(model, {"table.weight"}) == {"table.weight"}
    table, scorer = model["table"], model["scorer"]
    assert isinstance(table, nn.Embedding)
    assert isinstance(scorer, nn.Linear)
    scorer.weight = table.weight
    assert with_tied(model, {"table.weight"}) == {"table.weight", "scorer.weight"}
    assert with_tied(model, {"scorer.bias", "a.buffer"}) == {"scorer.bias", "a.buffer"}
