"""The difference of each strategy to the single-task models, task by task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from polytask.evaluation.coverage import select_counted
from polytask.reports.charts.bars import Bar, bar_chart, find_limits
from polytask.reports.formats import (
    format_difference,
    format_p_value,
    format_short,
    is_share,
    scale_of,
)
from polytask.reports.report_data import ReportData
from polytask.reports.sections.base import Figure, Section, fill_template
from polytask.reports.significance import get_difference, get_statistics, mark
from polytask.reports.summary import BASELINE, Record, results_of
from polytask.reports.wording import Phrase, phrase


def differences(report: ReportData) -> Section | None:
    """Return a chart per strategy and unit."""
    record = report.record
    if record is None or BASELINE not in record["strategies"]:
        return None
    figures = [
        figure
        for strategy in record["strategies"]
        if strategy != BASELINE
        for figure in _figures(record, strategy)
    ]
    if not figures:
        return None
    tested = bool(get_statistics(record))
    seeds = len(record["seeds"])
    body = fill_template("differences.html", figures=figures, tested=tested, seeds=seeds)
    return Section("differences", body)


def _figures(record: Record, strategy: str) -> Iterator[Figure]:
    """Yield one chart of all shares, in percentage points, and a chart per other metric."""
    units: dict[str, list[Bar]] = {}
    for task, entry in select_counted(record).items():
        if (bar := _bar(record, strategy, task)) is not None:
            metric = entry["select"]
            units.setdefault("" if is_share(metric) else metric, []).append(bar)
    title = phrase("differences.title", strategy=strategy)
    for unit, bars in units.items():
        key = "differences.figure" if unit else "differences.points"
        drawn = bar_chart(title, bars, limits=find_limits(bars, zero=True))
        yield Figure(phrase(key, strategy=strategy, unit=unit), drawn)


def _bar(record: Record, strategy: str, task: str) -> Bar | None:
    entry = select_counted(record)[task]
    metric = entry["select"]
    sign = 1 if entry["higher_is_better"][metric] else -1
    factor = sign * scale_of(metric)
    pairs = _pairs(record, strategy, task, metric)
    tested = get_difference(record, strategy, task)
    if not pairs:
        return None
    mean = sum(pairs) / len(pairs)
    value = factor * (mean if tested is None else tested["difference"])
    interval = None if tested is None else _interval(tested, factor)
    dots = [factor * pair for pair in pairs] if len(pairs) > 1 else []
    shown = format_difference(metric, value / scale_of(metric)).replace("-", "−")
    tip = _tip(f"{task} · {metric}", shown, tested, interval)
    plain = tested is not None and not mark(record, strategy, task)
    tone = "plain" if plain else "good" if value >= 0 else "bad"
    return Bar(task, value, shown, tip, interval, dots, tone)


def _interval(tested: Mapping[str, Any], factor: float) -> tuple[float, float] | None:
    low, high = tested["low"], tested["high"]
    if low is None or high is None:
        return None
    ends = sorted((factor * low, factor * high))
    return ends[0], ends[1]


def _tip(
    name: str,
    shown: str,
    tested: Mapping[str, Any] | None,
    interval: tuple[float, float] | None,
) -> Phrase:
    said = phrase("differences.tip", name=name, shown=shown)
    if interval is not None:
        said = said.with_suffix(f" [{format_short(interval[0])}, {format_short(interval[1])}]")
    p = None if tested is None else tested["p_holm"]
    return said if p is None else said.with_suffix(f" · p = {format_p_value(p)}")


def _pairs(record: Record, strategy: str, task: str, metric: str) -> list[float]:
    """Return differences to the baseline, paired by seed."""
    ours, theirs = (_by_seed(record, name, task, metric) for name in (strategy, BASELINE))
    if len(ours) == 1:  # a linear model does not depend on the seed: compare it with every seed
        [only] = ours.values()
        return [only - value for value in theirs.values()]
    return [value - theirs[seed] for seed, value in ours.items() if seed in theirs]


def _by_seed(record: Record, strategy: str, task: str, metric: str) -> dict[int, float]:
    found = {}
    for result in results_of(record, strategy):
        value = result["scores"].get(task, {}).get(metric, {}).get("value")
        if value is not None:
            found[result["seed"]] = value
    return found
