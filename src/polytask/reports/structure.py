"""What tasks share, drawn: a table, Mermaid text, and an SVG. Reads the record of describe only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from polytask.reports.tables import Grid

Record = Mapping[str, Any]
_COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#9c755f", "#edc948")
_ROW, _CELL, _NAMES, _TOP = 26, 26, 300, 150
_MOST = 60
"""The most blocks of layers that are drawn."""


def structure_text(record: Record) -> str:
    """For the console: a layer a row, a task a column."""
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
            "● the task trains these parameters. A layer has a row for each set of tasks. "
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
        f"{_number(flops['all'])} as tasks are trained together; on a row of its own: {alone}."
    )


def _number(value: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f}"


def blocks(record: Record) -> list[dict[str, Any]]:
    """Neighbouring layers that the same tasks reach, as one."""
    found: list[dict[str, Any]] = []
    for layer in record["layers"]:
        tasks, part = layer["tasks"], layer["name"].split(".")[0]
        if found and (found[-1]["tasks"], found[-1]["part"]) == (tasks, part):
            found[-1]["last"] = layer["name"]
            found[-1]["parameters"] += layer["parameters"]
        else:
            name, own = layer["name"], layer["parameters"]
            found.append(
                {"part": part, "name": name, "last": name, "tasks": tasks, "parameters": own}
            )
    return found


def mermaid(record: Record) -> str:
    """A flow chart: each block of layers, and the tasks that reach it."""
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
    """Text between the quotes of a Mermaid label; its line breaks stay."""
    return escape(text).replace("&lt;br/&gt;", "<br/>").replace("&", "#").replace("##", "#")


def block_title(block: Record) -> str:
    """The name of a layer, or of the first and the last of several."""
    first, last = block["name"], block["last"]
    return first if first == last else f"{first} … {last}"


def svg(record: Record) -> str:
    """A matrix of blocks of layers and tasks: who reaches what. Colours suit light and dark pages."""
    tasks, everything = record["tasks"], blocks(record)
    drawn = everything[:_MOST]
    width = _NAMES + 90 + _CELL * len(tasks) + 20
    height = _TOP + _ROW * (len(drawn) + (len(drawn) < len(everything))) + 10
    label = f"What the tasks of {record['name']} share"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(label)}" font-family="sans-serif" '
        f'font-size="12" fill="currentColor">',
        f'<title lang="en">{escape(label)}</title>',
        *(_column(place, task) for place, task in enumerate(tasks)),
        *(_line(number, block, tasks) for number, block in enumerate(drawn)),
        *_left_out(len(everything) - len(drawn), height),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _left_out(count: int, height: int) -> list[str]:
    return [f'<text x="8" y="{height - 15}">and {count} more</text>'] if count else []


def _column(place: int, task: str) -> str:
    x = _NAMES + 90 + _CELL * place + _CELL / 2
    return (
        f'<text x="{x}" y="{_TOP - 8}" transform="rotate(-50 {x} {_TOP - 8})">'
        f"{escape(_short(task, 24))}</text>"
    )


def _line(number: int, block: Record, tasks: Sequence[str]) -> str:
    y = _TOP + _ROW * number
    cells = [
        _cell(place, y, task, block) for place, task in enumerate(tasks) if task in block["tasks"]
    ]
    title = escape(block_title(block))
    return (
        f'<g><title>{title}</title><text x="8" y="{y + 17}">{escape(_short(block_title(block), 44))}'
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


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
