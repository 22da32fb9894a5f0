"""A comparison as text for the console, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from polytask.evaluation.coverage import coverage, select_counted
from polytask.reports.cells import SortableTable
from polytask.reports.comparison_tables import tabulate_costs, tabulate_scores
from polytask.reports.coverage_text import describe_coverage
from polytask.reports.significance import get_statistics
from polytask.reports.summary import Record
from polytask.reports.tables import Grid
from polytask.reports.verdict_text import decision
from polytask.reports.wording import in_language

_LANGUAGE = "en"


def render_comparison(record: Record) -> str:
    """Return a comparison as text for the console."""
    grids = (grid.text() for grid in _grids(record))
    return "\n".join([*_verdict(record), *grids, *_remarks(record)])


def comparison_markdown(record: Record) -> str:
    """Return a comparison as a Markdown document."""
    grids = (grid.markdown() for grid in _grids(record))
    return (
        "\n".join([f"# {record['name']}", "", *_verdict(record), *grids, *_remarks(record)]) + "\n"
    )


def _verdict(record: Record) -> Iterator[str]:
    found = decision(record)
    if found is not None:
        yield f"Verdict: {in_language(found.said, _LANGUAGE)}."
        yield from (in_language(text, _LANGUAGE) for text in found.because)
        yield ""


def _grids(record: Record) -> Iterator[Grid]:
    over, tasks = len(coverage(record)["over"]), len(select_counted(record))
    some = f"{over} of {tasks}" if over < tasks else f"{tasks}"
    titles = {
        "strategies": f"{record['name']}: means over {some} tasks",
        "tasks": "By task",
        "differences": f"Differences to {get_statistics(record).get('baseline')} [95 % interval]",
        "cost": "Cost, means over seeds",
    }
    for table in (*tabulate_scores(record), tabulate_costs(record)):
        yield _grid(table, titles[table.key])


def _grid(table: SortableTable, title: str) -> Grid:
    rows = [
        [("*" if cell.best else "") + in_language(cell.text, _LANGUAGE) for cell in row]
        for row in table.rows
    ]
    return Grid(title, [in_language(name, _LANGUAGE) for name in table.head], rows)


def _remarks(record: Record) -> Iterator[str]:
    seeds = len(record["seeds"])
    yield (
        f"Scores on {record['split']} rows; selection on validation rows. {seeds} seed"
        f"{'s: mean ± 95 % confidence interval over them' if seeds > 1 else ''}; "
        "linear models do not depend on it."
    )
    yield (
        "mean: over the main metrics of all tasks. Δm: mean relative gain over single; "
        "positive is better."
    )
    yield from (in_language(text, _LANGUAGE) for text in describe_coverage(record))
    yield from _tests(record)
    yield from record.get("notes", ())
    for name, entry in record["pooled"].items():
        tasks = ", ".join(entry["tasks"])
        yield f"{name}: one score over the rows of {tasks} together, instead of a score for each."
    leaks = record.get("leaks")
    if leaks and any(leaks["train_rows"].values()):
        done = "dropped from train" if record["drop_leaks"] else "not dropped"
        yield f"Leaks: {leaks['summary']}; {done}."


def _tests(record: Record) -> Iterator[str]:
    found = get_statistics(record)
    if found:
        yield (
            f"↑ ↓: significantly better and worse than {found['baseline']}, after Holm's correction "
            f"of {found['tests']} tests. Tasks hurt: the number of significantly worse tasks; in brackets, by the mean."
        )
        yield (
            "detectable: the smallest true difference that is found with a probability of "
            f"{100 * found['power']:.0f} % after correction, by the strategies that share."
        )
