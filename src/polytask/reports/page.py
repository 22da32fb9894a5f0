"""The report of a run or a comparison: one self-contained file, ``report.html``."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

from markupsafe import Markup

from polytask.core.errors import RunError
from polytask.core.files import write_text
from polytask.evaluation.coverage import select_counted
from polytask.reports.formats import format_amount, format_seconds, format_short, format_signed
from polytask.reports.report_data import ReportData, holds_report
from polytask.reports.sections.base import Section, fill_template, resource
from polytask.reports.sections.comparison import comparison
from polytask.reports.sections.confusion import confusions
from polytask.reports.sections.cost import cost
from polytask.reports.sections.curves import learning_curves, losses
from polytask.reports.sections.data_needs import data_needs
from polytask.reports.sections.describe import describe
from polytask.reports.sections.differences import differences
from polytask.reports.sections.groups import groups
from polytask.reports.sections.interference import interference
from polytask.reports.sections.mistakes import mistakes
from polytask.reports.sections.notes import notes
from polytask.reports.sections.rows import rows
from polytask.reports.sections.scores import scores
from polytask.reports.sections.transfer import transfer
from polytask.reports.sections.verdict import verdict
from polytask.reports.sections.weights import weights
from polytask.reports.summary import BASELINE, gain, worst_task
from polytask.reports.wording import LANGUAGES, Text, phrase

NAME = "report.html"

SECTIONS: tuple[Callable[[ReportData], Section | None], ...] = (
    verdict,
    comparison,
    scores,
    differences,
    learning_curves,
    losses,
    weights,
    interference,
    transfer,
    groups,
    data_needs,
    describe,
    confusions,
    mistakes,
    cost,
    rows,
    notes,
)
"""The sections in the order of the page."""


def write_page(folder: Path, out: Path | None = None, language: str = "en") -> Path:
    """Write the page of a run or a comparison.

    :param out: The file; ``report.html`` in the folder by default.
    :raises RunError: If the folder holds neither, or the language is unknown.
    """
    path = out or folder / NAME
    write_text(path, render_page(folder, language))
    return path


def render_page(folder: Path, language: str = "en") -> str:
    """Return the page as HTML.

    :param language: The first language; every page contains all languages.
    """
    _check(folder, language)
    report = ReportData.read(folder)
    sections = [made for section in SECTIONS if (made := section(report)) is not None]
    return shell(
        name=report.name,
        kind="comparison" if report.record is not None else "run",
        language=language,
        cards=_cards(report),
        sections=sections,
    )


def shell(
    *,
    name: str,
    kind: str,
    language: str,
    cards: list[tuple[Text, Text]],
    sections: list[Section],
    live: str = "",
) -> str:
    """Return the page around sections: head, switches, styles and scripts.

    :param kind: ``run``, ``comparison`` or ``live``.
    :param live: An additional script, appended to ``page.js``.
    """
    # The page forbids all scripts but this one. The policy names its hash, so that text from data,
    # even if a template failed to escape it, cannot run as a script.
    script = Markup(resource("page.js") + live)
    digest = hashlib.sha256(script.encode()).digest()
    return fill_template(
        "page.html",
        name=name,
        kind=kind,
        language=language,
        languages=LANGUAGES,
        cards=cards,
        sections=sections,
        style=Markup(resource("style.css")),
        script=script,
        script_hash=base64.b64encode(digest).decode(),
        live=bool(live),
    )


def _check(folder: Path, language: str) -> None:
    if language not in LANGUAGES:
        raise RunError(f"no language called {language!r}. Known: {', '.join(LANGUAGES)}.")
    if not holds_report(folder):
        raise RunError(
            f"{folder}: holds neither a run nor a comparison. Expected a folder made by "
            "polytask train or polytask compare."
        )


def _cards(report: ReportData) -> list[tuple[Text, Text]]:
    """Return the cards at the top of the page: a name and a number each."""
    if report.record is None:
        return _run_cards(report)
    record = report.record
    cards: list[tuple[Text, Text]] = [
        (phrase("card.tasks"), str(len(record["tasks"]))),
        (phrase("card.strategies"), str(len(record["strategies"]))),
        (phrase("card.seeds"), str(len(record["seeds"]))),
    ]
    gains = {name: gain(record, name) for name in record["strategies"] if name != BASELINE}
    known = {name: value for name, value in gains.items() if value is not None}
    if known:
        top = max(known, key=lambda name: known[name])
        value = format_signed(known[top])
        cards.append((phrase("card.gain", strategy=top), f"{value} %"))
        if (found := worst_task(record, top)) is not None:
            value = format_signed(found[1])
            cards.append((phrase("card.worst", task=found[0]), f"{value} %"))
    return cards if select_counted(record) else []  # without scores there is nothing to summarise


def _run_cards(report: ReportData) -> list[tuple[Text, Text]]:
    facts = report.trained[0].facts
    average = (report.scores or {}).get("average")
    cards: list[tuple[Text, Text]] = [(phrase("card.tasks"), str(len(report.tasks)))]
    if average is not None:
        cards.append((_average_title(report), f"{average:.4f}"))
    for key, show in (
        ("parameters", format_amount),
        ("epochs", format_short),
        ("seconds", format_seconds),
    ):
        if facts.get(key) is not None:
            cards.append((phrase(f"card.{key}"), show(facts[key])))
    return cards


def _average_title(report: ReportData) -> Text:
    """Return the title of the mean; it names the tasks if some are missing."""
    title = phrase("card.average", split=report.split)
    scores = report.scores or {}
    return (
        title.with_suffix(f": {', '.join(scores['average_over'])}")
        if scores.get("average_without")
        else title
    )
