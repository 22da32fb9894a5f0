"""A comparison as tables: for the console, and as Markdown. Reads ``comparison.json`` only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from polytask.reports import formats
from polytask.reports.decision import decision
from polytask.reports.summary import (
    FAMILIES,
    Estimate,
    Record,
    best,
    cost,
    family_estimate,
    gain,
    main_estimate,
    standing,
    task_estimate,
    worst_task,
)
from polytask.reports.tables import Grid
from polytask.reports.tested import (
    detectable,
    mark,
    mean_rank,
    moved,
    statistics_of,
    tested_difference,
    tested_gain,
)
from polytask.reports.wording import in_language

_COSTS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "parameters": ("parameters", formats.amount),
    "trained_parameters": ("trained", formats.amount),
    "tokens": ("tokens", formats.amount),
    "flops": ("FLOPs", formats.amount),
    "seconds": ("time", formats.seconds),
    "peak_memory_mb": ("peak MiB", formats.amount),
    "inference_parameters": ("to answer: parameters", formats.amount),
    "inference_flops_per_row": ("FLOPs a row", formats.amount),
}


def render_comparison(record: Record) -> str:
    """A comparison for the console."""
    grids = (grid.text() for grid in _grids(record))
    return "\n".join([*_verdict(record), *grids, *_remarks(record)])


def comparison_markdown(record: Record) -> str:
    """A comparison as a Markdown document."""
    grids = (grid.markdown() for grid in _grids(record))
    return (
        "\n".join([f"# {record['name']}", "", *_verdict(record), *grids, *_remarks(record)]) + "\n"
    )


def _verdict(record: Record) -> Iterator[str]:
    found = decision(record)
    if found is not None:
        yield f"Verdict: {in_language(found.said, 'en')}."
        yield from (in_language(text, "en") for text in found.because)
        yield ""


def _grids(record: Record) -> list[Grid]:
    tested = [_differences(record)] if statistics_of(record) else []
    return [_summary(record), _by_task(record), *tested, _costs(record)]


def _summary(record: Record) -> Grid:
    families = [
        name
        for name in FAMILIES
        if any(family_estimate(record, one, name) for one in record["strategies"])
    ]
    tested = ["p, Holm", "mean rank"] if statistics_of(record) else []
    hurt = ["tasks hurt"] if tested else []
    head = ["strategy", *families, "mean", "Δm %", *tested, "worst task", *hurt]
    rows = [
        [
            strategy,
            *(_estimate("accuracy", family_estimate(record, strategy, name)) for name in families),
            _estimate("accuracy", main_estimate(record, strategy)),
            _gain(record, strategy),
            *([_chance(record, strategy), _rank(record, strategy)] if tested else []),
            _worst(record, strategy),
            *([_hurt(record, strategy)] if hurt else []),
        ]
        for strategy in record["strategies"]
    ]
    return Grid(f"{record['name']}: means over {len(standing(record))} tasks", head, rows)


def _by_task(record: Record) -> Grid:
    strategies = record["strategies"]
    rows = []
    for task, entry in standing(record).items():
        metric, winner = entry["select"], best(record, task)
        cells = []
        for strategy in strategies:
            found = task_estimate(record, strategy, task, metric)
            sign = mark(record, strategy, task)
            cell = _estimate(metric, found) + (f" {sign}" if sign else "")
            cells.append(("*" if strategy == winner else "") + cell)
        rows.append([task, metric, *cells])
    return Grid("By task", ["task", "metric", *strategies], rows)


def _differences(record: Record) -> Grid:
    """Every metric that was compared; those that stand for a task are the tested ones."""
    baseline = statistics_of(record)["baseline"]
    strategies = [name for name in record["strategies"] if name != baseline]
    rows = [
        _difference_row(record, strategies, task, metric)
        for task, entry in standing(record).items()
        for metric in entry["metrics"]
    ]
    head = ["task", "metric", *strategies, "detectable"]
    return Grid(f"Differences to {baseline} [95 % interval]", head, rows)


def _difference_row(record: Record, strategies: Sequence[str], task: str, metric: str) -> list[str]:
    main = metric == standing(record)[task]["select"]
    cells = []
    for strategy in strategies:
        entry = tested_difference(record, strategy, task)
        found = (entry if main else entry["others"].get(metric)) if entry else None
        cells.append(formats.NOTHING if found is None else _with_interval(metric, found))
    shown = formats.score(metric, detectable(record, task)) if main else ""
    return [task, metric, *cells, shown]


def _with_interval(metric: str, found: Record) -> str:
    middle, low, high = (
        formats.difference(metric, found[end]).replace("-", "−")
        for end in ("difference", "low", "high")
    )
    return f"{middle} [{low}, {high}]"


def _costs(record: Record) -> Grid:
    there = [
        name
        for name in _COSTS
        if any(result.get(name) is not None for result in record["results"])
        and all(name in result for result in record["results"])
    ]
    rows = [
        [one, *(_COSTS[name][1](cost(record, one, name)) for name in there)]
        for one in record["strategies"]
    ]
    return Grid("Cost, means over seeds", ["strategy", *(_COSTS[name][0] for name in there)], rows)


def _estimate(metric: str, found: Estimate | None) -> str:
    if found is None:
        return formats.NOTHING
    spread = "" if found.spread is None else f" ± {formats.score(metric, found.spread)}"
    return formats.score(metric, found.mean) + spread


def _gain(record: Record, strategy: str) -> str:
    tested = tested_gain(record, strategy)
    if tested is None:
        return formats.signed(gain(record, strategy))
    low, high = (formats.signed(tested[end]) for end in ("low", "high"))
    return f"{formats.signed(tested['difference'])} [{low}, {high}]"


def _chance(record: Record, strategy: str) -> str:
    return formats.chance((tested_gain(record, strategy) or {}).get("p_holm"))


def _rank(record: Record, strategy: str) -> str:
    rank = mean_rank(record, strategy)
    return formats.NOTHING if rank is None else f"{rank:.1f}"


def _worst(record: Record, strategy: str) -> str:
    found = worst_task(record, strategy)
    return formats.NOTHING if found is None else f"{found[0]} {formats.signed(found[1])}"


def _hurt(record: Record, strategy: str) -> str:
    found = moved(record, strategy, "hurt")
    if found is None:
        return formats.NOTHING
    return f"{len(found.found)} ({len(found.seen)}) of {found.of}"


def _remarks(record: Record) -> Iterator[str]:
    seeds = len(record["seeds"])
    yield (
        f"Scores on {record['split']} rows; selection on validation rows. {seeds} seed"
        f"{'s: mean ± standard deviation' if seeds > 1 else ''}; linear models do not depend on it."
    )
    yield (
        "mean: of the metric that stands for each task. Δm: mean relative gain over single; "
        "positive is better."
    )
    yield from _tests(record)
    yield from record.get("notes", ())
    for name, entry in record["pooled"].items():
        tasks = ", ".join(entry["tasks"])
        yield f"{name}: over the rows of {tasks} together, in place of their scores."
    leaks = record.get("leaks")
    if leaks and any(leaks["train_rows"].values()):
        done = "dropped from train" if record["drop_leaks"] else "not dropped"
        yield f"Leaks: {leaks['summary']}; {done}."


def _tests(record: Record) -> Iterator[str]:
    found = statistics_of(record)
    if found:
        yield (
            f"↑ ↓: significantly better and worse than {found['baseline']}, after Holm's correction "
            f"of {found['tests']} tests. Tasks hurt: so many significantly, in brackets by the mean."
        )
        yield (
            "detectable: the smallest true difference that is found with a probability of "
            f"{100 * found['power']:.0f} % after correction, by the strategies that share."
        )
