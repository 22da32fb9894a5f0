"""The format of SQuAD: articles with paragraphs, and paragraphs with questions.

https://rajpurkar.github.io/SQuAD-explorer
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.data.sources.base import sources
from polytask.data.sources.text_files import TextFileSource


@sources.register("squad")
class Squad(TextFileSource):
    """SQuAD files, 1.1 and 2.0, and other files of this format: one row per question.

    The columns are id, title, question, context and answers: a list of ``text`` and ``start``,
    empty if there is no answer.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".json",)
    place: ClassVar[str] = "{file}, question {line}"

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        yield from enumerate(_rows(_parse(self.text(path), path)), start=1)


class _Answer(BaseModel):
    text: str
    answer_start: int | None = None


class _Question(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)
    id: str
    question: str
    answers: list[_Answer] = []
    is_impossible: bool = False


class _Paragraph(BaseModel):
    context: str
    qas: list[_Question]


class _Article(BaseModel):
    title: str | None = None
    paragraphs: list[_Paragraph]


class _File(BaseModel):
    data: list[_Article]


def _rows(file: _File) -> Iterator[Row]:
    for article in file.data:
        for paragraph in article.paragraphs:
            for each in paragraph.qas:
                answers = [] if each.is_impossible else each.answers
                yield {
                    "id": each.id,
                    "title": article.title,
                    "question": each.question,
                    "context": paragraph.context,
                    "answers": [{"text": a.text, "start": a.answer_start} for a in answers],
                }


def _parse(text: str, path: Path) -> _File:
    try:
        return _File.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        form = "data[].paragraphs[] with a context and qas[], each with id, question and answers[]"
        message = f"{path}: {where}{': ' if where else ''}{first['msg']}; expected {form}"
        raise DataError(f"{message}, as SQuAD files have them.") from error
