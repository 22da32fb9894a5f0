"""Task types that onnxruntime can compute give the answers of the run, for rows of any length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import HealthCheck, given, settings, strategies as st

import polytask
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.errors import RunError
from tests.contracts.samples import TASKS, WORDS, rows
from tests.end_to_end.exported import ENCODERS, HEADER, assert_alike
from tests.end_to_end.files import write_experiment
from tests.thinning import only

pytestmark = pytest.mark.slow
SEVERAL_TEXTS = ("embedding", "multiple_choice", "ranking")
WRITTEN = ("generation", "instruction", "language_model")
KINDS = {
    "few": ["classification", "multilabel", "regression", "tagging"],
    "many": [kind for kind in TASKS if kind not in (*SEVERAL_TEXTS, *WRITTEN)],
}
LENGTHS = st.lists(
    st.lists(st.sampled_from([*WORDS, "?", "zzz"]), min_size=2, max_size=70), min_size=1, max_size=9
)


class Pair(NamedTuple):
    run: LoadedRun
    export: LoadedRun


def train(folder: Path, kinds: Sequence[str]) -> Path:
    tasks = yaml.safe_dump({"tasks": {kind: {"kind": kind, **TASKS[kind]} for kind in kinds}})
    files = {"train": rows(16), "validation": rows(6, 100), "test": rows(6, 200)}
    path = write_experiment(folder, f"{HEADER}{ENCODERS['bert']}{tasks}", files)
    return polytask.train(path, folder / "run").path


@pytest.fixture(scope="module", params=only(["few"], KINDS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """One run of several task types, so that the export has the inputs and outputs of all."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("parity")
    run = train(folder, KINDS[request.param])
    return Pair(polytask.load(run), polytask.load(polytask.export(run, folder / "out", "onnx")))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=LENGTHS, first=st.integers(0, 10), count=st.integers(1, 4))
def test_records_are_equal(pair: Pair, texts: list[list[str]], first: int, count: int) -> None:
    """In batches of any number of rows, for any choice of tasks."""
    found = [row_of(words) for words in texts]
    tasks = [*pair.run.tasks][first : first + count] or None
    assert_alike([*pair.export.predict(found, tasks)], [*pair.run.predict(found, tasks)])


def row_of(words: list[str]) -> dict[str, Any]:
    text = " ".join(words)
    return {
        "text": text,
        "context": text,
        "tokens": words,
        "spans": [[0, 1], [1, 2]],
        "question": f"who {words[0]} ?",
        "sentences": [text, words[0]],
    }


@pytest.mark.parametrize("kind", SEVERAL_TEXTS)
def test_rows_of_several_texts_are_refused(kind: str, tmp_path: Path) -> None:
    run = train(tmp_path, [kind])
    with pytest.raises(RunError, match="rows of several texts"):
        polytask.export(run, tmp_path / "out", "onnx")
