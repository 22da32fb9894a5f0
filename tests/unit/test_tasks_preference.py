"""Preferences: known values of the losses, how pairs are read, and the model before training."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from polytask.assembly.run.checking import check
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.assembly.run.training import train
from polytask.core.errors import DataError, RecipeError, RunError
from polytask.core.prompts import Conversation
from polytask.core.run_folder import RunFolder
from polytask.core.tensors import read_tensors
from polytask.encoders.huggingface import HuggingFaceEncoder
from polytask.recipe import load
from polytask.tasks import Task, metrics, tasks
from polytask.tasks.preference_losses import dpo, ipo, kto, odds_ratio, simpo

LOGS = torch.tensor([-2.0, -1.0, -5.0], dtype=torch.double)
OTHERS = torch.tensor([-3.0, -4.0, -2.0], dtype=torch.double)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_losses_are_those_of_the_papers() -> None:
    margin, start = LOGS - OTHERS, torch.tensor([0.5, 3.0, -1.0], dtype=torch.double)
    gains = [0.5, 0.0, -2.0]
    assert dpo(margin, start, 0.3).tolist() == pytest.approx(
        [-math.log(sigmoid(0.3 * gain)) for gain in gains]
    )
    assert ipo(margin, start, 0.5).tolist() == pytest.approx([(gain - 1) ** 2 for gain in gains])
    assert simpo(margin, 2.0, 1.0).tolist() == pytest.approx(
        [-math.log(sigmoid(2 * gain - 1)) for gain in (1.0, 3.0, -3.0)]
    )
    odds = [math.exp(log) / (1 - math.exp(log)) for log in LOGS.tolist()]
    others = [math.exp(log) / (1 - math.exp(log)) for log in OTHERS.tolist()]
    assert odds_ratio(LOGS, OTHERS).tolist() == pytest.approx(
        [-math.log(sigmoid(math.log(a / b))) for a, b in zip(odds, others, strict=True)]
    )
    liked = torch.tensor([1.0, 0.0, 1.0], dtype=torch.double)
    point = max(0.0, sum(gains) / 3)
    assert kto(torch.tensor(gains, dtype=torch.double), liked, 0.3).tolist() == pytest.approx(
        [
            1 - sigmoid(0.3 * (gain - point) * (1 if own else -1))
            for gain, own in zip(gains, liked.tolist(), strict=True)
        ]
    )


def test_certain_answers_have_finite_odds() -> None:
    logs = torch.zeros(2, requires_grad=True)
    odds_ratio(logs, torch.tensor([-1.0, 0.0])).sum().backward()
    assert logs.grad is not None
    assert logs.grad.isfinite().all()


def approval(columns: tuple[str, ...] = ("prompt", "completion"), **options: Any) -> Task:
    task = tasks.build({"kind": "approval", **options}, "good")
    task.set_columns(columns)
    return task


def preference(columns: tuple[str, ...] = ("prompt", "chosen", "rejected"), **options: Any) -> Task:
    task = tasks.build({"kind": "preference", **options}, "better")
    task.set_columns(columns)
    return task


USER, YES = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}
NO = {"role": "assistant", "content": "no"}
PAIRS: dict[str, dict[str, Any]] = {
    "texts": {"prompt": "hi", "chosen": "yes", "rejected": "no"},
    "turns": {"prompt": [USER], "chosen": [YES], "rejected": [NO]},
    "json": {"prompt": json.dumps([USER]), "chosen": '"yes"', "rejected": '"no"'},
    "whole": {"chosen": [USER, YES], "rejected": [USER, NO]},
}


@pytest.mark.parametrize("form", PAIRS)
def test_pairs_of_any_form_are_two_conversations(form: str) -> None:
    row = PAIRS[form]
    task = preference(tuple(row))
    assert task.reference(row) is True
    found = [one for (one,) in task.texts(row, tuple(row.values()), training=True)]
    expected = [Conversation([USER, answer], (), "last") for answer in (YES, NO)]
    assert found == expected


def test_answers_alone_are_liked_or_not() -> None:
    task = approval()
    row = {"prompt": "hi", "completion": "yes", "label": "1"}
    assert [task.reference({**row, "label": own}) for own in (True, "0", "yes", None)] == [
        True,
        False,
        True,
        None,
    ]
    [(found,)] = task.texts(row, ("hi", "yes"), training=False)
    assert found == Conversation([USER, YES], (), "last")
    with pytest.raises(DataError, match=r"column 'label': found 'maybe', expected true or false"):
        task.reference({**row, "label": "maybe"})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**PAIRS["texts"], "rejected": "yes"}, "chosen and rejected are equal"),
        ({**PAIRS["whole"], "chosen": [USER]}, "column 'chosen': found user at the end"),
        ({**PAIRS["turns"], "rejected": [USER]}, "column 'rejected': turn 2: found user after"),
        ({**PAIRS["whole"], "rejected": [NO]}, "column 'rejected': found assistant at the end"),
    ],
)
def test_pairs_that_cannot_be_compared_are_named(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        preference(tuple(row)).reference(row)


def test_the_rejected_answer_is_one_of_the_other_options() -> None:
    task = preference(("prompt",), options=["yes", "no", "maybe"])
    row = {"prompt": "hi", "completion": "no"}
    found = [one for (one,) in task.texts(row, ("hi",), training=True)]
    assert found == [one for (one,) in task.texts(row, ("hi",), training=False)]
    chosen, rejected = (one.turns[-1]["content"] for one in found)
    assert (chosen, rejected in ("yes", "maybe")) == ("no", True)
    drawn = {
        task.texts({**row, "prompt": text}, (text,), training=True)[1][0].turns[-1]["content"]
        for text in "abcdefgh"
    }
    assert drawn == {"yes", "maybe"}
    with pytest.raises(DataError, match=r"column 'completion': .*yes, no, maybe"):
        task.reference({"prompt": "hi", "completion": "ja"})


def test_columns_are_a_prompt_and_two_answers() -> None:
    with pytest.raises(RecipeError, match=r"expected a prompt and two answers, found prompt"):
        preference(("prompt",))
    with pytest.raises(RecipeError, match=r"expected a prompt and an answer, found a, b, c"):
        approval(("a", "b", "c"))


def test_metrics_of_preferences() -> None:
    pairs = [{"chosen": -1.0, "rejected": -2.0}, {"chosen": -3.0, "rejected": -3.0}]
    pairs.append({"chosen": -3.0, "rejected": -1.0})
    built = {name: metrics.build(name, ()) for name in ("preference_accuracy", "chosen_nats")}
    found = {name: metric([True] * 3, pairs) for name, metric in built.items()}
    assert found == {"preference_accuracy": pytest.approx(0.5), "chosen_nats": 7 / 3}
    answers = [-1.0, -2.0, -3.0]
    auc = metrics.build("liked_auc", ())
    assert auc([True, False, True], answers) == 0.5
    assert auc([True, True, False], answers) == 1.0
    assert auc.why_uninformative([True, True])


RECIPE = """
data:
  pairs: {{kind: jsonl, path: {folder}/pairs.jsonl, split: {{validation: 0.2, test: 0.2}}}}
  liked: {{kind: jsonl, path: {folder}/liked.jsonl, split: {{validation: 0.2, test: 0.2}}}}
