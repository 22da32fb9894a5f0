"""The page of a run or a comparison: complete, escaped, small, in two languages."""

from __future__ import annotations

import json
import re
import string
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typing_extensions import override

from polytask.core import accounting
from polytask.core.errors import RunError
from polytask.core.files import read_json, write_json
from polytask.core.run_folder import FORMAT
from polytask.reports.page import render_page, write_page
from polytask.reports.report_data import ReportData
from polytask.reports.sections.differences import differences
from polytask.reports.sections.mistakes import mistakes
from polytask.reports.wording import LANGUAGES, dictionary
from tests.report_folders import (
    HOSTILE,
    HOSTILE_NAME,
    comparison,
    statistics,
    write_analysis,
    write_comparison,
    write_run,
    write_tested,
)

_LIMIT = 5_000_000
_VOID = {"meta", "img", "br", "input", "link", "hr"}


class Outline(HTMLParser):
    """What a browser would make of a page: its elements, and whether they are nested well."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    @property
    def sections(self) -> list[str | None]:
        return [attributes["id"] for tag, attributes in self.elements if tag == "section"]


def charts(page: str) -> list[str]:
    return re.findall(r'<svg xmlns.*?class="chart".*?</svg>', page, re.DOTALL)


def test_a_run_has_every_section_that_it_has_files_for(tmp_path: Path) -> None:
    page = render_page(write_analysis(write_run(tmp_path)))
    assert Outline(page).sections == [
        "scores",
        "learning",
        "losses",
        "weights",
        "interference",
        "transfer",
        "groups",
        "data",
        "describe",
        "confusion",
        "mistakes",
        "cost",
        "notes",
    ]


def test_a_comparison_has_its_own(tmp_path: Path) -> None:
    folder = write_tested(tmp_path, ["mood", "topic"], ["single", "joint"])
    sections = Outline(render_page(folder)).sections
    assert sections[:3] == ["verdict", "comparison", "differences"]
    assert "transfer" not in sections


def test_what_is_missing_is_left_out(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"format": FORMAT, "finished": False, "parameters": 7})
    assert Outline(render_page(tmp_path)).sections == ["cost", "notes"]
    folder = tmp_path / "compared"
    write_json(folder / "comparison.json", comparison(["mood"], ["linear"], 1))
    assert Outline(render_page(folder)).sections == ["comparison", "cost", "notes"]


ROWS = {
    "mood": {
        "train": {
            "rows": 1200,
            "used": 1190,
            "left_out": {"no label": {"rows": 10, "example": f"{HOSTILE}.jsonl:3"}},
            "remarks": {"an own {remark}": {"rows": 4, "example": "a.jsonl:9"}},
        },
        "test": {"rows": 9, "used": 9, "left_out": {}, "remarks": {}},
    }
}


@pytest.mark.parametrize("compared", [False, True])
def test_rows_are_accounted_for(tmp_path: Path, compared: bool) -> None:
    folder = write_comparison(tmp_path) if compared else write_run(tmp_path)
    assert "rows" not in Outline(render_page(folder)).sections
    path = folder / ("comparison.json" if compared else "run.json")
    write_json(path, {**read_json(path), "rows": ROWS})
    page = render_page(folder)
    assert Outline(page).sections[-2:] == ["rows", "notes"]
    section = page[page.index('<section id="rows"') :].partition("</section>")[0]
    body = section.partition("<tbody>")[2]
    found = [
        [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", line, re.DOTALL)]
        for line in body.split("</tr>")[:-1]
    ]
    assert [line[:5] for line in found] == [
        ["mood", "train", "1,200", "1,190", "10"],
        ["mood", "train", "1,200", "1,190", "4"],
        ["mood", "test", "9", "9", "0"],
    ]
    assert "left out: no label" in found[0][5]
    assert "没有标签" in found[0][5]
    assert "used, but an own {remark}" in found[1][5]
    assert found[0][6].endswith(".jsonl:3")


@pytest.mark.parametrize(
    ("fields", "reference", "prediction", "shown"),
    [
        (["q", "a b"], [{"text": "a b", "start": 0}], [], ("a b", "–")),
        (
            [["Ann", "met", "Bo"], [[0, 1], [2, 3]]],
            [{"head": [0, 1], "tail": [2, 3], "type": "knows"}],
            [{"head": [2, 3], "tail": [0, 1], "type": "met"}],
            ("Ann –knows→ Bo", "Bo –met→ Ann"),
        ),
    ],
)
def test_mistakes_show_answers_and_relations_in_words(
    tmp_path: Path, fields: list[object], reference: object, prediction: object, shown: object
) -> None:
    folder = write_run(tmp_path, ["mood"])
    record = {"place": "a:1", "input": fields, "reference": reference, "prediction": prediction}
    line = json.dumps({**record, "confidence": 0.25})
    (folder / "predictions" / "test" / "mood.jsonl").write_text(f"{line}\n", encoding="utf-8")
    section = mistakes(ReportData.read(folder))
    assert section is not None
    labels = re.findall(r"<b[^>]*>(.*?)</b>", section.body)
    assert tuple(labels) == shown
    assert "25%" in section.body


def test_reasons_of_the_program_are_known_in_every_language() -> None:
    for name in ("NO_COLUMN", "NO_LABEL", "LEAK", "BEYOND_LIMIT", "UNKNOWN_LABEL", "CUT"):
        assert dictionary()[f"reason.{getattr(accounting, name)}"]["en"]
    assert dictionary()[f"reason.{accounting.NOT_ALIGNED}"]["en"]


def test_every_chart_is_xml_with_a_title_in_every_language(tmp_path: Path) -> None:
    tasks = [HOSTILE_NAME, "topic"]
    page = render_page(write_analysis(write_run(tmp_path, tasks), tasks))
    found = charts(page)
    assert len(found) >= 10
    for chart in found:
        root = ElementTree.fromstring(chart)
        titles = [e.get("lang") for e in root if e.tag.endswith("title")]
        assert titles in (["en"], list(LANGUAGES))


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    tasks = [HOSTILE_NAME, "topic"]
    folder = write_analysis(write_tested(tmp_path, tasks, ["single", "joint"]), tasks)
    record = read_json(folder / "comparison.json")
    hostile = {**record["verdict"], "strategy": HOSTILE, "groups": [[HOSTILE]]}
    write_json(folder / "comparison.json", {**record, "name": HOSTILE, "verdict": hostile})
    page = render_page(folder)
    elements = Outline(page).elements
    assert [tag for tag, _ in elements].count("script") == 1
    assert not any(tag == "img" or "onerror" in attributes for tag, attributes in elements)
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;img src=x onerror" in page


def test_a_page_asks_for_nothing_else(tmp_path: Path) -> None:
    page = render_page(write_comparison(tmp_path))
    for tag, attributes in Outline(page).elements:
        assert tag not in {"link", "iframe", "base", "form"}
        assert not {"src", "srcset", "action"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert "@import" not in page
    assert "url(" not in page


def test_a_large_comparison_is_small_on_disk(tmp_path: Path) -> None:
    tasks = [f"task {number}" for number in range(16)]
    folder = tmp_path / "large"
    write_json(folder / "comparison.json", comparison(tasks, ["single", "joint", "lora"], 5))
    for strategy in ("single", "joint", "lora"):
        for seed in range(5):
            write_run(folder / strategy / f"seed-{seed}", tasks, steps=300)
    assert write_page(folder).stat().st_size < _LIMIT


def test_every_text_is_there_in_every_language_with_the_same_values() -> None:
    for key, texts in dictionary().items():
        assert set(texts) == set(LANGUAGES), key
        names = [
            {name for _, name, _, _ in string.Formatter().parse(t) if name} for t in texts.values()
        ]
        assert all(each <= names[0] for each in names), key


def test_a_page_opens_in_the_language_asked_for(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    [(_, attributes)] = [e for e in Outline(render_page(folder, "zh")).elements if e[0] == "html"]
    assert attributes["lang"] == "zh"
    with pytest.raises(RunError, match=r"no language called 'fr'\. Known: en, zh"):
        render_page(folder, "fr")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="neither a run nor a comparison"):
        write_page(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_differences_are_paired_and_to_the_right_is_better(tmp_path: Path) -> None:
    record = comparison(["error"], ["single", "joint"], 2)
    entry = {**record["tasks"]["error"], "higher_is_better": {"accuracy": False}}
    report = ReportData(tmp_path, "", "test", {**record, "tasks": {"error": entry}}, [], None)
    section = differences(report)
    assert section is not None
    assert "error · accuracy: −1.0 against single" in section.body
    assert section.body.count('class="seed"') == 2
    assert 'class="bar bad"' in section.body


def test_tested_differences_have_whiskers_and_are_grey_unless_significant(tmp_path: Path) -> None:
    record = comparison(["mood", "topic"], ["single", "joint"], 2)
    record["statistics"] = statistics(["mood", "topic"], ["single", "joint"])
    section = differences(ReportData(tmp_path, "", "test", record, [], None))
    assert section is not None
    assert "[-1, 3] · p = 0.250" in section.body
    assert "[-3, -1] · p = 0.010" in section.body
    assert section.body.count('class="bar plain"') == section.body.count('class="bar bad"') == 1
    assert 'class="whisker"' in section.body


def test_a_tested_comparison_says_so_in_tables_and_words(tmp_path: Path) -> None:
    page = render_page(write_tested(tmp_path, ["mood", "topic"], ["single", "joint"]))
    assert "Every compared strategy that shares is worse." in page
    assert "所对比的每种共享方式都有害" in page
    assert "significantly worse: mood." in page
    assert "A true Δm of ±1.2 % or more" in page
    for cell in (
        "+1.4 [−2.5, −0.5]",
        "2.5",
        "1 (1) / 2",
        "71.2 ± 3.2 ↓",
        "+1.0 [−1.0, +3.0]",
        "5.0",
    ):
        assert f">{cell}<" in page, cell


def test_the_most_confident_mistake_comes_first(tmp_path: Path) -> None:
    section = mistakes(ReportData.read(write_run(tmp_path)))
    assert section is not None
    assert section.body.index("shop.csv:3") < section.body.index("shop.csv:4")
    assert "shop.csv:1" not in section.body


def test_reports_are_written_without_loading_a_model(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    code = (
        "import sys, pathlib; from polytask import api; import polytask.reports.watch\n"
        f"api.report({str(folder)!r})\n"
        "assert not {'torch', 'transformers', 'datasets', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (folder / "report.html").is_file()
