"""Cells of tables, pixels and spectra as numbers that the baselines learn from.

A *cell* is a number or a category, or missing. An *image* is its pixels, in grey and shrunk. A *sound* is
the mean and the spread over time of its logarithmic spectrum in 40 mel bands.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from polytask.analysis.linear_features import Counts, Design, LabelUnits, Matrix
from polytask.core.batch import Fields
from polytask.core.columns import ColumnType
from polytask.core.errors import DataError
from polytask.core.optional import require

Numbers: TypeAlias = npt.NDArray[np.float64]

_SIDE = 28
"""Height and width of a shrunk image."""

_BANDS = 40
_WINDOW, _HOP = 0.025, 0.010
"""Seconds of a window of the spectrum, and from one to the next."""

_QUIET = 1e-8
_LEVELS = 254
"""Categories that a histogram tells apart; it has 255 bins, one of them for missing values."""

_COLUMNS = 100
"""Columns that a category is spread over at most: rare categories share one."""


def cell_rows(
    readings: Sequence[LabelUnits], blocks: Sequence[Sequence[Fields]], types: Sequence[ColumnType]
) -> list[Counts]:
    """Return the cells of rows as numbers; categories of all blocks have the same codes.

    :param blocks: Rows of table cells, None where a cell is missing.
    :param types: The type of each cell: a number, or else a category.
    :return: For each block, cells_NK; nan is missing.
    """
    codes: list[dict[str, int]] = [{} for _ in types]

    def number(place: int, value: Any) -> float:
        if value is None or value != value:
            return np.nan
        if types[place] == "number":
            return float(value)
        return codes[place].setdefault(str(value), len(codes[place]))

    return [
        (
            np.array(
                [[number(place, value) for place, value in enumerate(row)] for row in rows],
                dtype=np.float64,
            ).reshape(-1, len(types)),
        )
        for rows in blocks
    ]


def describe_values(
    convert: Callable[[Any], Numbers],
    readings: Sequence[LabelUnits],
    blocks: Sequence[Sequence[Fields]],
    types: Sequence[ColumnType],
) -> list[Counts]:
    """Return the numbers of the values of rows, side by side.

    :param convert: Turns an image, a sound or an array into numbers.
    :raises DataError: If a file cannot be read, or arrays of a column differ in size.
    :raises MissingExtraError: If the library that reads the files is not installed.
    """
    found = [[np.concatenate([*map(convert, row)]) for row in rows] for rows in blocks]
    sizes = sorted({len(row) for rows in found for row in rows})
    if len(sizes) > 1:
        text = f"found arrays of {', '.join(map(str, sizes[:3]))} numbers, expected one size"
        raise DataError(f"{text}. Leave the linear baselines out of compare.strategies.")
    return [(np.array(rows).reshape(-1, sizes[0] if sizes else 0),) for rows in found]


class NumberDesign(Design):
    """Numbers with mean 0 and variance 1; a column of zeros and ones for each category."""

    def __init__(
        self, training: Sequence[Counts], *, private: bool, types: Sequence[ColumnType] = ()
    ) -> None:
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        every = np.vstack([counts[0] for counts in training])
        others = _categories(types)
        numbers = [place for place in range(every.shape[1]) if place not in others]
        # A missing number becomes the median, and another column marks it as missing.
        filled = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
        spread = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=_COLUMNS)
        self._columns = ColumnTransformer(
            [("numbers", make_pipeline(filled, StandardScaler()), numbers)]
            + ([("categories", spread, others)] if others else []),
            sparse_threshold=1.0 if others else 0.0,
        ).fit(every)
        super().__init__(training, private=private)

    @override
    def matrix(self, counts: Counts) -> Matrix:
        if not len(counts[0]):
            return np.zeros((0, len(self._columns.get_feature_names_out())))
        found: Matrix = self._columns.transform(counts[0])
        return found


class TreeDesign(Design):
    """Cells as they are: trees read missing numbers and codes of categories.

    Of a column with more categories than a histogram has bins, the rare ones count as missing.
    """

    def __init__(
        self, training: Sequence[Counts], *, private: bool, types: Sequence[ColumnType] = ()
    ) -> None:
        every = np.vstack([counts[0] for counts in training])
        self._codes: dict[int, Numbers] = {}
        for place in _categories(types):
            known = every[~np.isnan(every[:, place]), place]
            values, counts_V = np.unique(known, return_counts=True)
            self._codes[place] = np.sort(values[np.argsort(-counts_V)[:_LEVELS]])
        super().__init__(training, private=private)

    @override
    def matrix(self, counts: Counts) -> Matrix:
        cells_NK = counts[0].copy()
        for place, kept in self._codes.items():
            codes_N = np.searchsorted(kept, cells_NK[:, place])
            known_N = np.isin(cells_NK[:, place], kept)
            cells_NK[:, place] = np.where(known_N, codes_N, np.nan)
        return cells_NK


def _categories(types: Sequence[ColumnType]) -> list[int]:
    """Return the positions of the cells that hold a category."""
    return [place for place, kind in enumerate(types) if kind in ("category", "text")]


def _content(value: Any) -> Any:
    """Return what an image or audio library opens: the path of a file, or its content."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    return value if isinstance(value, str) else io.BytesIO(value)


def compute_pixels(value: Any) -> Numbers:
    """Return the gray values of an image, 0 to 1, at a small fixed size."""
    images = require("PIL.Image", part="the linear baseline of images", extra="vision")
    try:
        with images.open(_content(value)) as image:
            small = image.convert("L").resize((_SIDE, _SIDE))
            return np.asarray(small, dtype=np.float64).ravel() / 255
    except OSError as error:
        raise DataError(f"cannot be read as an image: {error}") from error


def compute_spectrum(value: Any) -> Numbers:
    """Return the mean and standard deviation over time of the log-mel spectrum of a sound."""
    soundfile = require("soundfile", part="the linear baseline of sounds", extra="speech")
    try:
        samples, rate = soundfile.read(_content(value), dtype="float64", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise DataError(f"cannot be read as a sound: {error}") from error
    window, hop = int(_WINDOW * rate), max(1, int(_HOP * rate))
    sound = np.pad(samples.mean(1), (0, max(0, window - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames)) ** 2 @ _mel_bands(window // 2 + 1, rate)
    log_FM = np.log(power + _QUIET)
    return np.concatenate([log_FM.mean(0), log_FM.std(0)])


def flatten_array(value: Any) -> Numbers:
    """Return an array as one row of numbers."""
    return np.asarray(value, dtype=np.float64).ravel()


def _mel_bands(bins: int, rate: int) -> Numbers:
    """Return triangular filters of equal width on the mel scale, (bins, bands).

    O'Shaughnessy, "Speech Communication", 1987: mel = 2595 · log10(1 + hertz / 700).
    """
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, _BANDS + 2) / 2595) - 1)
    hertz_K1 = np.linspace(0, rate / 2, bins)[:, None]
    rising = (hertz_K1 - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - hertz_K1) / np.diff(edges)[1:]
    return np.clip(np.minimum(rising, falling), 0, None)
