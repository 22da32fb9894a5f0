"""Two objectives, five starting points: which methods reach the Pareto front; draws ``toy.svg``.

The problem is that of Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning",
NeurIPS 2021, appendix (https://arxiv.org/abs/2110.14048), with the starting points, and the first
loss a tenth as large, of Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022
(https://arxiv.org/abs/2202.01017). Two deviations: 21 is added to both losses, so that methods that
take logarithms can be asked; Adam makes a twentieth of the steps, each twenty times as long as the
0.001 of the papers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise, product
from pathlib import Path

import torch
from torch import Tensor, nn

from polytask.balancing import TaskLosses, balancers
from polytask.core.partition import Partition

STARTS = [(-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0)]
RATE = 0.02
STEPS = 1750
"""As far as the 35 000 steps of Navon et al. go."""
EVERY = 25
NEAR = 0.25
"""How much better both losses could be on the front; on the way there they fall by about 20."""

EDGE = 11.0
AXIS = torch.linspace(-EDGE, EDGE, 221, dtype=torch.float64)
KINDS = [
    "equal", "pcgrad", "mgda", "cagrad", "imtl_g",
    "nash_mtl", "fairgrad", "aligned_mtl", "upgrad", "famo",
]  # fmt: skip
COLOURS = ["#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e"]
PANEL, MARGIN, TITLE = 200, 12, 22


def losses(points_X2: Tensor) -> Tensor:
    """Both losses, losses_X2; the second is the first, mirrored at the vertical axis.

    Above, a narrow winding valley for each, below a bowl.
    """
    across_X2 = points_X2[..., :1] * points_X2.new_tensor([1.0, -1.0])
    up_X1 = points_X2[..., 1:]
    valley_X2 = (up_X1.tanh() - (across_X2 + 7) / 2).abs().clamp(min=5e-6).log() + 6
    bowl_X2 = ((across_X2 - 7) ** 2 + (up_X1 + 8) ** 2 / 10) / 10 - 20
    part_X1 = (up_X1 / 2).tanh()
    return part_X1.clamp(min=0) * valley_X2 - part_X1.clamp(max=0) * bowl_X2 + 21


GRID_G2 = losses(torch.cartesian_prod(AXIS, AXIS))


def shortfall(point_2: Tensor) -> float:
    """By how much both losses are lower at some point of a grid; 0 on the Pareto front."""
    return float((losses(point_2.double()) - GRID_G2).amin(1).max())


def descend(kind: str, start: Sequence[float]) -> Iterator[Tensor]:
    """The points that a method comes to, the starting point first."""
    method = balancers.build(kind, 2)
    point_2 = nn.Parameter(torch.tensor(start))
    scale_2, both = torch.tensor([0.1, 1.0]), torch.arange(2)
    adam = torch.optim.Adam([point_2], lr=RATE)
    while True:
        yield point_2.detach().clone()
        adam.zero_grad()
        before_2 = scale_2 * losses(point_2)
        method.accumulate(TaskLosses([*before_2], (0, 1), torch.ones(2)), Partition([point_2], []))
        method.resolve(Partition([point_2], []))
        adam.step()
        if "losses_after" in method.needs:
            method.after(scale_2 * losses(point_2.detach()), both)


def arrival(path: Iterator[Tensor], steps: int = STEPS) -> int | None:
    """The first of every 25 steps at which the front is near."""
    looked_at = enumerate(islice(path, 0, steps + 1, EVERY))
    return next((EVERY * n for n, point_2 in looked_at if shortfall(point_2) < NEAR), None)


def main() -> None:
    """Print the step at which each method arrives from each point, and draw the ways."""
    torch.manual_seed(0)
    print(f"{'step of arrival from':22}" + "".join(f"{start!s:>13}" for start in STARTS))
    panels = [_defs()]
    for place, kind in enumerate(KINDS):
        paths = [list(islice(descend(kind, start), STEPS + 1)) for start in STARTS]
        arrivals = [arrival(iter(path)) for path in paths]
        print(f"{kind:22}" + "".join(f"{'never' if a is None else a:>13}" for a in arrivals))
        number = sum(step is not None for step in arrivals)
        panels.append(_panel(place, f"{kind} {number}/{len(STARTS)}", paths))
    width, height = 5 * (PANEL + MARGIN) + MARGIN, 2 * (PANEL + TITLE + MARGIN) + MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" fill="none">'
    drawing = "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *panels, "</svg>"])
    Path(__file__).with_suffix(".svg").write_text(drawing + "\n", encoding="utf-8")


def _panel(place: int, title: str, paths: Sequence[Sequence[Tensor]]) -> str:
    left = MARGIN + place % 5 * (PANEL + MARGIN)
    top = MARGIN + place // 5 * (PANEL + TITLE + MARGIN)
    lines = [
        f'<g transform="translate({left} {top})"><text y="14" fill="#000" '
        f'font-family="sans-serif" font-size="13">{title}</text>',
        f'<g transform="translate(0 {TITLE})"><use href="#ground"/>',
    ]
    for colour, path in zip(COLOURS, paths, strict=True):
        lines.append(f'<path d="{_line(path[::EVERY])}" stroke="{colour}" stroke-width="1.5"/>')
        for point_2, radius in ((path[0], 3), (path[-1], 2)):
            x, y = _place(point_2)
            lines.append(f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{colour}"/>')
    return "\n".join([*lines, "</g></g>"])


def _defs() -> str:
    """The contours of the mean loss, and the front, drawn once for all panels."""
    levels = GRID_G2.mean(1).quantile(torch.linspace(0.05, 0.95, 10, dtype=torch.float64))
    coarse_XY = GRID_G2.mean(1).view(len(AXIS), -1)[::4, ::4]
    contours = "".join(_contour(coarse_XY, float(level)) for level in levels)
    return (
        f'<defs><g id="ground"><rect width="{PANEL}" height="{PANEL}" stroke="#888"/>'
        f'<path d="{contours}" stroke="#bbb" stroke-width=".6"/>'
        f'<path d="{_line(_front())}" stroke="#000" stroke-width="4" opacity=".35"/></g></defs>'
    )


def _front() -> list[Tensor]:
    """The Pareto set: the lowest point of each weighted sum of the losses that has one inside."""
    shares = torch.linspace(0, 1, 15, dtype=torch.float64).tolist()
    grid_G2 = torch.cartesian_prod(AXIS, AXIS)
    return [grid_G2[(GRID_G2 @ torch.tensor([w, 1 - w]).double()).argmin()] for w in shares]


def _contour(height_XY: Tensor, level: float) -> str:
    """Marching squares: in each cell, a line between the edges that the level crosses."""
    heights, axis, found = height_XY.tolist(), AXIS[::4].tolist(), []
    for x, y in product(range(len(axis) - 1), repeat=2):
        corners = [(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1), (x, y)]
        crossings = []
        for (a, b), (c, d) in pairwise(corners):
            low, high = heights[a][b], heights[c][d]
            if (low > level) != (high > level):
                ends_22 = torch.tensor([[axis[a], axis[b]], [axis[c], axis[d]]])
                crossings.append(ends_22[0].lerp(ends_22[1], (level - low) / (high - low)))
        found += [_line(crossings[i : i + 2]) for i in range(0, len(crossings), 2)]
    return "".join(found)


def _line(points: Sequence[Tensor]) -> str:
    return "M" + "L".join("{} {}".format(*_place(point_2)) for point_2 in points)


def _place(point_2: Tensor) -> tuple[float, float]:
    x, y = point_2.clamp(-EDGE, EDGE).tolist()
    scale = PANEL / (2 * EDGE)
    return round((x + EDGE) * scale, 1), round((EDGE - y) * scale, 1)


if __name__ == "__main__":
    main()
