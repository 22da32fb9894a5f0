"""The verdict of a comparison in words, in every language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from polytask.reports.coverage_text import describe_missing_tasks
from polytask.reports.formats import format_p_value, format_signed, list_groups
from polytask.reports.significance import get_gain, get_moved_tasks, get_statistics
from polytask.reports.summary import Record
from polytask.reports.wording import Phrase, phrase


class Decision(NamedTuple):
    """The answer to the question whether these tasks should share a model.

    :param said: The answer in one line.
    :param because: The reasons, the smallest detectable effect, and how to settle an open question.
    """

    said: Phrase
    because: Sequence[Phrase]


def decision(record: Record) -> Decision | None:
    """Return the verdict of a comparison, or None without one."""
    found = record.get("verdict")
    if not found:
        return None
    said = phrase(f"verdict.{found['decision']}")
    if found["groups"]:
        said = said.with_suffix(f": {groups(found['groups'])}")
    return Decision(said, [*_describe_missing_tasks(record, found), *_give_reasons(record, found)])


def groups(found: Sequence[Sequence[str]]) -> str:
    """Return groups as text: ``{a, b} · {c}``."""
    return " · ".join(f"{{{', '.join(group)}}}" for group in found)


def _give_reasons(record: Record, found: Record) -> Iterator[Phrase]:
    strategy = found["strategy"]
    gain = get_gain(record, strategy) or {}
    moves = get_moved_tasks(record, strategy, "hurt")
    hurt = ", ".join(moves.found) if moves else ""
    yield phrase(
        f"verdict.rule.{found['rule']}",
        strategy=strategy,
        gain=format_signed(gain.get("difference")),
        low=format_signed(gain.get("low")),
        high=format_signed(gain.get("high")),
        p=format_p_value(gain.get("p_holm")),
        hurt=hurt,
        margin=f"{found['margin']:g}",
    )
    if found["rule"] == "worse":
        yield phrase(f"verdict.worse.{'tasks' if hurt else 'none'}", hurt=hurt)
    if gain.get("detectable") is not None and len(record["seeds"]) > 1:
        yield phrase(
            "verdict.detectable",
            detectable=f"{gain['detectable']:.1f}",
            power=f"{100 * get_statistics(record)['power']:.0f}",
        )
    if others := _also_better(record, strategy):
        yield phrase("verdict.others", others=", ".join(others))
    if found.get("passes"):
        more = get_gain(record, "single_all")
        yield phrase(
            f"verdict.passes.{'more' if more else 'unknown'}",
            passes=f"{found['passes']:.2f}",
            gain=format_signed((more or {}).get("difference")),
        )
    settle = found["settle"]
    if settle:
        yield phrase(
            f"verdict.settle.{settle['rule']}",
            seeds=settle["seeds"],
            times=settle["times"],
            groups=list_groups(found["groups"] or ()),
        )


def _describe_missing_tasks(record: Record, found: Record) -> Iterator[Phrase]:
    """Yield a sentence about the tasks that the verdict does not cover, if any."""
    if found.get("without"):
        missing = describe_missing_tasks(record, found["without"])
        yield phrase("verdict.over", over=", ".join(found["tasks"]), missing=missing)


def _also_better(record: Record, strategy: str | None) -> list[str]:
    """Return the other strategies whose Δm is significantly above 0, best first."""
    tested = get_statistics(record)
    if not tested or len(record["seeds"]) < 2:
        return []
    gains = {
        name: gain["difference"]
        for name, gain in tested["gains"].items()
        if name != strategy and gain["p_holm"] is not None and gain["p_holm"] < tested["level"]
    }
    ordered = sorted((name for name in gains if gains[name] > 0), key=lambda name: -gains[name])
    return [f"{name} ({format_signed(gains[name])} %)" for name in ordered]
