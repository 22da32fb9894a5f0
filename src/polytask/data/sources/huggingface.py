"""Data sets of the Hugging Face Hub, and local data sets in its format.

https://huggingface.co/docs/datasets
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from polytask.core.batch import Row
from polytask.core.columns import ColumnType, column_type
from polytask.core.errors import DataError
from polytask.core.hub import hub_is_offline
from polytask.data.sources.base import ALL, TEST, TRAIN, VALIDATION, Source, sources
from polytask.data.stored_tables import cache_table, content_sha256
from polytask.data.tables import Origin, Table, add_location

if TYPE_CHECKING:
    import datasets

_USUAL_NAMES = {
    TRAIN: ("train",),
    VALIDATION: ("validation", "valid", "val", "dev"),
    TEST: ("test",),
}
_VERSION = 2
_BATCH = 1000
_SAVED = ("dataset_dict.json", "state.json")
"""Files that ``save_to_disk`` writes, for several splits and for one split."""


@sources.register("huggingface")
class HuggingFaceSource(Source):
    """A data set of the Hugging Face Hub, or a local folder; class numbers become label names.

    :param path: Name on the Hub, a folder written by ``save_to_disk``, or a folder of data files.
    :param name: Configuration of the data set, if it has several.
    :param revision: Commit, branch or tag on the Hub; a commit makes results reproducible.
    :param splits: Names of the splits in the data set for train, validation, test or all; by default
        the usual names.
    """

    def __init__(
        self,
        search: tuple[Path, ...],
        /,
        *,
        path: str,
        name: str | None = None,
        revision: str | None = None,
        splits: dict[Literal["train", "validation", "test", "all"], str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        self.path = path
        self.name = name
        self.revision = revision
        self.splits = {str(split): name for split, name in (splits or {}).items()}

    @override
    def load(self) -> dict[str, Table]:
        found = self._load_splits()
        return {split: self._table(found[name], name) for split, name in self._names(found).items()}

    def _load_splits(self) -> dict[str, datasets.Dataset]:
        """Load every split of the data set, by its name there.

        :raises DataError: If it cannot be loaded.
        """
        import datasets

        folders = [folder / self.path for folder in self.search or (Path(),)]
        folder = next((folder for folder in folders if folder.is_dir()), None)
        try:
            with _settings(offline=folder is None and hub_is_offline()):
                if folder and any((folder / name).is_file() for name in _SAVED):
                    loaded = datasets.load_from_disk(str(folder))
                else:
                    where = str(folder or self.path)
                    loaded = datasets.load_dataset(where, self.name, revision=self.revision)
        except (OSError, ValueError, IndexError, datasets.exceptions.DatasetsError) as error:
            looked = ", ".join(map(str, self.search))
            message = f"{self.path}: no data set of that name could be loaded: {error}"
            raise DataError(f"{message} Looked in {looked} and on the Hub.") from error
        return dict(loaded) if isinstance(loaded, dict) else {ALL: loaded}

    def _names(self, found: dict[str, datasets.Dataset]) -> dict[str, str]:
        """Return for train, validation, test or all the name of the split in the data set."""
        if self.splits:
            for name in self.splits.values():
                if name not in found:
                    known = ", ".join(found)
                    raise DataError(f"{self.path}: no split {name!r}. Available: {known}.")
            return self.splits
        if len(found) == 1:
            (name,) = found
            return {name if name in _USUAL_NAMES else ALL: name}
        usual = {
            split: next(name for name in names if name in found)
            for split, names in _USUAL_NAMES.items()
            if not found.keys().isdisjoint(names)
        }
        if not usual:
            known = ", ".join(found)
            raise DataError(f"{self.path}: no split has a usual name; found {known}. Set splits.")
        return usual

    def _table(self, data: datasets.Dataset, name: str) -> Table:
        files = [Path(file["filename"]) for file in data.cache_files]
        return cache_table(
            {"reader": "huggingface", "version": _VERSION, "features": repr(data.features)},
            lambda: _rows(data),
            Origin(
                (f"{self.path}/{name}",),
                "{file}[{line}]",
                content_sha256(files),
                types={**_types(data.features), **self.types},
            ),
        )


def _types(features: Mapping[str, Any]) -> dict[str, ColumnType]:
    """Return the types of columns that cannot be inferred from stored values."""
    found = {name: column_type(feature) for name, feature in features.items()}
    return {name: kind for name, kind in found.items() if kind in ("image", "audio", "category")}


def _rows(data: datasets.Dataset) -> Iterator[Row]:
    """Yield the rows: images and sounds as bytes, classes by name."""
    line = 0
    for batch in data.with_format("arrow").iter(_BATCH):
        for row in batch.to_pylist():
            yield add_location(_name_classes(data.features, row), 0, line)
            line += 1


def _name_classes(feature: Any, value: Any) -> Any:
    """Return a value with class numbers replaced by label names; -1, for no label, becomes None."""
    from datasets import ClassLabel, LargeList, List, Value

    if value is None:
        return None
    if isinstance(feature, ClassLabel):
        return feature.names[value] if value >= 0 else None
    if isinstance(feature, Mapping):
        return {name: _name_classes(feature[name], item) for name, item in value.items()}
    if isinstance(feature, List | LargeList) and not isinstance(feature.feature, Value):
        return [_name_classes(feature.feature, item) for item in value]
    return value


@contextlib.contextmanager
def _settings(*, offline: bool) -> Iterator[None]:
    """Disable the progress bars of ``datasets``, and downloads if offline; restore both at the end.

    ``load_dataset`` has no argument for either.
    """
    import datasets

    shown, before = not datasets.are_progress_bars_disabled(), datasets.config.HF_HUB_OFFLINE
    datasets.disable_progress_bars()
    datasets.config.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
        if shown:
            datasets.enable_progress_bars()
