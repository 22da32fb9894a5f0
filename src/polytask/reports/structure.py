"""The layers that tasks share, as a table, Mermaid text or SVG, from the record of describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from polytask.reports.formats import clip
from polytask.reports.tables import Grid

Record = Mapping[str, Any]
_COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#9c755f", "#edc948")
_ROW, _CELL, _NAMES, _TOP = 26, 26, 300, 150
_MOST = 60
"""Largest number of blocks of layers in a drawing."""


def render_structure(record: Record) -> str:
    """Return a table for the console: one row per layer, one column per task."""
    tasks, parameters = record["tasks"], record["parameters"]
    share = parameters["shared"] / max(1, parameters["trained"])
    rows = [
        [
            layer["name"],
            f"{layer['parameters']:,}",
            f"{layer['trained']:,}",
            *("●" if task in layer["tasks"] else "·" for task in tasks),
        ]
        for layer in record["layers"]
    ]
    title = f"{record['name']}: {record['encoder']}, {record['sharing']} sharing"
    grid = Grid(title, ["layer", "parameters", "trained", *tasks], rows)
    return grid.text() + "\n".join(
        [
            "",
            "● the task trains these parameters. A layer has one row per set of tasks. "
            f"{parameters['trained']:,} of {parameters['all']:,} parameters are trained; "
            f"{100 * share:.1f} % of these are shared.",
            _cost(record),
            "",
        ]
    )


def _cost(record: Record) -> str:
    flops = record["flops"]
    if flops is None:
        return (
            f"FLOPs are counted on training rows, which cannot be read: {record['flops_missing']}"
        )
    alone = ", ".join(f"{task} {_number(value)}" for task, value in flops["alone"].items())
    return (
        f"FLOPs of a forward pass per example of {flops['tokens']:.0f} tokens: "
        f"{_number(flops['all'])} in joint training; for one task alone: {alone}."
    )


def _number(value: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f}"


def blocks(record: Record) -> list[dict[str, Any]]:
    """Return neighbouring layers that train with the same tasks, merged into blocks."""
    found = []
    keyed = groupby(record["layers"], lambda each: (each["name"].split(".")[0], each["tasks"]))
    for (part, tasks), group in keyed:
        layers = list(group)
        names = {"part": part, "name": layers[0]["name"], "last": layers[-1]["name"]}
        count = sum(layer["parameters"] for layer in layers)
        found.append({**names, "tasks": tasks, "parameters": count})
    return found


def mermaid(record: Record) -> str:
    """Return a Mermaid flow chart: each block of layers, linked to its tasks."""
    lines = ["flowchart LR"]
    for place, task in enumerate(record["tasks"]):
        lines.append(f'  t{place}(["{_quote(task)}"])')
    for number, block in enumerate(blocks(record)):
        text = f"{block_title(block)}<br/>{block['parameters']:,} parameters"
        lines.append(f'  b{number}["{_quote(text)}"]')
        for place, task in enumerate(record["tasks"]):
            if task in block["tasks"]:
                lines.append(f"  t{place} --- b{number}")
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    """Return text for a Mermaid label in quotes; ``<br/>`` stays a line break."""
    return escape(text).replace("&lt;br/&gt;", "<br/>").replace("&", "#").replace("##", "#")


def block_title(block: Record) -> str:
    """Return the name of the layer, or the names of the first and the last layer."""
    first, last = block["name"], block["last"]
    return first if first == last else f"{first} … {last}"


def svg(record: Record) -> str:
    """Return an SVG matrix of blocks and tasks, in colours for light and dark pages."""
    tasks, everything = record["tasks"], blocks(record)
    drawn = everything[:_MOST]
    width = _NAMES + 90 + _CELL * len(tasks) + 20
    height = _TOP + _ROW * (len(drawn) + (len(drawn) < len(everything))) + 10
    label = f"Layers shared by the tasks of {record['name']}"
    more = len(everything) - len(drawn)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(label)}" font-family="sans-serif" '
        f'font-size="12" fill="currentColor">',
        f'<title lang="en">{escape(label)}</title>',
        *(_column(place, task) for place, task in enumerate(tasks)),
        *(_line(number, block, tasks) for number, block in enumerate(drawn)),
        *([f'<text x="8" y="{height - 15}">and {more} more</text>'] if more else []),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _column(place: int, task: str) -> str:
    x = _NAMES + 90 + _CELL * place + _CELL / 2
    return (
        f'<text x="{x}" y="{_TOP - 8}" transform="rotate(-50 {x} {_TOP - 8})">'
        f"{escape(clip(task, 24))}</text>"
    )


def _line(number: int, block: Record, tasks: Sequence[str]) -> str:
    y = _TOP + _ROW * number
    cells = [
        _cell(place, y, task, block) for place, task in enumerate(tasks) if task in block["tasks"]
    ]
    title = escape(block_title(block))
    return (
        f'<g><title>{title}</title><text x="8" y="{y + 17}">{escape(clip(block_title(block), 44))}'
        f'</text><text x="{_NAMES + 80}" y="{y + 17}" text-anchor="end" opacity="0.7">'
        f"{_number(block['parameters'])}</text>{''.join(cells)}</g>"
    )


def _cell(place: int, y: int, task: str, block: Record) -> str:
    x = _NAMES + 90 + _CELL * place
    alone = len(block["tasks"]) == 1
    colour = _COLOURS[place % len(_COLOURS)] if alone else "#6b7a99"
    told = "alone" if alone else f"shared by {len(block['tasks'])} tasks"
    return (
        f'<rect x="{x + 2}" y="{y + 2}" width="{_CELL - 4}" height="{_ROW - 4}" rx="3" '
        f'fill="{colour}"><title>{escape(task)}: {told}</title></rect>'
    )
