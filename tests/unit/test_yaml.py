"""Strict YAML: one meaning per text, every refusal with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from polytask.core.errors import RecipeError
from polytask.recipe import yaml

BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def value_of(text: str) -> Any:
    return yaml.parse(f"key: {text}", "recipe.yaml").value["key"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 0.0001),
        ("1.e3", 1000.0),
        (".5", 0.5),
        ("-.5e1", -5.0),
        ("6.02e+23", 6.02e23),
        ("+3", 3),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("-.inf", float("-inf")),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
    ],
)
def test_scalars_have_the_meaning_of_the_core_schema(text: str, value: object) -> None:
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    ["no", "NO", "yes", "on", "off", "y", "n", "12:30:00", "2024-01-31", "1_000", "0b1", "1.2.3",
     "e5", ".", "1e", "0o8", "nulls", "truely", "=", "north"],
)  # fmt: skip
def test_everything_else_stays_text(text: str) -> None:
    assert value_of(text) == text


@pytest.mark.parametrize("text", ["'012'", '"012"'])
def test_quotes_make_text_of_a_number(text: str) -> None:
    assert value_of(text) == "012"


def test_keys_are_always_texts() -> None:
    assert yaml.parse("{1: a, no: b, null: c, 2024-01-31: d}", "r").value == {
        "1": "a",
        "no": "b",
        "null": "c",
        "2024-01-31": "d",
    }


def test_every_value_knows_where_it_was_written() -> None:
    origins = yaml.parse("a: 1\nb:\n  - x\n  - c:\n      4\n", "r.yaml").origins
    assert origins[("a",)] == "r.yaml:1"
    assert origins[("b",)] == "r.yaml:2"
    assert origins["b", 0] == "r.yaml:3"
    assert origins["b", 1, "c"] == "r.yaml:4"  # the line of the key, not of its value


def test_a_repeated_key_is_named_with_both_lines_and_hides_nothing_else() -> None:
    document = yaml.parse("a: 1\nb:\n  c: 1\n  c: 2\na: 3\nd: 4", "r.yaml")
    assert document.value == {"a": 1, "b": {"c": 1}, "d": 4}
    assert [(mistake.keys, mistake.text) for mistake in document.mistakes] == [
        (("b", "c"), "given twice, in lines 3 and 4."),
        (("a",), "given twice, in lines 1 and 5."),
    ]


def test_a_repeated_key_behind_aliases_is_one_mistake() -> None:
    text = "a: &a {c: 1, c: 2}\nb: *a\nd: {<<: *a}"
    assert len(yaml.parse(text, "r.yaml").mistakes) == 1


def test_aliases_repeat_a_value() -> None:
    assert yaml.parse("a: &x {p: [1]}\nb: *x", "r").value == {"a": {"p": [1]}, "b": {"p": [1]}}


def test_merge_keys_give_way_to_keys_of_the_mapping_and_to_earlier_merges() -> None:
    text = "a: &a {p: 1, q: 1}\nb: &b {q: 2, r: 2}\nc: {<<: [*a, *b], p: 0}"
    assert yaml.parse(text, "r").value["c"] == {"p": 0, "q": 1, "r": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n\t- b", "r.yaml:2:1: not valid YAML"),
        ("a:\n\t- b", "Indent with spaces, not tabs."),
        ("a: [1, 2", "r.yaml:1:9: not valid YAML"),
        ("a: b: c", "r.yaml:1:5: not valid YAML: mapping values are not allowed here."),
        ("a: 1\n---\nb: 2", "r.yaml:2:1: not valid YAML: expected a single document"),
        ("a: *x", "r.yaml:1:4: not valid YAML: found undefined alias 'x'."),
        ("a: !!python/object/apply:os.system [ls]", "r.yaml:1:4: tag "),
        ("a:\n  - !local b", "r.yaml:2:5: tag '!local' found; tags are not allowed."),
        ("a: {[1]: 2}", "r.yaml:1:5: a list or mapping found as a key"),
        ("a: {<<: 3}", "r.yaml:1:9: '<<' merges mappings"),
        ("a: 1\nb: \x07", "r.yaml:2: character U+0007 found"),
        (f"a: {'9' * 5000}", "r.yaml:1:4: a number of too many digits"),
        ("[" * 100_000, "r.yaml:1:32: nested deeper than 32 levels."),
        (BOMB, "aliases expand to too many values"),
        ("&a [*a]", "aliases expand to too many values, or contain themselves"),
        ("a: &x {<<: *x}", "aliases expand to too many values, or contain themselves"),
    ],
)  # fmt: skip
def test_refusals_name_file_line_and_column(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        yaml.parse(text, "r.yaml")
    [mistake] = caught.value.mistakes
    assert message in mistake


def test_an_empty_text_is_nothing() -> None:
    assert yaml.parse("# only a comment\n", "r").value is None


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes("\ufeffname: 情感".encode())
    assert yaml.read(path).value == {"name": "情感"}


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(RecipeError, match=r"r\.yaml:2: byte 0xe9 found, UTF-8 expected"):
        yaml.read(path)


@given(PLAIN)
def test_what_is_dumped_is_read_back(value: object) -> None:
    assert yaml.parse(yaml.dump(value), "r").value == value


@pytest.mark.parametrize("text", ["no", "1e-4", "012", "12:30", "2024-01-31", "null", "<<", "0o7"])
def test_dumped_texts_are_quoted_for_readers_of_either_yaml_version(text: str) -> None:
    assert yaml.dump([text]) == f"- '{text}'\n"
