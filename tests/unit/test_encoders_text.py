"""Fields as words, and how long ones are cut."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from polytask.encoders.text import find, find_segmented_field, longest_first, text_of, words_of
from polytask.encoders.vocabulary import SEPARATOR, UNKNOWN, Vocabulary, frequent


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n\u2028\u3000", []),
        ("Hello, world!", ["Hello", ",", "world", "!"]),
        ("don't 3.5", ["don", "'", "t", "3", ".", "5"]),
        ("snake_case", ["snake_case"]),
        ("我喜欢Python 3", ["我", "喜", "欢", "Python", "3"]),
        ("ひらカナ漢", ["ひ", "ら", "カ", "ナ", "漢"]),
        ("𠀀a", ["𠀀", "a"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("cafe\u0301!", ["cafe\u0301", "!"]),
        ("ok😀😀", ["ok", "😀", "😀"]),
    ],
)
def test_words_of_texts(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(st.text())
def test_words_keep_every_visible_character(text: str) -> None:
    words = words_of(text)
    assert "".join(words) == "".join(text.split())
    assert all(words)


def test_lists_of_words_are_taken_as_they_are() -> None:
    assert words_of(["New York", "", "!"]) == ["New York", "", "!"]
    assert text_of(["New York", "is", "big"]) == "New York is big"
    assert text_of("New York ") == "New York "


def test_the_first_list_of_words_is_the_segmented_field() -> None:
    assert find_segmented_field(("a", ["b"], ["c"])) == 1
    assert find_segmented_field(("a", "b")) is None


@pytest.mark.parametrize(
    ("lengths", "budget", "kept"),
    [([7], 9, [7]), ([7], 4, [4]), ([2, 9], 8, [2, 6]), ([9, 2], 8, [6, 2]), ([9, 9], 7, [3, 4])],
)
def test_the_longest_is_cut_first(lengths: list[int], budget: int, kept: list[int]) -> None:
    assert longest_first(lengths, budget) == kept


@given(st.lists(st.integers(0, 50), max_size=5), st.integers(0, 100))
def test_a_cut_uses_the_whole_budget(lengths: list[int], budget: int) -> None:
    kept = longest_first(lengths, budget)
    assert sum(kept) == min(sum(lengths), budget) or not lengths
    assert all(0 <= part <= whole for part, whole in zip(kept, lengths, strict=True))
    cut = [part for part, whole in zip(kept, lengths, strict=True) if part < whole]
    assert all(part <= min(cut) + 1 for part in kept if cut)


def test_paths_are_looked_up_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    (second / "x.txt").touch()
    assert find("x.txt", (first, second)) == second / "x.txt"
    (first / "x.txt").touch()
    assert find("x.txt", (first, second)) == first / "x.txt"
    assert find("y.txt", (first, second)) is None
    assert find(str(first / "x.txt"), (second,)) == first / "x.txt"
    monkeypatch.chdir(first)
    assert find("x.txt", ()) == Path("x.txt")


def test_vocabulary_keeps_the_most_frequent_words() -> None:
    counts = Counter(["b", "a", "c", "b", "a", "b", "d", "d", "d", "d"])
    assert frequent(counts, most=10, at_least=1).words == ["d", "b", "a", "c"]
    assert frequent(counts, most=2, at_least=1).words == ["d", "b"]
    assert frequent(counts, most=10, at_least=2).words == ["d", "b", "a"]
    assert frequent(counts, most=10, at_least=3, known={"c"}).words == ["d", "b", "c"]


def test_ids_of_words() -> None:
    vocabulary = Vocabulary(["x", "y"])
    assert vocabulary.ids(["y", "z", "x", "y"]) == [SEPARATOR + 2, UNKNOWN, SEPARATOR + 1, 4]
    assert len(vocabulary) == 5
