"""Baselines of tables, images, sounds and arrays, on real data where there is some."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from polytask.analysis.linear import (
    LabelledRows,
    LinearResult,
    LinearTask,
    count_tasks,
    fit_predict,
)
from polytask.analysis.linear_features import LabelUnits
from polytask.analysis.linear_numbers import (
    NumberDesign,
    TreeDesign,
    cell_rows,
    compute_spectrum,
    describe_values,
)
from polytask.core.columns import ColumnType
from polytask.core.errors import DataError

DATA = Path(os.environ.get("POLYTASK_DATA", Path(__file__).parents[3] / "shared" / "data"))
CELLS: tuple[ColumnType, ...] = ("number", "category")


def share_right(references: Sequence[Any], predictions: Sequence[Any], _: object) -> float:
    return float(np.mean([r == p for r, p in zip(references, predictions, strict=True)]))


def run(
    strategy: str,
    types: Sequence[ColumnType],
    train: Sequence[tuple[tuple[Any, ...], Any]],
    test: Sequence[tuple[Any, ...]],
    form: str = "label",
) -> LinearResult:
    fields, labels = [row for row, _ in train], [label for _, label in train]
    names = () if form == "number" else sorted({*labels})
    rows, none = LabelledRows(fields, labels), LabelledRows([], [])
    one = LinearTask(form, names, rows, none, test, share_right, types)
    return fit_predict(strategy, count_tasks({"one": one}))


def the_file(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"needs {path} (set POLYTASK_DATA)")
    return path


def png(seed: int, grey: int) -> bytes:
    images = pytest.importorskip("PIL.Image")
    noise = np.random.default_rng(seed).integers(0, 40, (20, 30, 3))
    file = io.BytesIO()
    images.fromarray((noise + grey).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_cells_are_scaled_filled_and_spread_over_categories() -> None:
    rows = [(1.0, "a"), (3.0, "b"), (None, "a"), (5.0, None)]
    training, test = cell_rows([LabelUnits()] * 2, [rows, [(2.0, "never seen")]], CELLS)
    design = NumberDesign([training], private=False, types=CELLS)
    found = np.asarray(design([training]).todense())
    median_filled = StandardScaler().fit_transform([[1.0], [3.0], [3.0], [5.0]])
    np.testing.assert_allclose(found[:, 0], median_filled[:, 0])
    assert (found[:, 1] > 0).tolist() == [False, False, True, False]  # says that it is missing
    np.testing.assert_array_equal(found[:, 2:], [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    assert np.asarray(design([test]).todense())[0, 2:].sum() == 0


def test_trees_read_missing_cells_and_leave_rare_categories_out() -> None:
    rows = [(float(place), f"level {place % 300}") for place in range(600)] + [(1.0, "level 0")]
    [training] = cell_rows([LabelUnits()], [rows], CELLS)
    [matrix] = [TreeDesign([training], private=False, types=CELLS)([training])]
    assert matrix.shape == (601, 2)
    assert np.nanmax(matrix[:, 1]) == 253
    assert np.isnan(matrix[:, 1]).sum() == 2 * (300 - 254)
    assert not np.isnan(matrix[-1, 1])  # the most frequent one stays


@pytest.mark.parametrize("strategy", ["linear", "trees"])
@pytest.mark.parametrize("form", ["label", "labels", "number"])
def test_a_table_is_learned(strategy: str, form: str) -> None:
    random = np.random.default_rng(0)
    cells = [(float(random.normal()), str(random.choice(["a", "b"]))) for _ in range(400)]
    value: Callable[[float, str], Any] = {
        "label": lambda number, letter: "yes" if (number > 0) == (letter == "a") else "no",
        "labels": lambda number, letter: [letter] if number > 0 else [],
        "number": lambda number, letter: 3 * number + (letter == "a"),
    }[form]
    rows = [(cell, value(*cell)) for cell in cells]
    train = LabelledRows([row for row, _ in rows[:300]], [label for _, label in rows[:300]])
    names = {"label": ["no", "yes"], "labels": ["a", "b"], "number": []}[form]
    test = [row for row, _ in rows[300:]]
    one = LinearTask(form, names, train, LabelledRows([], []), test, share_right, CELLS)
    found = fit_predict(strategy, count_tasks({"one": one}))
    assert found.parameters > 0
    expected, answers = [label for _, label in rows[300:]], found.answers["one"].predictions
    if form == "number":
        assert np.corrcoef(np.array(expected), np.array(answers))[0, 1] > 0.97
    elif (strategy, form) != ("linear", "label"):  # no line tells these apart
        assert share_right(expected, answers, None) > 0.8


def test_trees_are_for_tables_alone() -> None:
    found = run("trees", ("text",), [(("good",), "yes"), (("bad",), "no")], [("good",)])
    assert found.without == {"one": "reads text"}


@pytest.mark.parametrize("types", [("image", "text"), ("audio", "number"), ("ids",)])
def test_what_has_no_baseline_says_so(types: tuple[ColumnType, ...]) -> None:
    row = tuple(b"" for _ in types)
    found = run("linear", types, [(row, "yes"), (row, "no")], [])
    assert found.without == {"one": f"reads {' and '.join(sorted(types))}, predicts label"}


def test_images_are_learned_from_their_pixels() -> None:
    train = [((png(seed, 60 * (seed % 2)),), ["dark", "light"][seed % 2]) for seed in range(20)]
    found = run("linear", ("image",), train, [(png(50, 60),), (png(51, 0),)])
    assert found.answers["one"].predictions == ["light", "dark"]


def test_what_is_no_image_is_a_clear_error() -> None:
    pytest.importorskip("PIL.Image")
    with pytest.raises(DataError, match="cannot be read as an image"):
        run("linear", ("image",), [((b"no image",), "x"), ((b"neither",), "y")], [])


def test_arrays_of_different_sizes_are_a_clear_error() -> None:
    with pytest.raises(DataError, match="found arrays of 2, 3 numbers, expected one size"):
        run("linear", ("array",), [(([1.0, 2.0],), "x"), (([1.0, 2.0, 3.0],), "y")], [])


def test_a_spectrum_has_its_peak_where_the_tone_is() -> None:
    soundfile = pytest.importorskip("soundfile")
    sounds = []
    for hertz in (300.0, 3000.0):
        file = io.BytesIO()
        wave = np.sin(2 * np.pi * hertz * np.arange(8000) / 8000)
        soundfile.write(file, wave, 8000, format="WAV")
        sounds.append((file.getvalue(),))
    [(found,)] = describe_values(compute_spectrum, [LabelUnits()], [sounds], ("audio",))
    assert found.shape == (2, 80)
    mel = 2595 * np.log10(1 + np.array([300.0, 3000.0]) / 700)
    step = 2595 * np.log10(1 + 4000 / 700) / 41
    np.testing.assert_allclose(found[:, :40].argmax(1), mel / step - 1, atol=1)


def test_census_trees_beat_the_linear_model() -> None:
    path = the_file("tabular", "census_kdd", "census_income.csv.gz")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(itertools.islice(csv.DictReader(file), 6000))
    names = [name for name in rows[0] if name not in ("income_50k", "split", "instance_weight")]
    numbers = {"age", "wage_per_hour", "capital_gains", "capital_losses", "stock_dividends"}
    types: list[ColumnType] = ["number" if name in numbers else "category" for name in names]
    cells = [tuple(row[name] for name in names) for row in rows]
    labels = [row["income_50k"].strip() for row in rows]
    train = list(zip(cells[:4500], labels[:4500], strict=True))
    area = {}
    for strategy in ("linear", "trees"):
        found = run(strategy, types, train, cells[4500:])
        chances = [row[1] for row in found.answers["one"].probabilities]
        area[strategy] = roc_auc_score([label == "50000+." for label in labels[4500:]], chances)
    assert min(area.values()) > 0.9


def test_fashion_pixels_do_as_well_as_logistic_regression_on_all_of_them() -> None:
    images = pytest.importorskip("PIL.Image")
    folder = the_file("vision", "fashion_mnist", "train-images-idx3-ubyte.gz").parent
    pixels = np.frombuffer(
        gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16
    ).reshape(-1, 28, 28)[:1500]
    labels = np.frombuffer(
        gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8
    )[:1500].astype(str)

    def encoded(image: Any) -> tuple[bytes]:
        file = io.BytesIO()
        images.fromarray(image).save(file, "PNG")
        return (file.getvalue(),)

    rows = [encoded(image) for image in pixels]
    train = list(zip(rows[:1000], labels[:1000].tolist(), strict=True))
    found = run("linear", ("image",), train, rows[1000:])
    oracle = LogisticRegression(C=0.1, max_iter=200).fit(
        StandardScaler().fit_transform(pixels[:1000].reshape(1000, -1) / 255), labels[:1000]
    )
    scaled = StandardScaler().fit(pixels[:1000].reshape(1000, -1) / 255)
    expected = (
        oracle.predict(scaled.transform(pixels[1000:].reshape(500, -1) / 255)) == labels[1000:]
    ).mean()
    assert share_right(labels[1000:].tolist(), found.answers["one"].predictions, None) == (
        pytest.approx(expected, abs=0.03)
    )


def test_spoken_digits_are_learned_from_their_spectra() -> None:
    pytest.importorskip("soundfile")
    path = the_file("speech", "fsdd", "recordings.zip")
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".wav"))[::6]
        rows = [((archive.read(name),), Path(name).name[0]) for name in names]
    train = [row for at, row in enumerate(rows) if at % 4]
    test = [row for at, row in enumerate(rows) if at % 4 == 0]
    found = run("linear", ("audio",), train, [fields for fields, _ in test])
    right = share_right([label for _, label in test], found.answers["one"].predictions, None)
    assert right > 0.6
