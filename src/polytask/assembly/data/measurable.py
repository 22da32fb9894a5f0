"""Metrics that say little about a model on the validation rows there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from polytask.assembly.data.labels import references_of
from polytask.assembly.data.scoring import metrics_of
from polytask.data.tables import Table
from polytask.recipe import Recipe
from polytask.tasks import Task


def find_undefined_metrics(
    recipe: Recipe, tasks: Mapping[str, Task], tables: Mapping[str, Table]
) -> Iterator[str]:
    """Yield a sentence for each task whose metrics tell nothing, whatever is predicted.

    :param tasks: The fitted tasks.
    :param tables: The validation rows by source; without any a single sentence is enough.
    """
    if not any(map(len, tables.values())):
        yield "there are no validation rows, so the model after the last step is kept."
        return
    for name, metrics in metrics_of(recipe, tasks).items():
        own = [tables[source] for source in recipe.tasks[name].sources if source in tables]
        references = [label for table in own for label in references_of(tasks[name], table)]
        if not references:
            yield f"{name}: no validation row has a label, so it has no part in choosing the model."
            continue
        reasons: dict[str, list[str]] = {}
        for metric in metrics:
            if reason := metric.why_uninformative(references):
                reasons.setdefault(reason, []).append(metric.name)
        for reason, names in reasons.items():
            yield (
                f"{name}: {', '.join(names)} cannot tell good predictions from bad ones on its "
                f"validation rows: {reason}.{_advice(metrics[0].name in names)}"
            )


def _advice(first: bool) -> str:
    """Return what to do if the metrics include the first one of the task."""
    return " Give it more validation rows, or put another metric first." if first else ""
