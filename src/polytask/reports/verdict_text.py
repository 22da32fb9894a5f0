"""The verdict of a comparison in words, in every language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from polytask.reports import formats
from polytask.reports.covered import describe_missing_tasks
from polytask.reports.significance import get_gain, get_moved_tasks, statistics_of
from polytask.reports.summary import Record
from polytask.reports.wording import Phrase, phrase


class Decision(NamedTuple):
    """Whether these tasks should share a model.

    :param said: In one line.
    :param because: The reason, what would not have been seen, and what would settle it.
    """

    said: Phrase
    because: Sequence[Phrase]


def decision(record: Record) -> Decision | None:
    """The verdict, if the comparison came to one."""
    found = record.get("verdict")
    if not found:
        return None
    said = phrase(f"verdict.{found['decision']}")
    if found["groups"]:
        said = said.with_suffix(f": {groups(found['groups'])}")
    return Decision(said, [*_describe_missing_tasks(record, found), *_give_reasons(record, found)])


def groups(found: Sequence[Sequence[str]]) -> str:
    """Groups as text."""
    return " · ".join(f"{{{', '.join(group)}}}" for group in found)


def _give_reasons(record: Record, found: Record) -> Iterator[Phrase]:
    strategy = found["strategy"]
    gain = get_gain(record, strategy) or {}
    moves = get_moved_tasks(record, strategy, "hurt")
    hurt = ", ".join(moves.found) if moves else ""
    yield phrase(
        f"verdict.rule.{found['rule']}",
        strategy=strategy,
        gain=formats.format_signed(gain.get("difference")),
        low=formats.format_signed(gain.get("low")),
        high=formats.format_signed(gain.get("high")),
        p=formats.chance(gain.get("p_holm")),
        hurt=hurt,
        margin=f"{found['margin']:g}",
    )
    if found["rule"] == "worse":
        yield phrase(f"verdict.worse.{'tasks' if hurt else 'none'}", hurt=hurt)
    if gain.get("detectable") is not None and len(record["seeds"]) > 1:
        yield phrase(
            "verdict.detectable",
            detectable=f"{gain['detectable']:.1f}",
            power=f"{100 * statistics_of(record)['power']:.0f}",
        )
    if others := _also_better(record, strategy):
        yield phrase("verdict.others", others=", ".join(others))
    if found.get("passes"):
        more = get_gain(record, "single_all")
        yield phrase(
            f"verdict.passes.{'more' if more else 'unknown'}",
            passes=f"{found['passes']:.2f}",
            gain=formats.format_signed((more or {}).get("difference")),
        )
    settle = found["settle"]
    if settle:
        pasted = ", ".join(f"[{', '.join(group)}]" for group in found["groups"] or ())
        yield phrase(
            f"verdict.settle.{settle['rule']}",
            seeds=settle["seeds"],
            times=settle["times"],
            groups=f"[{pasted}]",
        )


def _describe_missing_tasks(record: Record, found: Record) -> Iterator[Phrase]:
    """The tasks that the verdict says nothing about, if there are any."""
    if found.get("without"):
        missing = describe_missing_tasks(record, found["without"])
        yield phrase("verdict.over", over=", ".join(found["tasks"]), missing=missing)


def _also_better(record: Record, strategy: str | None) -> list[str]:
    """All others whose Δm is significantly above 0, the best first, whether they share or not."""
    tested = statistics_of(record)
    if not tested or len(record["seeds"]) < 2:
        return []
    gains = {
        name: gain["difference"]
        for name, gain in tested["gains"].items()
        if name != strategy and gain["p_holm"] is not None and gain["p_holm"] < tested["level"]
    }
    ordered = sorted((name for name in gains if gains[name] > 0), key=lambda name: -gains[name])
    return [f"{name} ({formats.format_signed(gains[name])} %)" for name in ordered]
