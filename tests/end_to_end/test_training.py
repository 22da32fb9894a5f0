"""What a training leaves: the best model, its scores, and records of what happened."""

from __future__ import annotations

import gc
import json
import os
import signal
from pathlib import Path
from typing import Any, get_args

import pytest

from polytask import api
from polytask.balancing.base import Provider
from polytask.core.files import read_json, write_json
from polytask.core.run_folder import RunFolder
from polytask.core.tensors import read_tensors
from polytask.modeling import MultiTaskModel
from polytask.training.session import Session
from tests.end_to_end.files import RECIPE, polytask, reviews, write_experiment, write_rows
from tests.thinning import every


def train(recipe: Path, *changes: str, name: str = "run") -> RunFolder:
    run = RunFolder(recipe.parent / name)
    sets = [part for change in changes for part in ("--set", change)]
    result = polytask("train", recipe, "--run", run.path, *sets)
    assert result.exit_code == 0, result.stderr
    return run


def steps(run: RunFolder) -> list[dict[str, Any]]:
    return [record for record in run.records() if "losses" in record]


def validations(run: RunFolder) -> list[dict[str, Any]]:
    return [record for record in run.records() if "validation" in record]


def test_the_best_model_is_kept_not_the_last_one(tmp_path: Path) -> None:
    changes = ["training.epochs=6", "training.learning_rate=0.1", "training.select=mood.accuracy"]
    run = train(write_experiment(tmp_path), *changes)
    found = validations(run)
    best = [record for record in found if record["best"]][-1]
    assert best["selection"] == max(record["selection"] for record in found) == 1.0
    assert best is not found[-1]  # as accurate, but the first one that is counts
    scores = api.evaluate(run.path, "validation")["tasks"]
    for task, metrics in best["validation"].items():
        for metric, value in metrics.items():
            assert scores[task][metric]["value"] == pytest.approx(value)
    last = found[-1]["validation"]["stars"]["rmse"]
    assert scores["stars"]["rmse"]["value"] != pytest.approx(last)
    assert read_json(run.facts)["best_selection"] == 1.0


@pytest.fixture(scope="module")
def _trained_before(tmp_path_factory: pytest.TempPathFactory) -> None:
    """In its first training PyTorch imports the last of itself."""
    train(write_experiment(tmp_path_factory.mktemp("first")), "training.steps=1")


@pytest.mark.parametrize(
    "balancing",
    every(3, ["equal", "famo", "graddrop", "auto_lambda"])
    + every(
        4,
        [f"{{kind: pcgrad, gradients: {how}}}" for how in get_args(Provider) if how != "adapters"],
    ),
)
@pytest.mark.usefixtures("_trained_before")
def test_a_model_is_freed_when_its_training_is_over(tmp_path: Path, balancing: str) -> None:
    files = "{kind: jsonl, train: train.jsonl, validation: validation.jsonl, test: test.jsonl}"
    apart = RECIPE.replace("encoder:", f"  other: {files}\nencoder:")
    apart = apart.replace("target: mood", "target: mood, from: shop")
    recipe = write_experiment(
        tmp_path, apart.replace("target: stars", "target: stars, from: other")
    )
    gc.collect()
    gc.disable()
    try:
        before = models()
        train(recipe, f"balancing={balancing}", "training.interference=1")
        assert models() == before
    finally:
        gc.enable()


def models() -> int:
    """How many models there are in memory."""
    return sum(issubclass(type(each), MultiTaskModel) for each in gc.get_objects())


