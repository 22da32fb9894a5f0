"""Properties of every strategy of a comparison."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer.main
from rich.console import Console

from polytask.analysis.compare import compare
from polytask.analysis.comparison import Comparison
from polytask.analysis.costs import COSTS
from polytask.analysis.strategies import strategies
from polytask.analysis.strategies.merging import Encoders
from polytask.analysis.strategies.single import SingleStrategy
from polytask.assembly.data.labels import fit_tasks
from polytask.assembly.data.loading import TRAIN, load_data
from polytask.assembly.model.assemble import new_tasks
from polytask.cli import app
from polytask.core.errors import RecipeError, RunError
from polytask.recipe import Recipe, load
from tests.end_to_end.files import reviews, write_rows

pytestmark = pytest.mark.slow
KINDS = strategies.kinds()
RECIPE = """\
data:
  shop: {kind: jsonl, train: train.jsonl, validation: validation.jsonl, test: test.jsonl}
encoder: {kind: transformer, width: 8, layers: 1, heads: 2, feed_forward: 8, dropout: 0.1}
tasks:
  mood: {kind: classification, target: mood}
  words: {kind: tagging, input: words, target: tags}
pooled: {right: {tasks: [mood, words], metric: exact_match, by_row: true}}
training:
  {epochs: 1, batch_rows: 16, learning_rate: 1e-2, precision: fp32, threads: 1, device: cpu}
evaluation: {bootstrap: 0}
"""
HELD_OUT = 9
every_strategy = pytest.mark.parametrize("kind", KINDS)


def rows(count: int, first: int) -> list[dict[str, Any]]:
    """Rows with tags; the vocabulary of words and of texts is the same, every third lacks a mood."""
    found = []
    for number, row in enumerate(reviews(count, first)):
        words = str(row["text"]).split()
        tags = ["O" if word.isalpha() else "B-number" for word in words]
        mood = None if number % 3 == 0 else row["mood"]
        found.append({**row, "mood": mood, "words": words, "tags": tags})
    return found


def write(folder: Path, **splits: Sequence[Mapping[str, Any]]) -> Path:
    """A recipe and its data; return its path."""
    usual = {"train": rows(24, 0), "validation": rows(8, 100), "test": rows(HELD_OUT, 200)}
    for name, content in {**usual, **splits}.items():
        write_rows(folder / f"{name}.jsonl", content)
    (folder / "shop.yaml").write_text(RECIPE, encoding="utf-8")
    return folder / "shop.yaml"


def recipe_of(path: Path, kinds: Sequence[str], seeds: int = 1, *more: str) -> Recipe:
    groups = "compare.groups=[[words], [mood]]"
    chosen = f"compare.strategies=[{', '.join(kinds)}]"
    return load(path, [chosen, f"compare.seeds={seeds}", groups, *more])


def run(recipe: Recipe, folder: Path) -> dict[str, Any]:
    return compare(recipe, folder, Console(quiet=True))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("strategies"))


@pytest.fixture(scope="module")
def record(path: Path) -> dict[str, Any]:
    """All strategies."""
    return run(recipe_of(path, KINDS), path.parent / "whole")


def results(record: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    return [result for result in record["results"] if result["strategy"] == kind]


def answers(folder: Path, kind: str, seed: int = 0) -> dict[str, Any]:
    text = (folder / "results" / f"{kind}-{seed}.outcomes.json").read_text("utf-8")
    return dict(json.loads(text))


def without_time(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Results without what no two runs share: time and memory."""
    measured = {"seconds", "peak_memory_mb"}

    def cleaned(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: cleaned(item) for key, item in value.items() if key not in measured}
        return value

    return [cleaned(result) for result in results]


def test_one_result_per_seed_or_one_where_chance_has_no_part(
    path: Path, record: Mapping[str, Any]
) -> None:
    kinds = ["joint", *(kind for kind in KINDS if not strategies.part(kind).seeded)]
    folder = path.parent / "seeds"
    more = run(recipe_of(path, kinds, 2), folder)
    assert more["seeds"] == [0, 1]
    for kind in kinds[1:]:
        assert without_time(results(more, kind)) == without_time(results(record, kind))
    first, second = results(more, "joint")
    assert without_time([first]) == without_time(results(record, "joint"))
    assert second["seed"] == 1
    assert answers(folder, "joint") != answers(folder, "joint", 1)


