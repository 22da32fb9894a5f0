"""Conversations as people store them: how their turns are read, and the task on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polytask.assembly.run.checking import check
from polytask.core.errors import DataError, RecipeError
from polytask.core.prompts import Conversation
from polytask.encoders import encoders
from polytask.encoders.chat_template import load_template
from polytask.recipe import load
from polytask.tasks import Task, tasks
from polytask.tasks.turns import read_tools, read_turns

USER, ANSWER = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
CALL = {"name": "weather", "arguments": {"city": "Paris"}}
CALLED = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "function": CALL}],
}
RESULT = {"role": "tool", "content": "12"}

FORMS: dict[str, dict[str, Any]] = {
    "openai": {"messages": [USER, ANSWER]},
    "json": {"messages": json.dumps([USER, ANSWER])},
    "nulls": {"messages": [{**USER, "tool_calls": None}, {**ANSWER, "weight": None}]},
    "sharegpt": {
        "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
    },
    "alpaca": {"instruction": "hi", "input": "", "output": [ANSWER]},
    "completion": {"prompt": [USER], "completion": [ANSWER]},
}


@pytest.mark.parametrize("form", FORMS)
def test_conversations_of_any_form_are_the_same_turns(form: str) -> None:
    assert read_turns(FORMS[form]) == [USER, ANSWER]


def test_systems_tools_and_their_calls_are_read() -> None:
    given = {
        "system": "Be brief.",
        "conversations": [
            {"from": "human", "value": "hi"},
            {"from": "function_call", "value": json.dumps(CALL)},
            {"from": "observation", "value": "12"},
            {"from": "gpt", "value": "hello"},
        ],
        "tools": json.dumps([{"type": "function", "function": {"name": "weather"}}]),
    }
    system = {"role": "system", "content": "Be brief."}
    assert read_turns(given) == [system, USER, CALLED, RESULT, ANSWER]
    assert read_tools(given) == [{"type": "function", "function": {"name": "weather"}}]
    as_text = {**CALLED, "tool_calls": [{"function": {**CALL, "arguments": '{"city": "Paris"}'}}]}
    assert read_turns({"messages": [USER, as_text, RESULT]}) == [USER, CALLED, RESULT]


def test_arguments_keep_their_types_and_nulls_in_json() -> None:
    called = {
        **CALLED,
        "tool_calls": [{"function": {"name": "f", "arguments": {"a": None, "b": 1}}}],
    }
    [_, turn] = read_turns({"messages": json.dumps([USER, called])})
    assert turn["tool_calls"][0]["function"]["arguments"] == {"a": None, "b": 1}


FAULTS: dict[str, Any] = {
    r"turn 2: found user after user, expected assistant": [USER, USER],
    r"turn 3: found system after assistant, expected tool or user": [
        USER,
        ANSWER,
        {"role": "system", "content": "x"},
    ],
    r"turn 3: found tool after assistant, expected user": [USER, ANSWER, RESULT],
    r"turn 1: found tool at the start": [RESULT],
    r"turn 2: the assistant turn is empty": [USER, {"role": "assistant", "content": " "}],
    r"turn 1: found the role 'bot', expected one of system": [{"role": "bot", "content": "x"}],
    r"turn 1: found the role None": [{"content": "x"}],
    r"turn 1: expected role and content, found 'hi'": ["hi"],
    r"turn 1: expected content of text": [{"role": "user", "content": [{"type": "image"}]}],
    r"turn 2: expected a tool call with a name": [USER, {**CALLED, "tool_calls": [{"x": 1}]}],
    r"turn 2: expected a tool call as JSON": [
        USER,
        {**CALLED, "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
    ],
    r"turn 2: weight: expected a number of 0 or more": [USER, {**ANSWER, "weight": -1}],
    r"column 'messages': expected a list of turns, or a text, found \{": {"role": "user"},
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_turn_that_cannot_be_read_is_named(message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_turns({"messages": FAULTS[message]})


def chat(columns: tuple[str, ...] = ("messages",), **options: Any) -> Task:
    task = tasks.build({"kind": "chat", **options}, "talk")
    task.set_columns(columns)
    return task


def conversations(task: Task, row: dict[str, Any], *, training: bool) -> list[Conversation]:
    fields = tuple(row.get(name) for name in task.input_columns)
    return [one for (one,) in task.texts(row, fields, training=training)]


def test_the_last_assistant_turn_is_predicted_from_those_before() -> None:
    row = {"messages": [USER, ANSWER, {"role": "user", "content": "and?"}]}
    answered = {"messages": [*row["messages"], {"role": "assistant", "content": " Yes. "}]}
    task = chat(max_tokens=7)
    assert (task.reference(row), task.reference(answered)) == (None, "Yes.")
    asked = Conversation(row["messages"], [], "none", 7)
    assert conversations(task, row, training=False) == [asked]
    assert conversations(task, answered, training=False) == [asked]
    assert conversations(task, answered, training=True) == [Conversation(answered["messages"], [])]


def test_a_target_column_answers_texts() -> None:
    task = chat(("instruction", "input"), target="output", learn="last")
    row = {"instruction": "Add.", "input": "1, 2", "output": "3"}
    assert task.reference(row) == "3"
    turns = [{"role": "user", "content": "Add.\n\n1, 2"}, {"role": "assistant", "content": "3"}]
    assert conversations(task, row, training=True) == [Conversation(turns, [], "last")]
    assert conversations(task, row, training=False) == [Conversation(turns[:1], [], "none", 64)]


def test_options_are_answers_to_compare() -> None:
    task = chat(options=["hello", "bye"])
    found = conversations(task, {"messages": [USER, ANSWER]}, training=False)
    assert [one.turns[-1]["content"] for one in found] == ["hello", "bye"]
    assert {one.learned for one in found} == {"last"}
    with pytest.raises(DataError, match="hello"):
        chat(options=["hi", "bye"]).reference({"messages": [USER, ANSWER]})
    with pytest.raises(RecipeError, match=r"tasks.talk.options: 'messags' is no input column"):
        chat(options="messags")


RECIPE = """
data: {{talk: {{kind: jsonl, path: {file}, split: {{validation: 0.2}}}}}}
encoder:
  {{kind: {kind}, max_length: 64, vocabulary: 300{template}}}
