"""Which layers the loss of each task reaches, as ``polytask describe`` has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polytask.reports import formats
from polytask.reports.material import Material
from polytask.reports.sections.base import Cell, Section, Table, filled
from polytask.reports.wording import Text, phrase

_MOST = 60


def describe(material: Material) -> Section | None:
    """A row per layer and a column per task; neighbours that are reached alike are one row."""
    found = material.analysis("describe")
    if not found or not found.get("layers"):
        return None
    tasks = [str(task) for task in found.get("tasks", ())]
    rows = [_row(block, tasks) for block in _blocks(found["layers"])[:_MOST]]
    head: list[Text] = [phrase("column.layer"), phrase("column.parameters"), *tasks]
    return Section("describe", filled("describe.html", table=Table("layers", head, rows)))


def _blocks(layers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for layer in layers:
        reach = {task: _mark(layer, task) for task in layer["reached"]}
        part = layer["name"].split(".")[0]
        if blocks and (blocks[-1]["part"], blocks[-1]["reach"]) == (part, reach):
            blocks[-1]["last"] = layer["name"]
            blocks[-1]["parameters"] += layer["parameters"]
        else:
            names = {"name": layer["name"], "last": layer["name"]}
            blocks.append(
                {**names, "part": part, "reach": reach, "parameters": layer["parameters"]}
            )
    return blocks


def _mark(layer: Mapping[str, Any], task: str) -> str:
    """All of the trained parameters of a layer, some, or none."""
    reached = layer["reached"][task]
    return "●" if reached and reached == layer.get("trained") else "◐" if reached else "·"


def _row(block: Mapping[str, Any], tasks: Sequence[str]) -> list[Cell]:
    first, last = block["name"], block["last"]
    return [
        Cell(first if first == last else f"{first} … {last}"),
        Cell(formats.amount(block["parameters"]), block["parameters"]),
        *(Cell(block["reach"].get(task, "·")) for task in tasks),
    ]