def test_a_signal_during_the_last_validation_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a comparison that was asked to stop would begin its next training."""
    recipe, validate = write_experiment(tmp_path), Session.validate

    def interrupted(session: Session) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(session)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "validate", interrupted)
        result = polytask("train", recipe, "--run", tmp_path / "run", "--set", "training.epochs=1")
    assert result.exit_code == 1
    assert "stopped by SIGTERM after step 6" in result.stderr
    result = polytask(
        "train", recipe, "--run", tmp_path / "run", "--set", "training.epochs=1", "--resume"
    )
    assert result.exit_code == 0
    assert read_json(RunFolder(tmp_path / "run").facts)["finished"]


def test_one_metric_may_select(tmp_path: Path) -> None:
    run = train(write_experiment(tmp_path), "training.select=stars.rmse", "training.epochs=3")
    found = validations(run)
    best = [record for record in found if record["best"]][-1]
    errors = [record["validation"]["stars"]["rmse"] for record in found]
    assert best["validation"]["stars"]["rmse"] == min(errors)


def test_the_score_of_pooled_tasks_may_select(tmp_path: Path) -> None:
    changes = [
        "tasks.side={kind: classification, target: mood}",
        "pooled.both={tasks: [mood, side], metric: exact_match, by_row: true}",
        "training.select=both.exact_match",
        "training.epochs=6",
    ]
    found = validations(train(write_experiment(tmp_path), *changes))
    values = [record["validation"]["both"]["exact_match"] for record in found]
    assert [record["selection"] for record in found] == values
    best = [number for number, record in enumerate(found) if record["best"]][-1]
    assert best == values.index(max(values))


def test_each_task_may_answer_with_the_model_of_its_own_best_validation(tmp_path: Path) -> None:
    changes = ["training.epochs=6", "training.learning_rate=0.1", "tasks.stars.metrics=[rmse]"]
    run = train(write_experiment(tmp_path), *changes, "training.task_best=true")
    found = {record["step"]: record["validation"] for record in validations(run)}
    best = {
        "mood": max(found, key=lambda step: found[step]["mood"]["accuracy"]),
        "stars": min(found, key=lambda step: found[step]["stars"]["rmse"]),
    }
    assert best["mood"] != best["stars"]
    assert len([*run.task_best.glob("*.safetensors")]) == 2

    result = polytask("evaluate", run.path, "--split", "validation", "--task-best")
    assert result.exit_code == 0, result.stderr
    scores = read_json(run.scores)
    for task, step in best.items():
        assert scores["validation"]["models"][task].endswith(
            f"task_best/step-{step:08d}.safetensors"
        )
        for metric, value in found[step][task].items():
            assert scores["validation"]["tasks"][task][metric]["value"] == pytest.approx(value)
    assert set(scores["test"]["models"].values()) == {"model/model.safetensors"}

    answers = [*api.predict(run.path, tmp_path / "validation.jsonl", task_best=True)]
    for task in best:
        lines = (run.predictions / "validation" / f"{task}.jsonl").read_text("utf-8").splitlines()
        predicted = [json.loads(line)["prediction"] for line in lines]
        assert [row[task]["label"] for row in answers] == predicted


def test_the_best_models_of_tasks_are_kept_only_on_request(tmp_path: Path) -> None:
    run = train(write_experiment(tmp_path))
    assert not run.task_best.exists()
    for refused in (
        polytask("evaluate", run.path, "--task-best"),
        polytask("predict", run.path, tmp_path / "test.jsonl", "--task-best"),
    ):
        assert refused.exit_code == 2
        assert "holds no best model of each task. Train with training.task_best" in refused.stderr


def test_patience_ends_a_training(tmp_path: Path) -> None:
    run = train(
        write_experiment(tmp_path), "training.epochs=50", "training.patience=2",
        "training.learning_rate=0.5", "training.schedule=constant",
    )  # fmt: skip
    better = [record["best"] for record in validations(run)]
    assert len(better) < 50
    assert better[-2:] == [False, False]


def test_the_same_seed_gives_the_same_model_and_another_one_another(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path)
    first, second = train(recipe, name="first"), train(recipe, name="second")
    other = train(recipe, "training.seed=1", name="other")
    models = [read_tensors(run.model / "model.safetensors") for run in (first, second, other)]
    same = [
        all(models[0][name].equal(tensor) for name, tensor in model.items()) for model in models
    ]
    assert same == [True, True, False]


def test_only_rows_with_a_label_are_trained_on(tmp_path: Path) -> None:
    rows = reviews(48)
    for number, row in enumerate(rows):
        row["mood"] = row["mood"] if number % 3 == 0 else None
        row["stars"] = row["stars"] if number % 4 == 0 else None
    run = train(write_experiment(tmp_path, rows={"train": rows}), "training.epochs=1")
    assert sum(record["rows"] for record in steps(run)) == 24  # 16 + 12 - 4 that have both


def test_a_task_may_be_limited_to_some_rows(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path)
    run = train(recipe, "tasks.mood.limit=10", "tasks.stars.limit=7", "training.epochs=1")
    assert 10 <= sum(record["rows"] for record in steps(run)) <= 17


def test_a_task_that_only_the_last_row_is_labelled_for_is_trained(tmp_path: Path) -> None:
    rows = [{**row, "stars": None} for row in reviews(48)]
    rows[-1]["stars"] = 5.0
    run = train(write_experiment(tmp_path, rows={"train": rows}), "training.epochs=1")
    assert sum("stars" in record["losses"] for record in steps(run)) == 1
    assert read_json(run.facts)["shared_parameters"] > 0


def test_a_task_without_any_label_is_refused(tmp_path: Path) -> None:
    rows = [{**row, "stars": None} for row in reviews(20)]
    recipe = write_experiment(tmp_path, rows={"train": rows})
    result = polytask("train", recipe, "--run", tmp_path / "run")
    assert result.exit_code == 2
    assert "stars" in result.stderr
    assert not (tmp_path / "run").exists()


def test_weights_and_losses_are_those_of_the_tasks_present(tmp_path: Path) -> None:
    run = train(write_experiment(tmp_path), "balancing={kind: fixed, weights: [1, 0.25]}")
    for record in steps(run):
        assert record["weights"] == {"mood": 1.0, "stars": 0.25}
        assert set(record["losses"]) == {"mood", "stars"}


def test_scores_and_predictions_belong_to_the_split_that_was_asked_for(tmp_path: Path) -> None:
    run = train(write_experiment(tmp_path))
    assert set(read_json(run.scores)) == {"test"}
    assert polytask("evaluate", run.path, "--split", "validation").exit_code == 0
    assert set(read_json(run.scores)) == {"test", "validation"}
    for split in ("test", "validation"):
        lines = (run.predictions / split / "mood.jsonl").read_text("utf-8").splitlines()
        assert len(lines) == 16
        assert f"{split}.jsonl:1" in json.loads(lines[0])["place"]
    refused = polytask("evaluate", run.path, "--split", "dev")
    assert refused.exit_code == 2
    assert "train, validation, test" in refused.stderr


def test_new_rows_are_predicted_like_those_that_were_scored(tmp_path: Path) -> None:
    run = train(write_experiment(tmp_path))
    scored = (run.predictions / "test" / "mood.jsonl").read_text("utf-8").splitlines()
    from_file = [*api.predict(run.path, tmp_path / "test.jsonl")]
    from_rows = [*api.predict(run.path, [{"text": row["text"]} for row in reviews(16, 200)])]
    assert from_file == from_rows
    assert [row["mood"] for row in from_file] == [
        {
            "label": line["prediction"],
            "confidence": line["confidence"],
            "probabilities": line["probabilities"],
        }
        for line in map(json.loads, scored)
    ]
    assert set(from_file[0]["mood"]["probabilities"]) == {"good", "bad"}
    result = polytask("predict", run.path, tmp_path / "test.jsonl")
    assert [json.loads(line) for line in result.stdout.splitlines()] == from_file


def test_tasks_that_cannot_read_new_rows_are_named(tmp_path: Path) -> None:
    two = RECIPE.replace(
        "  stars:", "  kind: {kind: classification, input: mood, target: mood}\n  stars:"
    )
    run = train(write_experiment(tmp_path, two))
    rows = write_rows(tmp_path / "new.jsonl", [{"text": "fine"}])
    result = polytask("predict", run.path, rows)
    assert "note: not predicted, as the rows have no mood: kind.\n" in result.stderr
    assert set(json.loads(result.stdout)) == {"mood", "stars"}


def test_rows_that_no_task_can_read_are_refused(tmp_path: Path) -> None:
    run = train(write_experiment(tmp_path))
    (tmp_path / "new.jsonl").write_text('{"review": "fine"}\n')
    result = polytask("predict", run.path, tmp_path / "new.jsonl")
    assert result.exit_code == 2
    assert "review" in result.stderr
    assert "'text'" in result.stderr


def test_splits_are_kept_so_that_they_never_move(tmp_path: Path) -> None:
    cut = RECIPE.replace(", validation: validation.jsonl, test: test.jsonl", "").replace(
        "train: train.jsonl", "path: train.jsonl, split: {validation: 0.25, test: 0.25}"
    )
    run = train(write_experiment(tmp_path, cut))
    before = api.evaluate(run.path, "test")
    text = run.recipe.read_text("utf-8")
    run.recipe.write_text(text.replace("validation: 0.25", "validation: 0.5"), encoding="utf-8")
    assert api.evaluate(run.path, "test") == before


def test_data_that_has_changed_since_it_was_split_is_refused(tmp_path: Path) -> None:
    run = train(write_experiment(tmp_path))
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"text": "one more", "mood": "good", "stars": 1.0}\n')
    result = polytask("evaluate", run.path)
    assert result.exit_code == 2
    assert "train.jsonl" in result.stderr


def test_tasks_on_words_and_answers_need_no_columns_named(tmp_path: Path) -> None:
    """Where files name their columns as is usual, the kinds of the tasks are enough."""
    words = [
        ("Cats", "cat", "NOUN", "NNS", "Number=Plur", 2, "nsubj"),
        ("sleep", "sleep", "VERB", "VBP", "_", 0, "root"),
    ]
    lines = [
        f"{place}\t{form}\t{lemma}\t{upos}\t{xpos}\t{feats}\t{head}\t{relation}\t_\t_"
        for place, (form, lemma, upos, xpos, feats, head, relation) in enumerate(words, 1)
    ]
    (tmp_path / "trees.conllu").write_text(20 * ("\n".join(lines) + "\n\n"), encoding="utf-8")
    (tmp_path / "names.conll").write_text(20 * "Ann B-PER\nsleeps O\n\n", encoding="utf-8")
    answer = {"text": "Ann", "start": 0}
    row = {"question": "Who sleeps?", "context": "Ann sleeps.", "answers": [answer]}
    write_rows(tmp_path / "answers.jsonl", [row] * 20)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "data:\n"
        "  trees: {kind: conllu, train: trees.conllu}\n"
        "  names: {kind: conll, train: names.conll}\n"
        "  answers: {kind: jsonl, train: answers.jsonl}\n"
        "encoder: {kind: transformer, width: 8, heads: 2, layers: 1, vocabulary: 300}\n"
        "tasks:\n"
        "  tree: {kind: parsing, from: trees, hidden: 8, relation_hidden: 8}\n"
        "  feats: {kind: feats, from: trees}\n"
        "  lemma: {kind: lemma, from: trees}\n"
        "  names: {kind: tagging, from: names}\n"
        "  answer: {kind: span, from: answers}\n"
        "training: {steps: 1}\n",
        encoding="utf-8",
    )
    run = train(recipe)
    [step] = steps(run)
    assert sorted(step["losses"]) == ["answer", "feats", "lemma", "names", "tree"]
    assert [*step["parts"]] == ["tree"]
    assert [*step["parts"]["tree"]] == ["heads", "relations"]
    assert sum(step["parts"]["tree"].values()) == pytest.approx(step["losses"]["tree"], rel=1e-6)


def test_json_to_predict_may_be_lines_or_a_list(tmp_path: Path) -> None:
    run = train(write_experiment(tmp_path))
    rows = reviews(3)
    write_rows(tmp_path / "lines.json", rows)
    write_json(tmp_path / "list.json", rows)
    lines, listed = (
        [*api.predict(run.path, tmp_path / name)] for name in ("lines.json", "list.json")
    )
    assert lines == listed
    assert len(lines) == 3


QUESTIONS = """\
data:
  parcels: {kind: squad, train: train.json, test: test.json, split: {validation: 0.2}}
