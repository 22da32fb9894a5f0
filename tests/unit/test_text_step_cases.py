"""What each text step does to known texts."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, strategies as st

from polytask.core.errors import DataError, MissingExtraError, RecipeError
from polytask.data.text import Text, text_steps


def run(kind: str, text: Text, **options: Any) -> Text:
    return text_steps.build({"kind": kind, **options})(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ＡＢＣ１２３，好！", "ABC123,好!"),  # full width
        ("ｶﾞ ﬁne", "ガ fine"),  # half-width kana, ligature
        ("  a \t\n b\u3000c ", "a b c"),  # white space
        ("zero\u200bwidth\x00 \ufefftext", "zerowidth text"),
        ("cafe\u0301", "café"),
        ("👩\u200d👧 क्\u200dष", "👩\u200d👧 क्\u200dष"),  # joiners carry meaning
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert run("normalise", text) == expected


def test_normalise_options() -> None:
    assert run("normalise", "Ｇｏｏｄ Day", case="lower") == "good day"
    assert run("normalise", "Ｇｏｏｄ， cafe\u0301", form="nfc") == "Ｇｏｏｄ， café"
    assert run("normalise", ["Ａ", "b\n", "\u200b"]) == ["A", "b", ""]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "It isn't 3.5 dollars,really well-known!!!",
            ["It", "isn't", "3.5", "dollars", ",", "really", "well-known", "!!!"],
        ),
        (
            "@you see #this: (http://t.co/x1).",
            ["@you", "see", "#this", ":", "(", "http://t.co/x1", ")", "."],
        ),
        (
            "at 10:30, 1,000 times... ok?!",
            ["at", "10:30", ",", "1,000", "times", "...", "ok", "?", "!"],
        ),
        ("हिन्दी में cafe\u0301", ["हिन्दी", "में", "cafe\u0301"]),  # marks belong to their letters
    ],
)
def test_segment_by_rule(text: str, expected: list[str]) -> None:
    assert run("segment", text, language="en") == expected
    assert run("segment", text) == expected


def test_segment_chinese() -> None:
    pytest.importorskip("rjieba")
    expected = ["我", "来到", "北京", "清华大学", "，", "isn't", "it", "？"]
    assert run("segment", "我来到北京清华大学，isn't it？") == expected
    assert run("segment", "我来到 北京清华大学", language="zh") == expected[:4]


@given(st.text(max_size=60))
def test_segment_loses_nothing_but_white_space(text: str) -> None:
    for language in ("auto", "zh", "en"):
        assert "".join(run("segment", text, language=language)) == "".join(text.split())


def test_segment_leaves_words_alone() -> None:
    assert run("segment", ["New York", "很高"]) == ["New York", "很高"]


def test_stop_words_of_a_language() -> None:
    assert run("stop_words", ["The", "price", "is", "not", "high"], language="en") == ["price"]
    kept = run("stop_words", ["The", "price", "is", "not", "high"], language="en", keep=["Not"])
    assert kept == ["price", "not"]
    assert run("stop_words", ["这", "价格", "的", "的确", "高"], language="zh") == ["价格", "高"]


def test_stop_words_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "stop.txt"
    path.write_text("\ufeffFoo\r\n\n bar \n", encoding="utf-8")
    assert run("stop_words", ["foo", "BAR", "the", "baz"], file=str(path)) == ["the", "baz"]
    assert run("stop_words", ["foo", "the", "baz"], file=str(path), language="en") == ["baz"]


def test_stop_words_file_is_looked_up_like_data(tmp_path: Path) -> None:
    (tmp_path / "stop.txt").write_text("foo", encoding="utf-8")
    options = {"kind": "stop_words", "file": "stop.txt"}
    step = text_steps.build(options, (tmp_path / "elsewhere", tmp_path))
    assert step(["foo", "bar"]) == ["bar"]


def test_stop_words_needs_words() -> None:
    with pytest.raises(DataError, match="Put segment before stop_words"):
        run("stop_words", "the price is high", language="en")


def test_stop_words_mistakes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no list of words"):
        run("stop_words", [])
    with pytest.raises(RecipeError, match=r"no list for 'zhh'\. Did you mean 'zh'"):
        run("stop_words", [], language="zhh")
    with pytest.raises(DataError, match="absent"):
        run("stop_words", [], file=str(tmp_path / "absent.txt"))
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"binary.txt: not UTF-8"):
        run("stop_words", [], file=str(binary))


@pytest.mark.parametrize(
    ("kind", "options", "module"),
    [("segment", {}, "rjieba"), ("stop_words", {"language": "en"}, "stopwordsiso")],
)
def test_a_missing_extra_is_named_at_once(
    kind: str, options: dict[str, str], module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.import_module

    def missing(name: str, package: str | None = None) -> ModuleType:
        if name == module:
            raise ModuleNotFoundError(name)
        return found(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'polytask\[text\]'"):
        text_steps.build({"kind": kind, **options})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@Ann and @bob_1: hi", "@user and @user: hi"),
        ("see (https://t.co/Ab1), WWW.x.org!", "see (http), http!"),
        ("看http://t.cn/A6x这个@张三 吧", "看http这个@user 吧"),
        ("mail me@example.org at @ 5", "mail me@example.org at @ 5"),
        ("https://…", "http…"),
    ],
)
def test_mask_tweets(text: str, expected: str) -> None:
    assert run("mask_tweets", text) == expected


def test_mask_tweets_options() -> None:
    masked = run("mask_tweets", ["@ann", "https://t.co/x"], user=r"<\1>", url="<url>")
    assert masked == [r"<\1>", "<url>"]
