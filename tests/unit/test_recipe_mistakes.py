"""Every mistake of a recipe is reported, once, all at once, with its place and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from polytask.core.errors import RecipeError
from polytask.recipe import load

VALID = """\
data:
  emotion: {kind: jsonl, path: emotion.jsonl}
  irony: {kind: jsonl, path: irony.jsonl}
encoder: {kind: bag}
tasks:
  emotion: {kind: classification, from: emotion}
  irony: {kind: classification, from: irony}
"""


def mistakes_of(folder: Path, text: str) -> list[str]:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load(path)
    return [mistake.replace(f"{folder}/", "") for mistake in caught.value.mistakes]


def test_five_mistakes_are_five_messages_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
data:
  irony: {kind: jsonl, path: irony.jsonl}
encoder: {kind: bag, dimensoin: 32}
tasks:
  irony:
    kind: clasification
    from: ironi
training:
  learning_rate: fast
  schedule: linar
"""
    assert mistakes_of(tmp_path, text) == [
        "recipe.yaml:3: encoder.dimensoin: unknown key. Did you mean 'dimension'?",
        "recipe.yaml:6: tasks.irony.kind: no task type called 'clasification'. Did you mean "
        "'classification'? Known: " + known("tasks"),
        "recipe.yaml:7: tasks.irony.from: no data called 'ironi'. Did you mean 'irony'?",
        "recipe.yaml:9: training.learning_rate: found 'fast', expected a number.",
        "recipe.yaml:10: training.schedule: found 'linar', expected 'linear', 'cosine' or "
        "'constant'. Did you mean 'linear'?",
    ]


def known(registry: str) -> str:
    from polytask.recipe.registries import REGISTRIES

    return f"{', '.join(REGISTRIES[registry].kinds())}."


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("colour: red", "recipe.yaml:8: colour: unknown key. Known: name, data_root, data,"),
        ("trainings: {}", "trainings: unknown key. Did you mean 'training'?"),
        ("drop_leaks: maybe", "drop_leaks: found 'maybe', expected true or false."),
        ("name: 3", "name: found 3, expected text. Put it in quotes if it is meant as text."),
        ("name: a/b", "name: found 'a/b', expected a name of letters, digits, '_' and '-'"),
        ("text: normalise", "text: found 'normalise', expected a list."),
        ("text: [normalize]", "text.0: no text step called 'normalize'. Did you mean 'normalise'?"),
        ("sharing: 3", "sharing: no kind of sharing is given. Known: "),
        ("sharing: {alpha: 1}", "sharing: no kind of sharing is given."),
        ("sharing: {kind: [a]}", "sharing.kind: no kind of sharing is given."),
        ("mixing: {kind: temperature, alpa: 1}", "mixing.alpa: unknown key. Did you mean 'alpha'?"),
        ("mixing: {kind: uniform, zzz: 1}", "mixing.zzz: unknown key. Known: kind."),
        ("training: {epochs: 0}", "training.epochs: found 0, expected a number greater than 0."),
        ("training: {warmup: 2}", "training.warmup: found 2, expected a number not greater than 1."),
        ("training: {steps: 2.5}", "training.steps: found 2.5, expected a whole number."),
        ("training: 3", "training: found 3, expected a mapping."),
        ("training:", "training: found nothing, expected a mapping."),
        ("training: {betas: [0.9]}", "training.betas: entry 2 is missing."),
        ("training: {trackers: [wandbb]}", "training.trackers.0: found 'wandbb', expected 'tensor"),
        ("training: {select: irony}", "training.select: found 'irony', expected average, or TASK."),
        ("training: {select: irny.f1}", "training.select: no task called 'irny'. Did you mean 'iro"),
        ("compare: {seeds: 0}", "compare.seeds: found 0, expected a number greater than 0."),
        ("compare: {strategies: []}", "compare.strategies: found an empty list, expected one"),
        ("pooled: {all: {tasks: [irny], metric: accuracy}}", "pooled.all.tasks.0: no task called"),
        ("pooled: {all: {tasks: [irony]}}", "pooled.all: key 'metric' is missing: "),
        ("pooled: {irony: {tasks: [irony], metric: accuracy}}", "pooled.irony: a task has this"),
    ],
)  # fmt: skip
def test_one_wrong_line_is_one_message(tmp_path: Path, line: str, mistake: str) -> None:
    [message] = mistakes_of(tmp_path, f"{VALID}{line}\n")
    assert message.startswith("recipe.yaml:8: ")
    assert mistake in message


