"""The live page of a running training: what it shows, as far as the run has been written."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from polytask.core.errors import RunError
from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from polytask.reports.curves import Curves
from polytask.reports.formats import format_amount, format_seconds
from polytask.reports.page import shell
from polytask.reports.report_data import ReportData, Trained
from polytask.reports.sections.base import Section, fill_template, resource
from polytask.reports.sections.curves import learning_curves, losses
from polytask.reports.sections.interference import interference
from polytask.reports.sections.throughput import pace
from polytask.reports.sections.weights import weights
from polytask.reports.wording import Text, phrase

_SECTIONS = (losses, learning_curves, weights, interference, pace)


class Feed:
    """A reader that follows ``metrics.jsonl`` while it grows. Several threads may use it.

    :param run: The run; the folder and the file may not exist yet.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._curves, self._offset, self._file, self._records = Curves(), 0, 0, 0

    def state(self, seen: str = "") -> dict[str, Any] | None:
        """Return the current state of the page; None if its version equals ``seen``."""
        with self._lock:  # each request has its own thread, and ``_read`` moves the offset
            self._read()
            finished = self._is_finished()
            version = f"{self._file}-{self._records}-{int(finished)}"
            return None if version == seen else self._draw(version, finished=finished)

    def _read(self) -> None:
        """Read the added lines; a line that is only half written is read later."""
        with suppress(FileNotFoundError), self.run.metrics.open("rb") as file:
            about = self.run.metrics.stat()
            if about.st_ino != self._file or about.st_size < self._offset:
                self._forget()  # a resumed training has replaced the file
                self._file = about.st_ino
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._records += 1
                self._curves.add(json.loads(line))

    def _is_finished(self) -> bool:
        with suppress(FileNotFoundError):
            return bool(read_json(self.run.facts).get("finished"))
        return False

    def _draw(self, version: str, *, finished: bool) -> dict[str, Any]:
        state = "finished" if finished else "running" if self._curves.step else "waiting"
        sections = self._sections()
        return {
            "version": version,
            "state": state,
            "cards": fill_template("cards.html", cards=_cards(self._curves)),
            "nav": fill_template("nav.html", sections=sections),
            "main": fill_template(
                "live.html", sections=sections, state=state, share=self._curves.share
            ),
        }

    def _sections(self) -> list[Section]:
        trained = Trained("", 0, self.run, self._curves)
        name = trained.recipe.get("name") or self.run.path.name
        report = ReportData(self.run.path, name, "", None, [trained], None)
        return [made for section in _SECTIONS if (made := section(report)) is not None]

    def page(self, language: str) -> str:
        """Return the page without contents; its script asks for the states."""
        name = Trained("", 0, self.run).recipe.get("name") or self.run.path.name
        script = resource("live.js")
        return shell(name=name, kind="live", language=language, cards=[], sections=[], live=script)


def require_run(run: Path) -> None:
    """Refuse a path that is no run and cannot become one.

    :raises RunError: If it is a file or a comparison.
    """
    if not run.exists():
        return
    if not run.is_dir():
        raise RunError(f"{run}: is a file. Name the folder of a run.")
    if (run / "comparison.json").is_file() or (run / "results").is_dir():
        raise RunError(
            f"{run}: a comparison, not a run. Watch one of the runs in the folders below it."
        )


def _cards(curves: Curves) -> list[tuple[Text, Text]]:
    pace = curves.tokens_per_second
    return [
        (phrase("card.share"), f"{curves.share:.0%}"),
        (phrase("card.step"), str(curves.step)),
        (phrase("card.epochs"), f"{curves.epoch:.2f}"),
        (phrase("card.pace"), format_amount(pace)),
        (phrase("card.tokens"), format_amount(curves.tokens)),
        (phrase("card.seconds"), format_seconds(curves.seconds)),
    ]
