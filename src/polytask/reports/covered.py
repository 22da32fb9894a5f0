"""Over which tasks the means of a comparison are, in words. Reads ``comparison.json`` only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from polytask.evaluation.coverage import coverage
from polytask.reports.significance import statistics_of
from polytask.reports.summary import Record
from polytask.reports.wording import Phrase, join_phrases, phrase


def describe_coverage(record: Record) -> Iterator[Phrase]:
    """Sentences on what means and mean ranks are over, where that is not all tasks."""
    found = coverage(record)
    if found["without"]:
        key = "means.over" if found["over"] else "means.none"
        missing = describe_missing_tasks(record, found["without"])
        yield phrase(key, over=", ".join(found["over"]), missing=missing)
    ranked = statistics_of(record).get("ranked", found["over"])
    if {*ranked} != {*found["over"]} and ranked:
        yield phrase("means.ranked", ranked=", ".join(ranked))


def describe_missing_tasks(record: Record, without: Mapping[str, str]) -> Phrase:
    """Tasks, and in brackets why each is missing."""
    split = record["split"]
    return join_phrases(
        [phrase(f"missing.{why}", task=t, split=split) for t, why in without.items()]
    )