def without_model(record: Mapping[str, Any], kind: str) -> Mapping[str, str]:
    """The tasks that a baseline has no model for, as boosted trees have none for texts."""
    found: Mapping[str, str] = results(record, kind)[0].get("no_model", {})
    assert found.keys() <= {"mood", "words"}
    assert (kind == "trees") == bool(found)
    return found


def test_what_does_not_train_does_not_depend_on_chance(record: Mapping[str, Any]) -> None:
    fixed = {kind for kind in KINDS if not strategies.part(kind).seeded}
    assert fixed == {result["strategy"] for result in record["results"] if not result["tokens"]}


@every_strategy
def test_every_task_is_answered_on_the_same_rows_in_the_same_order(
    path: Path, record: Mapping[str, Any], kind: str
) -> None:
    test = rows(HELD_OUT, 200)
    found = answers(path.parent / "whole", kind)
    assert found.keys() == {"mood", "words"}
    if without := without_model(record, kind):
        assert all(not found[task]["predictions"] for task in without)
        return
    known = [row["mood"] for row in test if row["mood"] is not None]
    assert found["mood"]["references"] == known
    assert found["words"]["references"] == [row["tags"] for row in test]
    for task in found.values():
        assert len(task["predictions"]) == len(task["references"])
    for tags, own in zip(found["words"]["predictions"], found["words"]["references"], strict=True):
        assert len(tags) == len(own)
    assert set(found["mood"]["predictions"]) <= {"good", "bad"}
    assert found["words"]["probabilities"] is None
    sums = [sum(row) for row in found["mood"]["probabilities"]]
    assert sums == pytest.approx([1.0] * len(known), abs=1e-4)


@every_strategy
def test_scores_are_of_all_rows_and_poolings(record: Mapping[str, Any], kind: str) -> None:
    for result in results(record, kind):
        counts = {name: entry["rows"] for name, entry in result["scores"].items()}
        if without_model(record, kind):
            assert counts == {"mood": 0, "words": 0, "right": 0}
            continue
        assert counts == {"mood": 6, "words": HELD_OUT, "right": 6}
        assert 0.0 <= result["scores"]["right"]["exact_match"]["value"] <= 1.0


@every_strategy
def test_costs_are_complete_and_not_negative(record: Mapping[str, Any], kind: str) -> None:
    for result in results(record, kind):
        costs = {name: result[name] for name in COSTS}
        assert all(value is None or value >= 0 for value in costs.values()), costs
        assert costs["seconds"] is not None
        if strategies.part(kind).seeded:
            assert None not in costs.values()
            assert costs["flops"] > costs["tokens"] > 0
            assert costs["trained_parameters"] <= costs["parameters"]
            assert costs["inference_parameters"] <= costs["parameters"]
            if kind.startswith("merge_"):
                assert costs["inference_parameters"] < 0.6 * costs["parameters"]
            assert costs["inference_flops_per_row"] > 0


def test_the_record_is_json_without_nan(path: Path, record: Mapping[str, Any]) -> None:
    text = (path.parent / "whole" / "comparison.json").read_text("utf-8")
    assert json.loads(text) == json.loads(json.dumps(record, allow_nan=False))


def test_a_second_call_trains_nothing_and_gives_the_same(
    path: Path, record: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*anything: object) -> None:
        raise AssertionError("a strategy was asked again")

    for kind in KINDS:
        monkeypatch.setattr(strategies.part(kind), "answer", refuse)
    assert run(recipe_of(path, KINDS), path.parent / "whole") == record


def test_equal_seeds_give_equal_results_in_any_order(path: Path, record: Mapping[str, Any]) -> None:
    again = run(recipe_of(path, KINDS[::-1]), path.parent / "again")
    assert without_time(again["results"][::-1]) == without_time(record["results"])
    for kind in KINDS:
        assert answers(path.parent / "again", kind) == answers(path.parent / "whole", kind)


def test_tokens_are_those_of_the_joint_model(record: Mapping[str, Any]) -> None:
    tokens = {kind: results(record, kind)[0]["tokens"] for kind in KINDS}
    for kind in ("sum", "static", "lora"):
        assert tokens[kind] == tokens["joint"]
    for kind in KINDS:
        if kind.startswith("merge_"):
            assert tokens[kind] == tokens["single"]


