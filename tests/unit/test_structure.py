"""Drawings of what is shared: hostile names stay text, and large models stay readable."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from polytask.reports.structure import blocks, mermaid, render_structure, svg

HOSTILE = '"]<script>alert(1)</script>&'


def record(tasks: tuple[str, ...] = ("a", HOSTILE), layers: int = 3) -> dict[str, Any]:
    def layer(name: str, *reaching: str) -> dict[str, Any]:
        return {"name": name, "parameters": 4, "trained": 4, "tasks": [*reaching]}

    shared = [layer(f"encoder.layers.{number}", *tasks) for number in range(layers)]
    part = layer("encoder.top", tasks[0])
    heads = [layer(f"heads.{task}", task) for task in tasks]
    return {
        "name": HOSTILE,
        "encoder": "bag",
        "sharing": "hard",
        "tasks": [*tasks],
        "parameters": {"all": 24, "trained": 24, "shared": 14},
        "layers": [*shared, part, *heads],
        "flops": {"all": 2e6, "alone": dict.fromkeys(tasks, 1e3), "tokens": 5.0},
    }


def test_layers_that_are_shared_alike_are_one_block() -> None:
    found = blocks(record(layers=12))
    assert [block["parameters"] for block in found] == [48, 4, 4, 4]
    assert (found[0]["name"], found[0]["last"]) == ("encoder.layers.0", "encoder.layers.11")


def test_hostile_names_stay_text() -> None:
    drawn = svg(record())
    root = ET.fromstring(drawn)
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    assert HOSTILE in "".join(root.itertext())
    text = mermaid(record())
    assert "<script" not in text
    assert all(line.count('"') in (0, 2) for line in text.splitlines())


def test_the_drawing_has_a_cell_for_every_reach() -> None:
    root = ET.fromstring(svg(record()))
    cells = [element for element in root.iter() if element.tag.endswith("rect")]
    assert len(cells) == 2 + 1 + 1 + 1
    assert len({cell.get("fill") for cell in cells}) == 3  # shared, and each of two tasks


def test_what_is_not_drawn_is_counted() -> None:
    many = record()
    many["layers"] = many["layers"][-2:] * 40
    assert "and 20 more" in "".join(ET.fromstring(svg(many)).itertext())


def test_the_table_shows_who_reaches_what() -> None:
    text = render_structure(record(("a", "b")))
    [top] = [line for line in text.splitlines() if line.startswith("encoder.top")]
    assert top.split()[-2:] == ["●", "·"]
    [head] = [line for line in text.splitlines() if line.startswith("heads.b")]
    assert head.split()[-2:] == ["·", "●"]
    assert "58.3 % of these are shared" in text
    assert "2.0 M" in text
