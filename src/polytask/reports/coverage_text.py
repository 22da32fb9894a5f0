"""Sentences about the tasks that the means of a comparison cover."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from polytask.evaluation.coverage import coverage
from polytask.reports.significance import get_statistics
from polytask.reports.summary import Record
from polytask.reports.wording import Phrase, join_phrases, phrase


def describe_coverage(record: Record) -> Iterator[Phrase]:
    """Yield sentences about the tasks of means and mean ranks, if these lack some tasks."""
    found = coverage(record)
    if found["without"]:
        key = "means.over" if found["over"] else "means.none"
        missing = describe_missing_tasks(record, found["without"])
        yield phrase(key, over=", ".join(found["over"]), missing=missing)
    ranked = get_statistics(record).get("ranked", found["over"])
    if {*ranked} != {*found["over"]} and ranked:
        yield phrase("means.ranked", ranked=", ".join(ranked))


def describe_missing_tasks(record: Record, without: Mapping[str, str]) -> Phrase:
    """Return the missing tasks, each with the reason in brackets."""
    split = record["split"]
    return join_phrases(
        [phrase(f"missing.{why}", task=t, split=split) for t, why in without.items()]
    )