encoder:
  kind: huggingface
  config: {model_type: bert, num_hidden_layers: 1, num_attention_heads: 2, hidden_size: 16, intermediate_size: 32}
  vocabulary: 300
  max_length: 32
tasks:
  answer: span
training: {steps: 4, batch_rows: 8, precision: fp32, threads: 1, device: cpu}
"""


def test_answers_are_written_by_the_ids_of_their_questions(tmp_path: Path) -> None:
    """As the scripts of SQuAD and CMRC 2018 read them."""
    for split, first in (("train", 0), ("test", 100)):
        paragraphs = []
        for number, row in enumerate(reviews(20, first), start=first):
            answer = {"text": "was", "answer_start": row["text"].index("was")}
            found = {"id": f"{number} a", "question": "How?", "answers": [answer]}
            missing = {"id": f"{number} b", "question": "Where?", "is_impossible": True}
            paragraphs.append({"context": row["text"], "qas": [found, missing]})
        content = {"version": "v2.0", "data": [{"title": "Parcels", "paragraphs": paragraphs}]}
        write_json(tmp_path / f"{split}.json", content)
    (tmp_path / "recipe.yaml").write_text(QUESTIONS, encoding="utf-8")
    run = train(tmp_path / "recipe.yaml")
    written = read_json(run.predictions / "test" / "answer.json")
    assert [*written] == [f"{number} {which}" for number in range(100, 120) for which in "ab"]
    lines = (run.predictions / "test" / "answer.jsonl").read_text("utf-8").splitlines()
    predictions = [json.loads(line)["prediction"] for line in lines]
    assert [*written.values()] == [each[0]["text"] if each else "" for each in predictions]
