"""Data files that a recipe names and that do not exist. Files are looked up, never read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from polytask.core.errors import PolytaskError
from polytask.data.sources import sources
from polytask.recipe.mistakes import Keys, Mistake
from polytask.recipe.schema import SourceSection, get_search_folders


def find_missing_files(values: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield a mistake for each missing file, and for each source that cannot be made.

    Other mistakes are ignored here; validation reports them.

    :param values: A recipe as plain data, valid or not, with an absolute ``data_root``.
    """
    root, data = values.get("data_root"), values.get("data")
    if not isinstance(root, str) or not isinstance(data, Mapping):
        return
    for name, section in data.items():
        for keys, text in _find_missing(section, get_search_folders(Path(root))):
            yield Mistake(("data", name, *keys), text)


def _find_missing(section: Any, search: tuple[Path, ...]) -> Iterator[tuple[Keys, str]]:
    """Yield the options of one source that name missing files, each with a message."""
    if isinstance(section, str):
        section = {"kind": section}
    if not isinstance(section, Mapping):
        return
    own = SourceSection.keys()
    options = {key: value for key, value in section.items() if key not in own}
    wrong = _wrong_options(options)
    try:
        source = sources.build({k: v for k, v in options.items() if k not in wrong}, search)
        yield from source.find_missing_files()
    except PolytaskError as error:
        if not wrong:  # else the cause may be an option that was left out
            yield from (((), line) for line in str(error).splitlines())
    except ValueError:
        return  # an unknown kind, or a required option that is wrong or missing


def _wrong_options(options: Mapping[str, Any]) -> set[str | int]:
    try:
        sources.parse(options)
    except ValidationError as error:
        return {each["loc"][0] for each in error.errors() if each["loc"]}
    except ValueError:
        pass
    return set()