encoder:
  kind: huggingface
  chat_template: chatml
  vocabulary: 300
  max_length: 64
  dropout: 0
  config: {{model_type: llama, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2,
    intermediate_size: 32, tie_word_embeddings: true}}
tasks:
  dpo: {{kind: preference, from: pairs}}
  kto: {{kind: approval, from: liked}}
training: {{epochs: {epochs}, batch_rows: 16, learning_rate: 1e-2, seed: 3}}
"""
WORDS = ("red", "blue", "green")


def experiment(folder: Path, epochs: int = 4) -> Path:
    """Write pairs in which the same answer is chosen for every prompt."""
    draw = random.Random(0)
    pairs, liked = [], []
    for number in range(60):
        prompt = f"say {draw.choice(WORDS)} {number}"
        pairs.append({"prompt": prompt, "chosen": "yes, do", "rejected": "no, never"})
        is_liked = number % 2 == 0
        answer = "yes, do" if is_liked else "no, never"
        liked.append({"prompt": f"{prompt}!", "completion": answer, "label": is_liked})
    for name, rows in (("pairs", pairs), ("liked", liked)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(folder=folder, epochs=epochs))
    return path


def test_a_model_learns_preferences_from_the_model_before(tmp_path: Path) -> None:
    recipe = load(experiment(tmp_path, 6))
    assert not check(recipe).mistakes
    run = RunFolder(train(recipe, tmp_path / "run").path)
    start = read_tensors(run.start_scores)
    assert {name: tuple(own.shape) for name, own in start.items()} == {
        "0.dpo": (36, 3),
        "1.kto": (36, 2),
    }
    first = next(record["losses"] for record in run.records() if "losses" in record)
    # before the first step nothing has moved, so losses are those of equal models
    equal = {"dpo": math.log(2), "kto": 0.5}
    assert first == {name: pytest.approx(equal[name], abs=1e-4) for name in first}
    *_, last = (record["validation"] for record in run.records() if "validation" in record)
    assert last["dpo"]["preference_accuracy"] == 1


def test_scores_before_training_are_needed_to_resume(tmp_path: Path) -> None:
    recipe = load(experiment(tmp_path, 1))
    run = RunFolder(train(recipe, tmp_path / "run").path)
    run.start_scores.unlink()
    longer = load(experiment(tmp_path, 2))
    with pytest.raises(RunError, match=r"start_scores.safetensors: missing"):
        train(longer, run.path, resume=True)


def test_predictions_are_log_probabilities_of_transformers(tmp_path: Path) -> None:
    run = LoadedRun.load(train(load(experiment(tmp_path, 1)), tmp_path / "run"))
    row = {"prompt": "say red", "chosen": "red", "rejected": "blue green"}
    [record] = run.predict([row], ["dpo"])
    assert isinstance(run.encoder, HuggingFaceEncoder)
    model = transformers.AutoModelForCausalLM.from_config(run.encoder.config)
    model.get_decoder().load_state_dict(run.encoder.model.state_dict())
    model.tie_weights()
    for name, own in record["dpo"]["label"].items():
        turns = [
            {"role": "user", "content": "say red"},
            {"role": "assistant", "content": row[name]},
        ]
        [(inputs,)] = [run.encoder.prepare([(Conversation(turns, (), "last"),)])]
        ids, learned = torch.tensor(inputs["ids"]), torch.tensor(inputs["learned"]) > 0
        with torch.inference_mode():
            logs = model(ids.unsqueeze(0)).logits[0, :-1].log_softmax(-1)
        found = logs.gather(1, ids[1:, None]).squeeze(1)[learned[1:]]
        assert own == pytest.approx(float(found.mean()), abs=1e-4)