@pytest.mark.parametrize(
    ("part", "named", "by_position"),
    [
        ("balancing", "{kind: fixed, weights: {irony: 2, emotion: 3}}", {"weights": [3.0, 2.0]}),
        ("balancing", "{kind: stch, weights: {irony: 2}}", {"weights": [1.0, 2.0]}),
        ("balancing", "{kind: fixed, weights: [3, 2]}", {"weights": [3.0, 2.0]}),
        ("balancing", "{kind: metabalance, target: irony}", {"target": 1}),
        ("balancing", "{kind: cosine, main: 1}", {"main": 1}),
        ("balancing", "{kind: pcgrad, losses: {kind: fixed, weights: {irony: 5}}}",
         {"losses": {"kind": "fixed", "weights": [1.0, 5]}}),
    ],
)  # fmt: skip
def test_options_about_tasks_take_names(
    tmp_path: Path, part: str, named: str, by_position: dict[str, object]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{VALID}{part}: {named}\n", encoding="utf-8")
    options = getattr(load(path), part).model_dump()
    assert {name: options[name] for name in by_position} == by_position


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("balancing: {kind: fixed, weights: {irny: 2}}", "balancing.weights.irny: no task called"),
        ("balancing: {kind: cosine, main: irny}", "balancing.main: no task called 'irny'. Did you"),
        ("balancing: {kind: mgda, losses: {kind: pbi, weights: {b: 1}}}",
         "balancing.losses.weights.b: no task called 'b'. Known: emotion, irony."),
        ("balancing: {kind: fixed, weights: {irony: heavy}}",
         "balancing.weights: found 'heavy', expected a number."),
        ("balancing: {kind: fixed, weights: 3}", "balancing.weights: found 3, expected a list."),
    ],
)  # fmt: skip
def test_options_about_tasks_take_no_other_names(tmp_path: Path, line: str, mistake: str) -> None:
    [message] = mistakes_of(tmp_path, f"{VALID}{line}\n")
    assert message.startswith(f"recipe.yaml:8: {mistake}")


@pytest.mark.parametrize(
    ("options", "mistake"),
    [
        ("{kind: classification}", "tasks.x: key 'from' is missing: "),
        ("{from: irony}", "tasks.x: no kind of task type is given. Known: "),
        ("{kind: classification, from: 3}", "tasks.x.from: found 3, expected text. Put it in"),
        ("{kind: classification, from: []}", "tasks.x.from: found an empty list"),
        ("{kind: classification, from: [irony, b]}", "tasks.x.from.1: no data called 'b'. Known: "),
        ("{kind: classification, frm: irony}", "tasks.x.frm: unknown key. Did you mean 'from'?"),
        ("{kind: classification, from: irony, imput: a}", "tasks.x.imput: unknown key. Did you mea"),
        ("{kind: classification, from: irony, hiden: 3}", "tasks.x.hiden: unknown key. Did you m"),
        ("{kind: classification, from: irony, limit: 0}", "tasks.x.limit: found 0, expected a n"),
        ("{kind: classification, from: irony, target: [a]}", "tasks.x.target: found a list, expec"),
        ("{kind: classification, from: irony, labels: [{}]}",
         "tasks.x.labels.0: found an empty mapping, expected text or true or false or a whole"),
        ("{kind: classification, from: irony, class_weights: {a: b}}",
         "tasks.x.class_weights.a: found 'b', expected a number."),
        ("{kind: classification, from: irony, metrics: [rmse]}",
         "tasks.x.metrics.0: measures number, but the task predicts label. Choose from: accuracy,"),
        ("3", "tasks.x: found 3, expected a mapping."),
    ],
)  # fmt: skip
def test_one_wrong_task_is_one_message(tmp_path: Path, options: str, mistake: str) -> None:
    [message] = mistakes_of(tmp_path, f"{VALID}  x: {options}\n")
    assert message.startswith("recipe.yaml:8: ")
    assert mistake in message


@pytest.mark.parametrize(
    ("split", "mistake"),
    [
        ("{validation: 0.5, test: 0.5}", "split: validation and test together leave no rows"),
        ("{seed: 1.5}", "split.seed: found 1.5, expected a whole number."),
        (f"{{stratify: [{'x' * 99}]}}", "split.stratify: found a list, expected text."),
        (f"{{seed: {'x' * 99}}}", f"split.seed: found '{'x' * 59}..., expected a whole number."),
    ],
)
def test_a_wrong_split_is_one_message(tmp_path: Path, split: str, mistake: str) -> None:
    text = VALID.replace("path: irony.jsonl", f"path: irony.jsonl, split: {split}")
    [message] = mistakes_of(tmp_path, text)
    assert message.startswith(f"recipe.yaml:3: data.irony.{mistake}")


@pytest.mark.parametrize("name", ["a b", "a/b", "../up", "a.b", "''", "-x"])
def test_names_must_be_good_for_files(tmp_path: Path, name: str) -> None:
    [message] = mistakes_of(tmp_path, f"{VALID}  {name}: {{kind: classification, from: irony}}")
    assert "expected a name of letters, digits, '_' and '-'" in message


@pytest.mark.parametrize("name", ["type", "train", "keys", "forward"])
def test_names_of_tasks_must_be_free_in_pytorch(tmp_path: Path, name: str) -> None:
    [message] = mistakes_of(tmp_path, f"{VALID}  {name}: {{kind: classification, from: irony}}")
    assert f"PyTorch reserves the name '{name}'" in message


