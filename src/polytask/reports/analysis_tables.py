"""The results of ``polytask analyse`` as text and tables. Reads JSON records only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polytask.reports.formats import NOTHING, list_groups
from polytask.reports.tables import Grid
from polytask.reports.wording import Phrase, in_language, phrase

Record = Mapping[str, Any]
_MOST_PAIRS = 12
_MEANT = {
    "pairwise": "percent gained over training alone, on validation rows",
    "training": "a step for the helper lowers the loss of the task by this many thousandths, to "
    "first order, averaged over the training",
    "lookahead": "a step for the helper lowers the loss of the task by this many thousandths, on "
    "training rows of the trained model",
}
_VERDICTS = {
    True: "The prediction held: grouping is at least as good as all together and as each alone.",
    False: "The prediction did not hold: all together, or each alone, is better.",
}


def render_analysis(found: Mapping[str, Any]) -> str:
    """Return the existing records of an analysis as text for the console."""
    sections = {
        "interference": render_interference,
        "transference": render_transference,
        "groups": render_groups,
        "curve": render_curve,
    }
    return "".join(render(found[name]) + "\n" for name, render in sections.items() if name in found)


def render_interference(record: Record) -> str:
    """Return the gradient cosine of each pair of tasks, worst first."""
    layers = record["layers"]
    pairs = sorted(layers.get("all", []), key=lambda pair: (pair["cosine"] is None, pair["cosine"]))
    rows = [
        [
            " – ".join(pair["tasks"]),
            _number(pair["cosine"], "{:+.3f}", pair["error"]),
            _share(pair["conflict"]),
            str(pair["looks"]),
            _worst_layer(layers, pair["tasks"]),
        ]
        for pair in pairs[:_MOST_PAIRS]
    ]
    when = (
        "at steps of the training"
        if record["when"] == "training"
        else "on steps of training rows after the training; to measure it during the training, set "
        "training.interference: auto"
    )
    head = ["tasks", "cosine", "in conflict", "looks", "most in conflict in"]
    left = len(pairs) - len(rows)
    more = f"and {left} more pairs in interference.json\n" if left else ""
    title = f"Interference: do the gradients of tasks point the same way? Measured {when}"
    return Grid(title, head, rows).text() + more


def _worst_layer(layers: Mapping[str, Sequence[Record]], tasks: Sequence[str]) -> str:
    """Return the layer in which two tasks conflict most often, with the share of conflicts."""
    conflicts = {
        layer: pair["conflict"]
        for layer, pairs in layers.items()
        for pair in pairs
        if layer != "all" and pair["tasks"] == tasks and pair["conflict"]
    }
    if not conflicts:
        return NOTHING
    layer = max(conflicts, key=lambda name: conflicts[name])
    return f"{layer} ({_share(conflicts[layer])})"


def render_transference(record: Record) -> str:
    """Return the preferred matrix of transference: a row per task and a column per helper."""
    name = record["preferred"]
    matrix, tasks = record["methods"][name], record["tasks"]
    scale = _scale(name)
    rows = []
    for task, means, errors in zip(tasks, matrix["mean"], matrix["error"], strict=True):
        cells = [
            NOTHING if helper == task and name == "pairwise" else _format_scaled(mean, error, scale)
            for helper, mean, error in zip(tasks, means, errors, strict=True)
        ]
        rows.append([task, *cells])
    title = f"Transference ({name}): {_MEANT[name]}"
    return Grid(title, ["task \\ helper", *tasks], rows).text()


def _scale(method: str) -> float:
    """Return the factor for showing the numbers of a method: percent, or thousandths."""
    return 100.0 if method == "pairwise" else 1000.0


def render_groups(record: Record) -> str:
    """Return the proposed groups, their predicted gain, and the gain after training them."""
    proposed = record["proposed"]
    lines = [f"Proposed groups, from {record['from']}:"]
    for group, path in zip(proposed["groups"], record["recipes"], strict=True):
        lines.append(f"  {', '.join(group)}    {path}")
    lines.append(f"For a comparison, compare.groups: {list_groups(proposed['groups'])}")
    scale = _scale(record["from"])
    steps = [f"{each['models']}: {scale * each['value']:+.2f}" for each in record["by_models"]]
    lines.append(
        f"Predicted gain as above, summed over tasks, by number of models: {', '.join(steps)}"
    )
    if instead := record.get("instead"):
        lines.append(_why_fewer(record, instead, scale))
    text = "\n".join(lines) + "\n"
    return text + (render_verification(record["verified"], scale) if "verified" in record else "")


def _why_fewer(record: Record, instead: Record, scale: float) -> str:
    """Return the reason for proposing fewer models than the best prediction, and how to try both."""
    groups = record["by_models"][instead["models"] - 1]["groups"]
    return (
        f"{instead['models']} models are predicted to gain more, but the best of many groupings is "
        "partly chance: in samples that did not choose them, they gain "
        f"{_format_scaled(instead['cross_validated'], instead['error'], scale)} over those proposed. "
        "Fewer models are proposed unless that is more than one standard error. To try both, "
        f"compare with compare.groups: {list_groups(groups)}"
    )


def render_verification(record: Record, scale: float) -> str:
    """Return the measured gains of the proposed groups, next to their predictions.

    :param scale: The factor of predictions, as in their matrix.
    """
    means = record["gains"]
    rows = [
        [
            task,
            f"{scale * own['predicted']:+.2f}",
            *(_format_scaled(own[way], None, 100) for way in ("grouped", "joint")),
        ]
        for task, own in record["tasks"].items()
    ]
    cells = [
        _format_scaled(means[way]["mean"], means[way]["error"], 100) for way in ("grouped", "joint")
    ]
    rows.append(["mean", "", *cells])
    seeds = len(record["seeds"])
    title = f"Verified on held-out rows, {seeds} seed{'s' if seeds > 1 else ''}: % over alone"
    verdict = "Nothing can be said: no gain is defined for every seed."
    if record["held"] is not None:
        verdict = _VERDICTS[record["held"]]
    if missing := record.get("without"):
        verdict += f" Means are without {', '.join(missing)}, whose gain is undefined."
    signs = "" if record["sign"] is None else f" Sign right for {_share(record['sign'])} of tasks."
    grid = Grid(title, ["task", "predicted", "grouped", "all together"], rows)
    caution = " One seed shows little: repeat with --seeds 5." if seeds == 1 else ""
    return f"{grid.text()}{verdict}{signs}{caution}\n"


def render_curve(record: Record) -> str:
    """Return the gains of sharing by the number of rows, and where they end."""
    rows = [
        [
            str(point["rows"]),
            _format_scaled(point["gain"], point["error"], 100),
            ", ".join(point.get("without", ())),
        ]
        for point in record["points"]
    ]
    head = ["rows", "gain", "undefined for"]
    if not any(missing for *_, missing in rows):
        head, rows = head[:2], [row[:2] for row in rows]
    grid = Grid("Learning curve: % gained by sharing, mean of tasks", head, rows)
    end = describe_end_of_gain(record)
    said = in_language(end, "en") if end else "Gains are undefined at all of these sizes."
    return f"{grid.text()}{said}\n"


def describe_end_of_gain(record: Record) -> Phrase | None:
    """Return a sentence about the size at which sharing stops paying; None without gains."""
    known = [point for point in record["points"] if point["gain"] is not None]
    if not known:
        return None
    if record["stops_paying"] is not None:
        return phrase("data.stops", rows=f"{record['stops_paying']:.0f}")
    return phrase("data.pays" if known[-1]["gain"] > 0 else "data.never", rows=known[-1]["rows"])


def _format_scaled(mean: float | None, error: float | None, scale: float) -> str:
    if mean is None:
        return NOTHING
    return _number(scale * mean, "{:+.2f}", None if error is None else scale * error)


def _number(value: float | None, shape: str, error: float | None = None) -> str:
    if value is None:
        return NOTHING
    spread = "" if error is None else f" ± {shape.replace('+', '').format(error)}"
    return shape.format(value) + spread


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.0f} %"