tasks: {{talk: {{kind: chat, max_tokens: 4}}}}
"""
LLAMA = (
    ", config: {model_type: llama, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2,"
    " intermediate_size: 16}"
)


def experiment(folder: Path, rows: list[Any], template: str = "chatml") -> Path:
    """Write rows and a recipe that reads them."""
    file = folder / "talk.jsonl"
    file.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    given = f"{LLAMA}, chat_template: {template}" if template else LLAMA
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(file=file, kind="huggingface", template=given))
    return path


def test_a_check_shows_what_is_learned_of_a_row(tmp_path: Path) -> None:
    mixed = {**CALLED, "tool_calls": [{"function": {"name": "f", "arguments": {"city": 3}}}]}
    rows = [[USER, ANSWER], [USER, CALLED, RESULT, ANSWER], [USER, mixed, RESULT, ANSWER]] * 4
    found = check(load(experiment(tmp_path, rows)))
    assert not found.mistakes
    [parts] = found.learned.values()
    learned = [text for text, own in parts if own]
    assert learned[-1] == "hello<|im_end|>"
    assert "hi" in "".join(text for text, own in parts if not own)


def test_faults_of_rows_are_found_with_their_lines(tmp_path: Path) -> None:
    rows: list[Any] = [[USER, ANSWER]] * 9
    rows[4] = [USER, USER]
    found = check(load(experiment(tmp_path, rows)))
    assert any("talk.jsonl:5" in text and "turn 2" in text for text in found.mistakes)


def test_an_encoder_without_a_template_says_how_to_give_one(tmp_path: Path) -> None:
    [mistake] = check(load(experiment(tmp_path, [[USER, ANSWER]] * 9, ""))).mistakes
    assert "encoder.chat_template" in mistake
    [mistake] = check(load(experiment(tmp_path, [[USER, ANSWER]] * 9, "x.jinja"))).mistakes
    assert "encoder.chat_template: no file 'x.jinja'" in mistake


def test_a_restored_encoder_needs_no_template_file(tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text(load_template("chatml", ()))
    options = {
        "kind": "huggingface", "vocabulary": 300, "max_length": 64, "chat_template": "own.jinja",
        "config": {"model_type": "gpt2", "n_embd": 8, "n_head": 2, "n_layer": 1},
    }  # fmt: skip
    prompt = [(Conversation([USER], learned="none"),)]
    first = encoders.build(options, (tmp_path,))
    first.fit([("a b",)])
    first.save(tmp_path / "saved")
    file.unlink()
    second = encoders.build(options, (tmp_path,))
    second.restore(tmp_path / "saved")
    assert second.prepare(prompt) == first.prepare(prompt)
