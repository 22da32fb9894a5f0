"""Properties of every registered text step."""

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from polytask.core.registry import Registry
from polytask.data.text import Text, TextStep, text_steps

pytest.importorskip("rjieba", reason="install the extra: text")
pytest.importorskip("stopwordsiso", reason="install the extra: text")

OPTIONS: dict[str, dict[str, Any]] = {"stop_words": {"language": "en"}}
READS_WORDS_ONLY = {"stop_words"}
STEPS = {
    kind: text_steps.build({"kind": kind, **OPTIONS.get(kind, {})}) for kind in text_steps.kinds()
}

texts = st.text(max_size=40) | st.lists(
    st.sampled_from(
        ["The", "不", "price", "很高", "@you", "isn't", "http://t.co/x", "3.5", "！", " "]
    ),
    max_size=12,
).map("".join)
words = st.lists(texts, max_size=12)
every_step = pytest.mark.parametrize("kind", text_steps.kinds())


def fields(kind: str) -> st.SearchStrategy[Text]:
    return words if kind in READS_WORDS_ONLY else texts | words


@every_step
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_pure_and_repeatable(kind: str, data: st.DataObject) -> None:
    step = STEPS[kind]
    field = data.draw(fields(kind))
    before = copy.deepcopy(field)
    once = step(field)
    assert field == before
    assert step(field) == once
    assert pickle.loads(pickle.dumps(step))(field) == once


@every_step
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_idempotent(kind: str, data: st.DataObject) -> None:
    once = STEPS[kind](data.draw(fields(kind)))
    assert STEPS[kind](once) == once


@every_step
@given(field=words)
@settings(max_examples=60, deadline=None)
def test_words_in_words_out_and_their_number_as_promised(kind: str, field: list[str]) -> None:
    result = STEPS[kind](field)
    assert isinstance(result, list)
    assert all(isinstance(word, str) for word in result)
    if STEPS[kind].keeps_words:
        assert len(result) == len(field)


@every_step
def test_a_step_that_keeps_no_words_really_drops_some(kind: str) -> None:
    if not STEPS[kind].keeps_words:
        assert len(STEPS[kind](["the", "cat", "and", "the", "price"])) < 5


@every_step
@pytest.mark.parametrize("empty", ["", []])
def test_nothing_gives_nothing(kind: str, empty: Text) -> None:
    if kind not in READS_WORDS_ONLY or isinstance(empty, list):
        assert not STEPS[kind](empty)


def test_registry_holds_text_steps() -> None:
    assert isinstance(text_steps, Registry)
    assert all(isinstance(step, TextStep) for step in STEPS.values())
    assert {"normalise", "segment", "stop_words", "mask_tweets"} <= STEPS.keys()