def test_tasks_may_be_written_as_a_kind_alone(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    text = "data: {a: {kind: jsonl, path: a.jsonl}}\nencoder: bag\ntasks: {b: classification}\n"
    path.write_text(f"{text}training: {{select: b.accuracy}}", encoding="utf-8")
    assert load(path).tasks["b"].sources == ("a",)


def test_names_may_be_chinese(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{VALID}  情感: {{kind: classification, from: irony}}", encoding="utf-8")
    assert "情感" in load(path).tasks


def test_the_selecting_metric_must_be_measured(tmp_path: Path) -> None:
    text = VALID.replace("from: irony}", "from: irony, metrics: [accuracy, mcc]}")
    selected = f"{text}training: {{select: irony.acuracy}}"
    [message] = mistakes_of(tmp_path, selected)
    assert "no metric of irony called 'acuracy'. Did you mean 'accuracy'?" in message
    messages = mistakes_of(tmp_path, selected.replace("mcc", "mc"))
    assert [message.split(":")[2] for message in messages] == [" tasks.irony.metrics.1"]
    (tmp_path / "recipe.yaml").write_text(selected.replace("acuracy", "mcc"), encoding="utf-8")
    assert load(tmp_path / "recipe.yaml").training.select == "irony.mcc"


def test_a_score_of_pooled_tasks_may_select(tmp_path: Path) -> None:
    pooled = "pooled: {all: {tasks: [irony], metric: accuracy}}\n"
    text = f"{VALID}{pooled}training: {{select: all.accuracy}}"
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    assert load(tmp_path / "recipe.yaml").training.select == "all.accuracy"
    [message] = mistakes_of(tmp_path, text.replace("all.acc", "all.ac"))
    assert "no metric of all called 'acuracy'. Did you mean 'accuracy'?" in message
    [message] = mistakes_of(tmp_path, text.replace("all.acc", "al.acc"))
    assert "no task called 'al'. Did you mean 'all'?" in message


def test_steps_that_drop_words_do_not_go_with_tasks_that_label_words(tmp_path: Path) -> None:
    text = f"{VALID}  tags: {{kind: tagging, from: irony}}\ntext:\n  - segment\n"
    [message] = mistakes_of(tmp_path, f"{text}  - {{kind: stop_words, language: en}}\n")
    assert message == (
        "recipe.yaml:11: text.1: drops words, but every word has a label in tags. Remove it."
    )


def test_a_wrong_kind_does_not_hide_mistakes_beside_it(tmp_path: Path) -> None:
    text = VALID.replace("{kind: jsonl, path: irony.jsonl}", "{kind: jsnl, split: {validaton: 1}}")
    assert [message.split(" Known")[0] for message in mistakes_of(tmp_path, text)] == [
        "recipe.yaml:3: data.irony.kind: no source called 'jsnl'. Did you mean 'jsonl'?",
        "recipe.yaml:3: data.irony.split.validaton: unknown key. Did you mean 'validation'?",
    ]


def test_a_repeated_key_is_reported_with_the_other_mistakes(tmp_path: Path) -> None:
    assert mistakes_of(tmp_path, f"{VALID}encoder: cnn\ncolor: red\n")[0] == (
        "recipe.yaml:4: encoder: given twice, in lines 4 and 8."
    )
    assert len(mistakes_of(tmp_path, f"{VALID}encoder: cnn\ncolor: red\n")) == 2


@pytest.mark.parametrize("section", ["data", "tasks"])
def test_empty_sections_are_refused(tmp_path: Path, section: str) -> None:
    sections = {"data": "{a: {kind: jsonl, path: a}}", "tasks": "{b: classification}"}
    text = "\n".join(f"{name}: {value}" for name, value in {**sections, section: "{}"}.items())
    assert f"{section}: found an empty mapping, expected 1 or more entries." in "\n".join(
        mistakes_of(tmp_path, f"{text}\nencoder: bag")
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "nothing"), ("- a", "a list"), ("a", "'a'"), ("# only this", "nothing")],
)
def test_a_recipe_is_a_mapping(tmp_path: Path, text: str, found: str) -> None:
    [message] = mistakes_of(tmp_path, text)
    assert message == (
        f"recipe.yaml: found {found}, expected a mapping with the keys data, encoder and tasks."
    )


def test_all_that_is_required_is_named(tmp_path: Path) -> None:
    messages = mistakes_of(tmp_path, "name: a")
    assert [message.split("key ")[1].split(" ")[0] for message in messages] == [
        "'data'",
        "'encoder'",
        "'tasks'",
    ]


def test_a_missing_file_is_named_with_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "tweets.yaml").write_text(VALID, encoding="utf-8")
    with pytest.raises(
        RecipeError, match=r"tweet\.yaml: no such file\. Did you mean 'tweets\.yaml'"
    ):
        load(tmp_path / "tweet.yaml")
    with pytest.raises(RecipeError, match=r"no such file\. Known: tweets\.yaml"):
        load(tmp_path / "quickstart.yaml")
    with pytest.raises(RecipeError, match="cannot be read: Is a directory"):
        load(tmp_path)