def test_equal_trainings_are_done_once(path: Path, record: Mapping[str, Any]) -> None:
    joint, total = results(record, "joint")[0], results(record, "sum")[0]
    assert total["seconds"] == joint["seconds"]
    assert total["scores"] == joint["scores"]
    folder = path.parent / "whole"
    for file in ("metrics.jsonl", "model/model.safetensors"):
        joint_file, sum_file = (folder / kind / "seed-0" / file for kind in ("joint", "sum"))
        assert sum_file.read_bytes() == joint_file.read_bytes()
    assert results(record, "static")[0]["seconds"] != joint["seconds"]


def test_models_that_have_learned_nothing_are_what_they_began_as(path: Path) -> None:
    recipe = recipe_of(path, ["single"], 1, "training.learning_rate=1e-12")
    data, tasks = load_data(recipe), new_tasks(recipe)
    labels = fit_tasks(recipe, tasks, data.split(TRAIN))
    folder = path.parent / "idle"
    comparison = Comparison(recipe, data, tasks, labels, folder, Console(quiet=True))
    encoders = Encoders(comparison, SingleStrategy("single").models(comparison, 3), 3)
    assert encoders.deltas_TP().abs().max() < 1e-6
    assert any(parameter.abs().max() > 0.01 for parameter in encoders.start.parameters())


def test_an_average_of_one_model_is_that_model(path: Path) -> None:
    alone = "tasks={mood: {kind: classification, target: mood}}"
    recipe = load(
        path, [alone, "pooled={}", "compare={seeds: 1, strategies: [single, merge_average]}"]
    )
    single, merged = run(recipe, path.parent / "alone")["results"]
    assert merged["scores"] == single["scores"]
    assert merged["inference_parameters"] == single["parameters"]
    assert merged["inference_flops_per_row"] == single["inference_flops_per_row"]
    assert answers(path.parent / "alone", "merge_average") == answers(
        path.parent / "alone", "single"
    )


def test_models_that_read_rows_differently_are_not_merged(tmp_path: Path) -> None:
    path = write(tmp_path)
    other = [*rows(12, 0), *({**row, "mood": None, "text": "x y"} for row in rows(12, 50))]
    write_rows(tmp_path / "train.jsonl", other)
    with pytest.raises(RecipeError, match="have learned different vocabularies"):
        run(recipe_of(path, ["merge_average"]), tmp_path / "run")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("[]", r"grouped needs groups of tasks, such as"),
        ("[[mood]]", "task 'words' is in no group"),
        ("[[mood, nothing], [words]]", "no task called 'nothing'"),
        ("[[mood, words], [words]]", "task 'words' is in a group already"),
    ],
)
def test_groups_that_do_not_fit_are_refused(path: Path, groups: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        run(recipe_of(path, ["grouped"], 1, f"compare.groups={groups}"), path.parent / "refused")
    assert not (path.parent / "refused").exists()


def test_other_groups_need_another_folder(path: Path, record: Mapping[str, Any]) -> None:
    assert results(record, "grouped")[0]["groups"] == [["words"], ["mood"]]
    other = recipe_of(path, ["grouped"], 1, "compare.groups=[[mood, words]]")
    with pytest.raises(RunError, match=r"is a result of .* Choose another folder"):
        run(other, path.parent / "whole")


def test_no_settings_are_chosen_by_the_rows_that_are_scored(tmp_path: Path) -> None:
    path = write(tmp_path)
    data = "data.shop={kind: jsonl, train: train.jsonl, validation: validation.jsonl}"
    for kinds, trials in ((["static"], 0), (["joint", "merge_average"], 2)):
        recipe = recipe_of(path, kinds, 1, data, f"compare.trials={trials}")
        with pytest.raises(RecipeError, match=f"settings of {', '.join(kinds)} are chosen on"):
            run(recipe, tmp_path / f"trials-{trials}")
    found = run(recipe_of(path, ["majority", "merge_ties"], 1, data), tmp_path / "run")
    assert found["split"] == "validation"
    assert "validation" not in results(found, "merge_ties")[0]
    assert any("no test rows" in note for note in found["notes"])


@every_strategy
def test_every_strategy_is_named_where_people_look(kind: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text("utf-8")
    assert f"\n| `{kind}` |" in page
    command: Any = typer.main.get_command(app)
    [option] = [o for o in command.commands["compare"].params if o.name == "strategies"]
    assert kind in re.split(r"[^a-z_]+", option.help)
    assert strategies.part(kind).__doc__
