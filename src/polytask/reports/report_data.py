"""The data of a report, read from the folder of a run or a comparison."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from polytask.reports.curves import Curves
from polytask.reports.predictions import PredictedRow, read_answers
from polytask.reports.summary import Record

_SEED = re.compile(r"seed-(\d+)$")


@dataclass(frozen=True)
class Trained:
    """One training: a run, or one training of a comparison.

    :param strategy: The strategy of the comparison; empty for a run.
    :param known: The curves, if they have been read already.
    """

    strategy: str
    seed: int
    run: RunFolder
    known: Curves | None = None

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The content of ``run.json``."""
        return dict(read_json(self.run.facts))

    @cached_property
    def curves(self) -> Curves:
        """The curves of losses, weights and validation scores."""
        return self.known or Curves.of(self.run.records())

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The resolved recipe as plain data; empty before it is written."""
        if not self.run.recipe.is_file():
            return {}
        return dict(yaml.safe_load(self.run.recipe.read_text(encoding="utf-8")))

    def answers(self, split: str, task: str) -> list[PredictedRow]:
        """Return the predictions for the labelled rows of a task; empty if none were kept."""
        return read_answers(self.run.predictions / split / f"{task}.jsonl")


@dataclass(frozen=True)
class ReportData:
    """The records of a run or a comparison that the sections of a page read.

    :param record: The content of ``comparison.json``; None for a run.
    :param trained: The trainings; in a comparison, in the order of its strategies.
    :param scores: The scores of a run on ``split``.
    """

    folder: Path
    name: str
    split: str
    record: Record | None
    trained: Sequence[Trained]
    scores: Mapping[str, Any] | None

    @classmethod
    def read(cls, folder: Path) -> ReportData:
        """Read the folder of a training or a comparison.

        :raises RunError: If the folder holds neither.
        """
        if (folder / "comparison.json").is_file():
            record = read_json(folder / "comparison.json")
            trained = list(_below(folder, record["strategies"]))
            return cls(folder, record["name"], record["split"], record, trained, None)
        run = RunFolder.open(folder)
        found = read_json(run.scores) if run.scores.is_file() else {}
        split = next((name for name in ("test", "validation", "train") if name in found), "")
        alone = Trained("", 0, run)
        name = alone.recipe.get("name") or folder.name
        return cls(folder, name, split, None, [alone], found.get(split))

    @property
    def strategies(self) -> list[str]:
        """Names of the trained strategies, in order; each has a separate colour."""
        names = [] if self.record is None else list(self.record["strategies"])
        return names or list(dict.fromkeys(one.strategy for one in self.trained))

    @property
    def tasks(self) -> dict[str, str]:
        """The kind of each task."""
        if self.record is not None:
            return {name: entry["kind"] for name, entry in self.record["tasks"].items()}
        sections = self.trained[0].recipe.get("tasks", {})
        kinds = {name: section.get("kind", "") for name, section in sections.items()}
        return kinds or dict.fromkeys(self.trained[0].curves.losses, "")

    def of(self, strategy: str) -> list[Trained]:
        """Return the trainings of a strategy, sorted by seed."""
        return [one for one in self.trained if one.strategy == strategy]

    def answers(self, strategy: str, task: str) -> list[PredictedRow]:
        """Return the predictions of a strategy's first seed for the held-out rows of a task."""
        found = self.of(strategy)
        for one in found:
            if one.seed == found[0].seed and (answers := one.answers(self.split, task)):
                return answers
        return []

    def analysis(self, name: str) -> dict[str, Any] | None:
        """Return a record of ``polytask analyse``, or None if it does not exist."""
        path = self.folder / "analysis" / f"{name}.json"
        found = read_json(path) if path.is_file() else None
        return dict(found) if isinstance(found, Mapping) else None


def holds_report(folder: Path) -> bool:
    """Return whether a folder holds a run or a comparison."""
    return (folder / "comparison.json").is_file() or (folder / "run.json").is_file()


def _below(folder: Path, strategies: Sequence[str]) -> Iterator[Trained]:
    """Yield the trainings of each strategy: one per seed, or one per seed and task."""
    for strategy in strategies:
        paths = (folder / strategy).glob("seed-*")
        seeds = [(int(found[1]), path) for path in paths if (found := _SEED.search(path.name))]
        for seed, place in sorted(seeds):
            for facts in sorted([*place.glob("run.json"), *place.glob("*/run.json")]):
                yield Trained(strategy, seed, RunFolder(facts.parent))
