"""A recipe is read, changed from the command line, written and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from polytask.core.errors import RecipeError
from polytask.recipe import Recipe, dump, load
from polytask.recipe.registries import REGISTRIES
from polytask.recipe.schema import SourceSection, TaskSection
from polytask.tasks import tasks

SMALL = """
data: {reviews: {kind: jsonl, path: reviews.jsonl}}
encoder: bag
tasks: {sentiment: {kind: classification}}
"""
FULL = """
name: tweets
data:
  emotion: {kind: jsonl, train: train.jsonl, test: test.jsonl}
  irony: {kind: jsonl, path: irony.jsonl, split: {validation: 0.2, test: 0.1, stratify: label}}
drop_leaks: true
text: [normalise, {kind: segment, language: en}]
encoder: {kind: bag, dimension: 32}
sharing: independent
tasks:
  emotion: {kind: classification, from: emotion, target: label, limit: 500, labels: [no, yes]}
  pair: {kind: regression, from: [irony, emotion], input: [text_a, text_b], target: score}
  irony:
    kind: classification
    from: irony
    metrics: [accuracy, {kind: f1, average: macro}]
pooled: {stance: {tasks: [emotion, irony], metric: {kind: mean_f1, labels: [no, yes]}}}
mixing: {kind: temperature, alpha: 0.25}
balancing: uncertainty
training: {epochs: 2, learning_rate: 1e-4, select: irony.accuracy}
evaluation: {bootstrap: 100}
compare: {strategies: [linear, joint], seeds: 3}
"""


def write(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def full(tmp_path: Path) -> Recipe:
    return load(write(tmp_path, FULL))


def test_sections_hold_a_part_and_keys_of_their_own(full: Recipe) -> None:
    assert full.data["irony"].part.kind == "jsonl"
    assert full.data["irony"].split is not None
    assert full.data["irony"].split.validation == 0.2
    assert full.tasks["emotion"].limit == 500
    assert full.tasks["emotion"].part.model_dump()["labels"] == ["no", "yes"]
    assert full.training.learning_rate == 1e-4
    assert [step.kind for step in full.text] == ["normalise", "segment"]


def test_one_name_or_several_may_be_written(full: Recipe) -> None:
    assert full.tasks["emotion"].sources == ("emotion",)
    assert full.tasks["emotion"].columns == ("text",)
    assert full.tasks["pair"].sources == ("irony", "emotion")
    assert full.tasks["pair"].columns == ("text_a", "text_b")


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    recipe = load(write(tmp_path, SMALL, "my shop.yaml"))
    assert recipe.name == "my-shop"
    assert (recipe.sharing.kind, recipe.mixing.kind, recipe.balancing.kind) == (
        "hard",
        "proportional",
        "equal",
    )
    assert recipe.text == ()
    assert recipe.compare.seeds == 5
    assert recipe.tasks["sentiment"].sources == ("reviews",)


@pytest.mark.parametrize("kind", tasks.kinds())
def test_input_columns_suit_the_kind_unless_they_are_given(tmp_path: Path, kind: str) -> None:
    text = SMALL.replace("classification", kind)
    assert load(write(tmp_path, text)).tasks["sentiment"].columns == tasks.part(kind).inputs.columns
    given = load(write(tmp_path, SMALL.replace("classification", f"{kind}, input: body")))
    assert given.tasks["sentiment"].columns == ("body",)


@pytest.mark.parametrize(
    ("encoder", "rate"),
    [
        ("bag", 2e-3),
        ("{kind: transformer, layers: 2}", 5e-4),
        ("{kind: huggingface, config: {model_type: bert}}", 5e-4),
        ("{kind: huggingface, path: bert-base-uncased}", 3e-5),
    ],
)
def test_the_learning_rate_suits_the_encoder_unless_it_is_given(
    tmp_path: Path, encoder: str, rate: float
) -> None:
    text = SMALL.replace("encoder: bag", f"encoder: {encoder}")
    assert load(write(tmp_path, text)).training.learning_rate == rate
    given = load(write(tmp_path, f"{text}training: {{learning_rate: 0.125}}"))
    assert given.training.learning_rate == 0.125
    assert load(write(tmp_path, f"{text}training: {{epochs: 2}}")).training.learning_rate == rate


def test_a_recipe_cannot_be_changed(full: Recipe) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe.__setattr__(full, "name", "other")


@pytest.mark.parametrize("text", [SMALL, FULL])
def test_what_is_dumped_reads_back_equal_from_anywhere(tmp_path: Path, text: str) -> None:
    recipe = load(write(tmp_path, text))
    elsewhere = tmp_path / "runs"
    elsewhere.mkdir()
    again = load(write(elsewhere, dump(recipe), "other.yaml"))
    assert again == recipe
    assert dump(again) == dump(recipe)


def test_a_dump_writes_defaults_out_and_keeps_the_keys_of_the_recipe(full: Recipe) -> None:
    text = dump(full)
    assert "seeds: 3" in text
    assert "precision: auto" in text
    assert "    from:\n    - irony\n" in text
    assert "sources:" not in text


def test_relative_data_is_looked_up_beside_the_recipe_and_then_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POLYTASK_DATA", raising=False)
    assert load(write(tmp_path, SMALL)).search() == (tmp_path,)
    monkeypatch.setenv("POLYTASK_DATA", "/elsewhere")
    assert load(write(tmp_path, SMALL)).search() == (tmp_path, Path("/elsewhere"))
    rooted = load(write(tmp_path, f"data_root: sub\n{SMALL}"))
    assert rooted.search()[0] == tmp_path / "sub"
    assert rooted.data_root == str(tmp_path / "sub")


def test_data_root_may_be_absolute(tmp_path: Path) -> None:
    recipe = load(write(tmp_path, SMALL), ["data_root=/data"])
    assert recipe.search(Path("/recipes"))[0] == Path("/data")


def test_a_recipe_made_in_python_is_checked_like_one_from_a_file() -> None:
    values = {
        "data": {"reviews": "jsonl"},
        "encoder": "bag",
        "tasks": {"sentiment": {"kind": "classification", "from": "review"}},
    }
    with pytest.raises(ValidationError, match=r"no data called 'review'\. Did you mean 'reviews'"):
        Recipe.model_validate(values)


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("training.epochs=7", "training.epochs", 7.0),
        ("training.learning_rate=1e-3", "training.learning_rate", 1e-3),
        ("training.steps=null", "training.steps", None),
        ("mixing=uniform", "mixing.kind", "uniform"),
        ("mixing.alpha=1", "mixing.alpha", 1.0),
        ("sharing.kind=hard", "sharing.kind", "hard"),
        ("balancing={kind: uncertainty, initial: 2}", "balancing.initial", 2.0),
        ("balancing.initial=2", "balancing.initial", 2.0),
        ("text.1.language=zh", "text.1.language", "zh"),
        ("text.2=mask_tweets", "text.2.kind", "mask_tweets"),
        ("name=no", "name", "no"),
        ("training.device=a=b", "training.device", "a=b"),
    ],
)
def test_a_value_can_be_set(tmp_path: Path, assignment: str, path: str, value: object) -> None:
    found: Any = load(write(tmp_path, FULL), [assignment]).model_dump(mode="json")
    for key in path.split("."):
        found = found[int(key)] if isinstance(found, list) else found[key]
    assert found == value


def test_mappings_on_the_way_are_made(tmp_path: Path) -> None:
    overrides = ["tasks.stars.kind=regression", "tasks.stars.target=stars"]
    recipe = load(write(tmp_path, SMALL), overrides)
    assert recipe.tasks["stars"].part.kind == "regression"
    assert recipe.tasks["stars"].sources == ("reviews",)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.epochs", "--set training.epochs: expected path.to.key=value"),
        ("training..epochs=1", "expected path.to.key=value"),
        ("=1", "expected path.to.key=value"),
        ("trainin.epochs=1", "--set trainin.epochs=1: trainin: unknown key. Did you mean 'training'"),
        ("training.epoch=1", "training.epoch: unknown key. Did you mean 'epochs'?"),
        ("training.epochs=many", "training.epochs: found 'many', expected a number."),
        ("training.epochs.x=1", "training.epochs: found a mapping, expected a number."),
        ("text.9=normalise", "--set text.9=normalise: found '9' in a list, expected 0 to 2."),
        ("text.first=normalise", "found 'first' in a list, expected 0 to 2."),
        ("mixing=[", "--set mixing=[:1:2: not valid YAML"),
        ("data.a.delimiter=,", "quote it for the shell and for YAML: --set 'data.a.delimiter=\",\"'."),
        ("mixing={kind: uniform, kind: joint}", "mixing.kind: given twice, in lines 1 and 1."),
        ("mixing=unifrm", "no mixing called 'unifrm'. Did you mean 'uniform'?"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_reported_as_such(tmp_path: Path, assignment: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(write(tmp_path, FULL), [assignment])
    [mistake] = caught.value.mistakes
    assert message in mistake


def test_an_empty_file_may_be_filled_from_the_command_line(tmp_path: Path) -> None:
    overrides = ["data.a=jsonl", "encoder=bag", "tasks.b=classification"]
    path = write(tmp_path, "")
    assert load(path, overrides).tasks["b"].sources == ("a",)
    with pytest.raises(RecipeError, match=r"recipe\.yaml: key 'tasks' is missing"):
        load(path, overrides[:2])


def test_part_options_never_hide_behind_keys_of_their_section() -> None:
    for section, registry in ((SourceSection, "sources"), (TaskSection, "tasks")):
        for kind in REGISTRIES[registry].kinds():
            options = set(REGISTRIES[registry].schema(kind).model_fields)
            assert not options & set(section.keys()), kind
