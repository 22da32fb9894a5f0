"""Instructions: how rows are worded, what is learned, how answers are written or chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.nn import functional

from polytask.assembly.run.checking import check
from polytask.core.batch import Batch, Targets
from polytask.core.encoder import Encoder
from polytask.core.errors import DataError, RecipeError
from polytask.core.prompts import LEARNED, Prompt
from polytask.core.texts import collate_texts, prepare_texts
from polytask.encoders import encoders
from polytask.encoders.huggingface import HuggingFaceEncoder
from polytask.modeling import MultiTaskModel
from polytask.recipe import load
from polytask.sharing import architectures
from polytask.tasks import Task, tasks
from polytask.tasks.instruction import Instruction
from polytask.tasks.template import Template
from tests.fakes import causal, table_of

GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 64}
CASTS: list[dict[str, Any]] = [
    {"kind": "huggingface", "config": GPT2, "max_length": 64},
    {"kind": "transformer", "causal": True, "layers": 1, "width": 16, "heads": 2},
]
ROWS: list[dict[str, Any]] = [
    {"question": "is snow white?", "completion": "yes"},
    {"question": "is a long coal, dug up far below the ground, white?", "completion": "no, black"},
    {"question": "may it?", "completion": 7},
]
TEMPLATE = "{{ question }} Answer:"


def encoder_of(options: dict[str, Any] = CASTS[0], **others: Any) -> Encoder:
    torch.manual_seed(0)
    encoder = encoders.build({**options, "vocabulary": 300, "dropout": 0, **others}, ())
    encoder.fit([(f"{row['question']} Answer: {row['completion']}",) for row in ROWS])
    return encoder


def said(inputs: dict[str, Any]) -> int:
    """Return the number of tokens of the completion of a row."""
    return int(sum(inputs.get(LEARNED, ())))


def instruction(**options: Any) -> Task:
    task = tasks.build({"kind": "instruction", "template": TEMPLATE, **options}, "ask")
    task.set_columns(
        ["question", "choices"] if options.get("options") == "choices" else ["question"]
    )
    return task


def model_of(encoder: Encoder, task: Task, sharing: str = "hard") -> MultiTaskModel:
    made = {task.name: task}
    return MultiTaskModel(architectures.build(sharing, encoder, [task.name]), made).eval()


def fields_of(task: Task, row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in task.input_columns)


def prepared(encoder: Encoder, task: Task, *, training: bool, rows: Any = ROWS) -> Any:
    texts = [task.texts(row, fields_of(task, row), training=training) for row in rows]
    return prepare_texts(texts, encoder.prepare)


def lesson_batch(encoder: Encoder, task: Task) -> Batch:
    inputs = prepared(encoder, task, training=True)
    values = task.collate([task.encode("", row) for row in inputs])
    targets = {task.name: Targets(torch.arange(len(ROWS)), values)}
    return Batch(collate_texts(inputs, encoder.collate), targets, len(ROWS))


def answers(model: MultiTaskModel, encoder: Encoder, task: Task, rows: Any = ROWS) -> list[str]:
    inputs = collate_texts(prepared(encoder, task, training=False, rows=rows), encoder.collate)
    scores = model(inputs, {task.name: torch.arange(len(rows))})[task.name]
    return task.decode(scores, [fields_of(task, row) for row in rows]).labels


def log_probabilities(encoder: Encoder, ids: list[int]) -> Tensor:
    """Of each token but the first, given those before it."""
    inputs = {"ids": torch.tensor([ids]), "lengths": torch.tensor([len(ids)])}
    logits_LV = encoder(inputs).tokens_BLD[0] @ table_of(encoder).weight.T
    logs_LV = logits_LV[:-1].log_softmax(-1)
    found_L: Tensor = logs_LV.gather(1, torch.tensor(ids[1:]).unsqueeze(1)).squeeze(1)
    return found_L


def test_a_row_is_worded_by_templates() -> None:
    task = instruction(completion=" {{ ['bad', 'good'][completion] }}.")
    row = {"question": "how is it?", "completion": 1}
    assert task.reference(row) == "good."
    [(learned,)] = task.texts(row, ("how is it?",), training=True)
    assert learned == Prompt("how is it? Answer:", " good.")
    [(asked,)] = task.texts({"question": "how is it?"}, ("how is it?",), training=False)
    assert asked == Prompt("how is it? Answer:", room=64)


def test_templates_reach_nothing_but_columns_and_change_none() -> None:
    for text in ("{{ ''.__class__.__mro__ }}", "{{ items.append(1) or '' }}"):
        with pytest.raises(DataError, match=r"tasks\.t\.template"):
            Template("tasks.t.template", text)({"items": [1]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "{{ question"}, r"tasks.ask.template: line 1: "),
        ({"template": "{{ queston }}"}, r"'queston' is no input column. Did you mean 'question'"),
        ({"completion": "{{ anser }}"}, r"tasks.ask.completion: 'anser' is no input column"),
        ({"options": "choises"}, r"tasks.ask.options: 'choises' is no input column"),
        ({"pattern": "["}, r"tasks.ask.pattern: "),
        ({"pattern": "#"}, r"tasks.ask.pattern: '#' has no group"),
    ],
)
def test_what_does_not_fit_is_said_before_rows_are_read(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        instruction(**options)


def test_a_row_that_cannot_be_worded_is_named_with_its_column(tmp_path: Path) -> None:
    for line, marks in enumerate(["3", "null"]):
        with (tmp_path / "rows.jsonl").open("a") as file:
            file.write(f'{{"question": "a", "marks": [{marks}, {line}], "completion": "b"}}\n')
    (tmp_path / "recipe.yaml").write_text("""
