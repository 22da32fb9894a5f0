"""Should these tasks share a model? By rules, from the tests of a comparison.

Every strategy that has one encoder for all tasks, and every grouping, is one of these. Δm is its mean
relative gain over single-task models; "significant" is after Holm's correction at the level of the
tests; a task is hurt or helped if its own difference is significant.

==========  ======================================================================================
``pays``    Δm is significantly above 0, and no task is hurt
``equal``   Δm is surely above -``MARGIN`` (the end of an interval that holds for all strategies
            together, Bonferroni), and no task is hurt
``mixed``   some task is hurt, but others are helped, or Δm is significantly above 0
``harms``   some task is hurt and nothing is gained, or Δm is significantly below 0
``unclear`` none of these
==========  ======================================================================================

The first rule that fits decides. Of several strategies the one with the highest Δm is named.

1.  ``no_baseline``: undecided, there are no single-task models.
2.  ``nothing_shared``: undecided, no strategy shares an encoder.
3.  ``one_seed``: undecided, as one training of each says nothing about chance in training.
4.  ``untested``: undecided, as rows were not resampled.
5.  ``better``: share, if a strategy with one encoder pays.
6.  ``groups_better``: share these groups, if a grouping pays.
7.  ``not_worse``: share, if a strategy with one encoder is equal: it is cheaper.
8.  ``groups_not_worse``: share these groups, if a grouping is equal.
9.  ``some_hurt``: share these groups, if a strategy is mixed and leaves at least two tasks unhurt:
    these together, those that are hurt by themselves. The groups are proposed, not tested.
10. ``none_left``: do not share, if all that was compared is mixed or harms, and the best is mixed.
11. ``worse``: do not share, if all that was compared is mixed or harms, and the best harms.
12. ``unclear``: undecided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from polytask.analysis.fairness import fewer_passes
from polytask.evaluation.coverage import find_missing_gains
from polytask.evaluation.significance import Paired

MARGIN = 1.0
"""A loss of Δm of less than so many percent is worth a model for all tasks instead of one for each."""

SEEDS = 5
"""Pairs of trainings to begin with."""

_MOST_SEEDS = 20
_TIMES = (1, 2, 4, 8, 16, 32)
"""How many times the rows are asked for at most, and how many seeds."""

Record = Mapping[str, Any]
Verdict = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A strategy that shares.

    :param groups: The tasks of each model, where there are several.
    :param gain: The entry of Δm.
    """

    name: str
    groups: Sequence[Sequence[str]] | None
    gain: Record
    hurt: Sequence[str]
    helped: Sequence[str]
    level: float

    @property
    def standing(self) -> str:
        """``pays``, ``equal``, ``mixed``, ``harms`` or ``unclear``."""
        p, least = self.gain["p_holm"], self.gain["at_least"]
        significant = p is not None and p < self.level
        better = significant and self.gain["difference"] > 0
        if self.hurt:
            return "mixed" if better or self.helped else "harms"
        if better:
            return "pays"
        # Non-inferiority: not "no difference found", but a loss above the margin is ruled out.
        if least is not None and least > -MARGIN:
            return "equal"
        return "harms" if significant else "unclear"


def verdict(record: Record) -> Verdict:
    """Return the verdict of a comparison, from its record without one.

    :return: ``decision`` (``share``, ``separate``, ``groups`` or ``undecided``), the ``rule`` that
        decided, the ``strategy`` that it is about and its ``groups`` (or null), ``margin``, and
        ``settle``: what would settle what is open, or null: its ``rule`` (``baseline``, ``share``,
        ``resample``, ``seeds``, ``rows``, ``train_groups`` or ``nothing``), ``seeds`` (in all) and
        ``times`` (so many times the held-out rows). ``tasks``: those that Δm of the strategy is
        over, or null; ``without``: each other task and why it is missing. ``passes``: how often single-task models passed
        over their rows, as a share of what the joint one did, if that is less; or null.
    """
    found = _judge(record)
    gains = (record.get("statistics") or {}).get("gains", {})
    tasks = gains[found["strategy"]].get("tasks") if found["strategy"] else None
    without = {} if tasks is None else find_missing_gains(record, tasks)
    passes = fewer_passes(record["results"]).get("single")
    return {**found, "tasks": tasks, "without": without, "passes": passes}


