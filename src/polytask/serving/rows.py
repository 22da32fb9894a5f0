"""Rows of requests: images and sounds arrive as Base64 in JSON, or as files of a form."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import FormData, UploadFile

from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.batch import Row
from polytask.serving.limits import RefusedError
from polytask.serving.schemas import PredictRequest

_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")


def rows_from_json(asked: PredictRequest, run: LoadedRun, files: Mapping[str, bytes]) -> list[Row]:
    """Return the rows of a request as the run reads them.

    :param files: By column, the files of a form; they belong to the first row.
    :raises RefusedError: If texts are sent to a run that reads several columns, a value is not
        Base64, or a text holds a lone surrogate, which no tokenizer reads.
    """
    rows = _rows_of_texts(asked, run) if asked.rows is None else asked.rows
    first: dict[str, Any] = {**rows[0], **{name: _file(value) for name, value in files.items()}}
    return [_check(place, row, run) for place, row in enumerate([first, *rows[1:]])]


async def rows_from_form(form: FormData) -> tuple[PredictRequest, dict[str, bytes]]:
    """Return the request of a form: its field ``request`` in JSON, and a file for each other field.

    A form without ``request`` asks for all tasks of one row.
    """
    files: dict[str, bytes] = {}
    values: dict[str, Any] = {}
    text = ""
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            files[name] = await value.read()
        elif name == "request":
            text = value
        else:
            values[name] = value
    asked = PredictRequest.model_validate_json(text) if text else PredictRequest(rows=[values])
    return asked, files


def _rows_of_texts(asked: PredictRequest, run: LoadedRun) -> list[dict[str, Any]]:
    tasks = run.tasks if asked.tasks == "all" else asked.tasks
    columns = {
        name for task in tasks if task in run.tasks for name in run.recipe.tasks[task].columns
    }
    if len(columns) > 1:
        text = f"texts: the tasks read the columns {', '.join(sorted(columns))}. Send rows instead."
        raise RefusedError(422, "texts", text)
    column = next(iter(columns), "text")
    split = run.types.get(column) == "words"
    return [{column: text.split() if split else text} for text in asked.texts or ()]


def _check(place: int, row: Row, run: LoadedRun) -> Row:
    return {name: _value(f"rows[{place}].{name}", name, value, run) for name, value in row.items()}


def _value(place: str, name: str, value: Any, run: LoadedRun) -> Any:
    if isinstance(value, str):
        if run.types.get(name) in ("image", "audio"):
            return _file(_decode(place, value))
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            text = f"{place}: holds a lone surrogate, which is no text. Send valid Unicode."
            raise RefusedError(422, "text", text)
    return value


def _decode(place: str, value: str) -> bytes:
    try:
        return base64.b64decode(_DATA_URL.sub("", value, count=1), validate=True)
    except (binascii.Error, ValueError):
        text = f"{place}: expected a file in Base64, or a data URL."
        raise RefusedError(422, "base64", text) from None


def _file(content: bytes) -> dict[str, Any]:
    """Return an image or a sound as tables hold it."""
    return {"bytes": content, "path": None}