data: {rows: {kind: jsonl, train: rows.jsonl, validation: rows.jsonl}}
encoder: {kind: transformer, causal: true}
tasks: {ask: {kind: instruction, input: [question, marks], template: "{{ question }} {{ marks[0] + 1 }}"}}
""")
    recipe = load(tmp_path / "recipe.yaml")
    [mistake] = check(recipe).mistakes
    assert "rows.jsonl:2: tasks.ask.template: " in mistake
    assert "marks=[None, 1]" in mistake


def test_a_null_is_not_written_out() -> None:
    with pytest.raises(DataError, match=r"a column is null; write .* Columns: question=None"):
        instruction().texts({}, (None,), training=False)
    assert Template("t", "{{ question or 'none' }}")({"question": None}) == "none"


@pytest.mark.parametrize("options", CASTS, ids=["gpt2", "transformer"])
def test_the_loss_is_that_of_completions_and_their_end(options: dict[str, Any]) -> None:
    encoder, task = encoder_of(options), instruction(max_tokens=8)
    rows = prepared(encoder, task, training=True)
    assert [causal(encoder).detokenizer.text(row["ids"][-said(row) : -1]) for row in rows] == [
        " yes",
        " no, black",
        " 7",
    ]
    assert all(row["ids"][-1] == causal(encoder).detokenizer.end for row in rows)
    model, batch = model_of(encoder, task), lesson_batch(encoder, task)
    own = [-log_probabilities(encoder.eval(), row["ids"])[-said(row) :] for row in rows]
    torch.testing.assert_close(model.losses(batch)["ask"], torch.cat(own).mean())
    assert int(task.label_counts(batch.targets["ask"].values).sum()) == len(torch.cat(own))


def test_a_prompt_that_is_too_long_loses_its_start() -> None:
    encoder, task = encoder_of(max_length=16), instruction()
    [row] = prepared(encoder, task, training=True, rows=[ROWS[1]])
    whole = encoder_of().prepare([(Prompt("", f"{ROWS[1]['question']} Answer: no, black"),)])[0]
    assert len(row["ids"]) == 16
    assert row["ids"][-15:] == whole["ids"][-15:]
    assert row["cut"]
    [asked] = prepared(encoder, instruction(max_tokens=6), training=False, rows=[ROWS[1]])
    assert len(asked["ids"]) == 10
    assert said(asked) == 0


def test_what_is_written_leaves_room_for_a_prompt() -> None:
    with pytest.raises(RecipeError, match=r"max_tokens: 16 tokens .* encoder.max_length, 16"):
        model_of(encoder_of(max_length=16), instruction(max_tokens=16))


def test_greedy_texts_are_those_of_the_transformers_library() -> None:
    encoder, task = encoder_of(), instruction(max_tokens=8)
    model = model_of(encoder, task)
    assert isinstance(encoder, HuggingFaceEncoder)
    peer: Any = transformers.GPT2LMHeadModel(encoder.config)  # type: ignore[arg-type]
    peer.transformer.load_state_dict(encoder.model.state_dict())
    peer.tie_weights()
    peer.eval()
    expected = []
    for row in prepared(encoder, task, training=False):
        ids = torch.tensor([row["ids"]])
        found = peer.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False,
            eos_token_id=causal(encoder).detokenizer.end, pad_token_id=0,
        )  # fmt: skip
        expected.append(causal(encoder).detokenizer.text(found[0, ids.shape[1] :].tolist()).strip())
    assert answers(model, encoder, task) == expected
    assert answers(model, encoder, task, ROWS[1:2]) == expected[1:2]
    assert any(expected)


def test_a_model_with_an_output_of_its_own_brings_it(tmp_path: Path) -> None:
    base = encoder_of()
    assert isinstance(base, HuggingFaceEncoder)
    base.save(tmp_path)
    torch.manual_seed(1)
    peer = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(base.tokenizer), hidden_size=16, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=16, pad_token_id=0, tie_word_embeddings=False,
        )
    ).eval()  # fmt: skip
    peer.save_pretrained(tmp_path)
    encoder = encoders.build({"kind": "huggingface", "path": str(tmp_path), "max_length": 64}, ())
    encoder.fit([])
    task, other = instruction(max_tokens=8), instruction(max_tokens=8)
    model = model_of(encoder, task, "lora")
    rows = prepared(encoder, task, training=True)
    logits_LV = peer(torch.tensor([rows[0]["ids"]])).logits[0, -said(rows[0]) - 1 : -1]
    said_n = torch.tensor(rows[0]["ids"][-said(rows[0]) :])
    nats_n = model(lesson_batch(encoder, task).inputs, {"ask": torch.arange(1)}, {"ask": said_n})
    torch.testing.assert_close(
        nats_n["ask"]["nats_bK"][0], functional.cross_entropy(logits_LV, said_n, reduction="none")
    )
    assert not model.heads["ask"].token_vectors.requires_grad
    other.name = "other"
    heads = MultiTaskModel(
        architectures.build("hard", encoder, ["ask", "other"]), {"ask": task, "other": other}
    ).heads
    assert heads["ask"].token_vectors is heads["other"].token_vectors


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("listed", [False, True])
def test_the_likeliest_option_is_chosen(per_token: bool, listed: bool) -> None:
    choices = [["yes", "no, black", "a"], ["a long coal", "no"], ["7"]]
    rows = [{**row, "choices": own} for row, own in zip(ROWS, choices, strict=True)]
    encoder = encoder_of()
    task = instruction(options="choices" if listed else choices[0], per_token=per_token)
    expected = []
    for row in rows:
        own = row["choices"] if listed else choices[0]
        scores = []
        for choice in own:
            prompt = Prompt(f"{row['question']} Answer:", f" {choice}")
            [inputs] = encoder.prepare([(prompt,)])
            logs = log_probabilities(encoder.eval(), inputs["ids"])[-said(inputs) :]
            scores.append((logs.mean() if per_token else logs.sum()).item())
        expected.append(own[scores.index(max(scores))])
    assert answers(model_of(encoder, task), encoder, task, rows) == expected


def test_an_answer_is_found_in_a_completion_by_its_pattern() -> None:
    task = instruction(pattern=r"#### (\S+)")
    row = {"question": "2 + 3?", "completion": "2 + 3 = 5\n#### 5"}
    assert task.reference(row) == "5"
    assert task.training_label(row) == " 2 + 3 = 5\n#### 5"
    assert isinstance(task, Instruction)
    assert task.answer_in(" it is #### 6 .") == "6"
    assert task.answer_in("5") == ""
    with pytest.raises(DataError, match="no answer in ' 5'"):
        task.reference({"question": "", "completion": "5"})


@pytest.mark.parametrize("options", CASTS, ids=["gpt2", "transformer"])
@pytest.mark.parametrize("sharing", ["hard", "task_lora", "independent"])
def test_what_was_learned_is_written(options: dict[str, Any], sharing: str) -> None:
    encoder, task = encoder_of(options), instruction(max_tokens=10)
    model = model_of(encoder, task, sharing)
    model.requires_grad_(True)
    batch = lesson_batch(encoder, task)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        loss = model.losses(batch)["ask"]
        loss.backward()
        optimiser.step()
    assert loss < 0.05
    assert answers(model, encoder, task) == ["yes", "no, black", "7"]


def test_an_encoder_that_looks_ahead_is_refused() -> None:
    with pytest.raises(RecipeError, match="predicts the next token, but the encoder reads it"):
        model_of(encoder_of(CASTS[1], causal=False), instruction())


def test_an_encoder_that_writes_no_texts_is_refused() -> None:
    encoder = encoders.build({"kind": "bag", "min_count": 1}, ())
    encoder.fit([("a text",)])
    with pytest.raises(RecipeError, match="continues texts, which this encoder does not read"):
        model_of(encoder, instruction())


def test_rows_with_completions_stand_beside_others_in_a_batch() -> None:
    encoder = encoder_of()
    rows = [*prepared(encoder, instruction(), training=True), *encoder.prepare([("plain",)])]
    learned_BL = encoder.collate(rows)[LEARNED]
    assert learned_BL.sum(1).tolist() == [said(row) for row in rows]
    assert len({LEARNED in row for row in rows}) == 2


@pytest.mark.parametrize("value", [1, 1.0, "1"])
def test_a_number_is_the_option_of_that_number_in_every_file_format(value: Any) -> None:
    task = instruction(options=[1, 2])
    assert task.reference({"question": "?", "completion": value}) == "1"


def test_a_label_that_is_no_option_is_refused() -> None:
    task = instruction(options=["Yes", "No"])
    with pytest.raises(DataError, match=r"column 'completion': no label 'yes'.* Labels: Yes, No"):
        task.reference({"question": "?", "completion": "yes"})
    assert task.reference({"question": "?", "completion": " "}) is None