def _judge(record: Record) -> Verdict:
    found = record.get("statistics")
    if not found:
        return _verdict("undecided", "no_baseline", settle=_settle("baseline"))
    candidates = sorted(_candidates(record, found), key=lambda one: -one.gain["difference"])
    if not candidates:
        return _verdict("undecided", "nothing_shared", settle=_settle("share"))
    if len(record["seeds"]) < 2:
        return _verdict("undecided", "one_seed", candidates[0], _settle("seeds", seeds=SEEDS))
    if all(one.gain["rows_error"] is None for one in candidates):
        return _verdict("undecided", "untested", candidates[0], _settle("resample"))
    return _decide(candidates, found)


def _decide(candidates: Sequence[Candidate], found: Record) -> Verdict:
    # One encoder comes before groups, because it is cheaper to train and to serve.
    for standing, whole, groups in (
        ("pays", "better", "groups_better"),
        ("equal", "not_worse", "groups_not_worse"),
    ):
        alike = [one for one in candidates if one.standing == standing]
        if shared := [one for one in alike if one.groups is None]:
            return _verdict("share", whole, shared[0])
        if alike:
            return _verdict("groups", groups, alike[0])
    for one in candidates:
        if one.standing == "mixed" and (proposed := _without_hurt(one, found)):
            return _verdict("groups", "some_hurt", one, _settle("train_groups"), proposed)
    if all(one.standing in ("harms", "mixed") for one in candidates):
        rule = "none_left" if candidates[0].standing == "mixed" else "worse"
        return _verdict("separate", rule, candidates[0])
    [best, *_] = [one for one in candidates if one.standing == "unclear"]
    return _verdict("undecided", "unclear", best, estimate_needed(best.gain, best.level))


def estimate_needed(gain: Record, level: float, power: float = 0.8) -> Verdict:
    """Estimate how many seeds, and how many times the rows, would probably settle it.

    It is settled if Δm differs from 0 or lies above -MARGIN, whichever is easier to show. The
    observed Δm is taken as the true one, and standard errors fall as for means.
    """
    goal = max(abs(gain["difference"]), gain["difference"] + MARGIN)
    if gain["rows_error"] is None or gain["seeds_error"] is None:
        return _settle("nothing")
    now = Paired(
        gain["difference"],
        gain["rows_error"] ** 2,
        gain["seeds_error"] ** 2,
        gain["rows"],
        gain["seeds"],
    )
    # In this order: more seeds come before more rows, as training again needs no new labels.
    for times, seeds in product(_TIMES, range(gain["seeds"], _MOST_SEEDS + 1)):
        if (times, seeds) != (1, gain["seeds"]) and (
            now.scale_to(times, seeds).detectable(level, power) <= goal
        ):
            return _settle("seeds" if times == 1 else "rows", seeds=seeds, times=times)
    return _settle("nothing")


def _candidates(record: Record, found: Record) -> Iterable[Candidate]:
    groups = {each["strategy"]: each["groups"] for each in record["results"] if each.get("groups")}
    for name, gain in found["gains"].items():
        if name in record["sharing"] or name in groups:
            hurt, helped = (found[key][name]["found"] for key in ("hurt", "helped"))
            yield Candidate(name, groups.get(name), gain, hurt, helped, found["level"])


def _without_hurt(one: Candidate, found: Record) -> list[list[str]] | None:
    """Group the unhurt tasks together and each hurt task alone; None if fewer than two are unhurt."""
    kept = [task for task in found["differences"][one.name] if task not in one.hurt]
    return [kept, *([task] for task in one.hurt)] if len(kept) > 1 else None


def _verdict(
    decision: str,
    rule: str,
    about: Candidate | None = None,
    settle: Verdict | None = None,
    groups: Sequence[Sequence[str]] | None = None,
) -> Verdict:
    own = groups or (about.groups if about else None)
    return {
        "decision": decision,
        "rule": rule,
        "strategy": about.name if about else None,
        "groups": [list(group) for group in own] if own else None,
        "margin": MARGIN,
        "settle": settle,
    }


def _settle(rule: str, seeds: int | None = None, times: int | None = None) -> Verdict:
    return {"rule": rule, "seeds": seeds, "times": times}
