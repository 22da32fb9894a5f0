"""Linear baselines: features, models, what strategies share, and what they may learn from."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from polytask.analysis.linear import (
    STRATEGIES,
    LabelledRows,
    LinearResult,
    LinearTask,
    count_tasks,
    fit_predict,
)
from polytask.analysis.linear_features import TermDesign, TextReading, WordReading, count
from polytask.analysis.linear_models import TERM_MODELS
from polytask.core.batch import Fields
from polytask.core.errors import DataError

DATA = Path(os.environ.get("POLYTASK_DATA", Path(__file__).parents[3] / "shared" / "data"))
LINEAR = [name for name, strategy in STRATEGIES.items() if not strategy.trees]
Labelled = Sequence[tuple[Any, Any]]

GOOD_AND_BAD = [("good " * n + "film", "yes") for n in (1, 2, 3)] + [
    ("bad " * n + "film", "no") for n in (1, 2, 3)
]


def share_right(references: Sequence[Any], predictions: Sequence[Any], _: object) -> float:
    return float(np.mean([r == p for r, p in zip(references, predictions, strict=True)]))


def rows(pairs: Labelled) -> LabelledRows:
    fields = [text if isinstance(text, tuple) else (text,) for text, _ in pairs]
    return LabelledRows(fields, [label for _, label in pairs])


def task(
    train: Labelled, test: Sequence[Any], label_type: str = "label", **changes: Any
) -> LinearTask:
    nested = label_type in ("labels", "tags")
    labels = {one for _, label in train for one in (label if nested else [label])}
    settings = {
        "labels": () if label_type == "number" else sorted(labels),
        "validation": LabelledRows([], []),
        "score": share_right,
        **changes,
    }
    fields: list[Fields] = [text if isinstance(text, tuple) else (text,) for text in test]
    return LinearTask(label_type=label_type, train=rows(train), test=fields, **settings)


def run(strategy: str = "linear", seed: int = 0, /, **tasks: LinearTask) -> LinearResult:
    return fit_predict(strategy, count_tasks(tasks), seed)


def answer(one: LinearTask) -> list[Any]:
    return run(one=one).answers["one"].predictions


def terms(*texts: Any) -> list[set[str]]:
    fields = [(text,) for text in texts]
    return [set(document) for document in TextReading(fields).columns(fields)[0]]


class TestTerms:
    def test_a_text_is_its_words_and_pairs_of_them(self) -> None:
        assert terms("Not bad") == [{"not", "bad", "not bad"}]

    def test_words_that_were_segmented_are_taken_as_they_are(self) -> None:
        assert terms(["不", "喜欢"]) == [{"不", "喜欢", "不 喜欢"}]

    def test_chinese_that_was_not_is_one_to_three_characters(self) -> None:
        assert terms("不喜欢") == [{"不", "喜", "欢", "不 喜", "喜 欢", "不 喜 欢"}]

    def test_a_word_is_described_by_itself_and_its_neighbours(self) -> None:
        [_, second, _] = WordReading().columns([(["In", "Rome", "2024"],)])[0]
        assert {"word=Rome", "shape=Xx", "2=rome", "1=in", "3=2024", "ends=me"} <= set(second)

    def test_the_longest_affix_is_shorter_than_the_word(self) -> None:
        [[*found]] = WordReading().columns([(["on"],)])[0:1]
        assert not {"ends=on", "starts=on"} & set(found[0])

    @pytest.mark.parametrize("test", [[], ["a word"]])
    def test_no_word_to_learn_from_is_a_clear_error(self, test: list[str]) -> None:
        with pytest.raises(DataError, match="no training row has a word"):
            run(one=task([(" ", "yes"), ("", "no")], test))

    def test_what_is_not_text_is_a_clear_error(self) -> None:
        with pytest.raises(DataError, match="text"):
            count_tasks({"one": task([(3.5, "yes"), (2.5, "no")], ["a"])})


class TestDesign:
    TEXTS = ("a b a", "b c", "a c c c d")

    def design(self, *tasks: Sequence[Fields], private: bool = False) -> tuple[TermDesign, Any]:
        counts = count([TextReading(fields).columns(fields) for fields in tasks])
        return TermDesign(counts, private=private), counts

    def test_weights_are_those_of_scikit_learn(self) -> None:
        design, counts = self.design([(text,) for text in self.TEXTS])
        oracle = TfidfVectorizer(
            sublinear_tf=True, min_df=2, ngram_range=(1, 2), token_pattern=r"\w+"
        )
        expected = oracle.fit_transform(self.TEXTS).toarray()
        np.testing.assert_allclose(design(counts).toarray(), expected)

    def test_rows_of_a_task_are_a_shared_and_a_private_copy(self) -> None:
        tasks = [[("a b",), ("a b",)], [("a",), ("a",)]]
        design, counts = self.design(*tasks, private=True)
        found = design(counts).toarray()
        shared, first, second = np.split(found, [3, 6], axis=1)  # a, "a b", b; the same; a
        np.testing.assert_array_equal(first, [shared[0], shared[1], [0] * 3, [0] * 3])
        np.testing.assert_array_equal(second, [[0], [0], [shared[2, 0]], [shared[3, 0]]])

    def test_a_task_alone_has_no_private_copy(self) -> None:
        design, counts = self.design([(text,) for text in self.TEXTS], private=True)
        assert design(counts).shape[1] == 3

    @pytest.mark.parametrize(
        ("other", "jaccard", "of_one", "of_other"),
        [
            ("red cars", 1, 1, 1),
            ("blue ships", 0, 0, 0),
            ("red", 1 / 3, 1 / 3, 1),  # of red, cars, red cars
        ],
    )
    def test_a_pair_has_its_overlap(
        self, other: str, jaccard: float, of_one: float, of_other: float
    ) -> None:
        texts = [("red cars", other), ("blue ships", "blue ships"), ("red cars", "red cars")]
        design, counts = self.design(texts)
        cosine, *shares = design(counts).toarray()[0, -4:]
        np.testing.assert_allclose(shares, [jaccard, of_one, of_other], atol=1e-12)
        assert (cosine == pytest.approx(1), cosine == 0) == (jaccard == 1, jaccard == 0)

    def test_a_pair_without_words_overlaps_in_nothing(self) -> None:
        design, counts = self.design([("", ""), ("a", "a")])
        np.testing.assert_array_equal(design(counts).toarray()[0], 0)


class TestForms:
    def test_labels_are_told_apart(self) -> None:
        assert answer(task(GOOD_AND_BAD, ["a good one", "a bad one"])) == ["yes", "no"]

    def test_probabilities_follow_the_label_set(self) -> None:
        one = task(GOOD_AND_BAD, ["good", "bad"], labels=("yes", "never", "no"))
        good, bad = run(one=one).answers["one"].probabilities
        assert good[0] > 0.5 > good[2]
        assert bad[2] > 0.5 > bad[0]
        assert good[1] == bad[1] == 0
        assert good.sum() == pytest.approx(1)

    def test_a_label_outside_the_label_set_is_not_learned(self) -> None:
        train = [*GOOD_AND_BAD, ("odd film", "odd"), ("odd film", "odd")]
        assert set(answer(task(train, ["odd", "odd film"], labels=("no", "yes")))) <= {"no", "yes"}

    def test_one_label_only_is_always_predicted(self) -> None:
        one = task([("a b", "x"), ("b a", "x")], ["c"])
        found = run(one=one)
        assert found.answers["one"].predictions == ["x"]
        assert found.parameters == 0

    def test_chinese_without_spaces_is_learned(self) -> None:
        train = [
            ("这本书很好看", "好"),
            ("东西好，很好用", "好"),
            ("质量不好", "差"),
            ("很差，不好用", "差"),
        ]
        assert answer(task(train * 3, ["真的很好", "真的不好"])) == ["好", "差"]

    def test_any_number_of_labels(self) -> None:
        train = [("red car", ["car", "red", "thing"]), ("red", ["red", "thing"])] * 5
        train += [("car", ["car", "thing"]), ("nothing here", ["thing"])] * 5
        one = task(
            train, ["red car", "nothing here"], "labels", labels=("car", "never", "red", "thing")
        )
        found = run(one=one).answers["one"]
        assert found.predictions == [["car", "red", "thing"], ["thing"]]
        assert [len(row) for row in found.probabilities] == [4, 4]
        assert found.probabilities[0][1] == 0

    def test_one_label_that_applies_or_not(self) -> None:
        found = run(one=task([("red", ["red"]), ("blue", [])] * 5, ["red", "blue"], "labels"))
        assert found.answers["one"].predictions == [["red"], []]
        assert [row.shape for row in found.answers["one"].probabilities] == [(1,), (1,)]

    def test_numbers_of_pairs_follow_their_overlap(self) -> None:
        words = [f"word{number}" for number in range(40)]
        train = [((" ".join(words[i : i + 4]),) * 2, 5.0) for i in range(30)]
        train += [
            ((" ".join(words[i : i + 4]), " ".join(words[i + 5 : i + 9])), 0.0) for i in range(30)
        ]
        same, different = answer(
            task(train, [("word8 word30",) * 2, ("word8", "word30")], "number")
        )
        assert same > different + 2

    def test_numbers_are_predicted_on_their_own_scale(self) -> None:
        def predicted(scale: float, offset: float) -> list[float]:
            train = [(text, scale * (label == "yes") + offset) for text, label in GOOD_AND_BAD]
            return answer(task(train, ["good", "bad"], "number"))

        np.testing.assert_allclose(
            predicted(100, 1000), 100 * np.array(predicted(1, 0)) + 1000, rtol=1e-4
        )

    def test_numbers_have_no_probabilities(self) -> None:
        found = run(one=task([("a", 1.0), ("b", 2.0)], ["a"], "number"))
        assert found.answers["one"].probabilities == []

    def test_tags_follow_words_and_their_neighbours(self) -> None:
        train = [
            (["I", "can", "run"], ["P", "M", "V"]),
            (["a", "can", "fell"], ["D", "N", "V"]),
            (["you", "can", "sing"], ["P", "M", "V"]),
            (["the", "can", "leaked"], ["D", "N", "V"]),
        ] * 5
        one = task(train, [["you", "can"], ["the", "can", "fell"]], "tags")
        found = run(one=one).answers["one"]
        assert found.predictions == [["P", "M"], ["D", "N", "V"]]
        assert [row.shape for row in found.probabilities] == [(2, 5), (3, 5)]
        np.testing.assert_allclose(found.probabilities[1].sum(-1), 1)

    def test_a_word_never_seen_is_tagged_by_its_ending(self) -> None:
        train = [([f"{stem}ly"], ["ADV"]) for stem in ("slow", "glad", "odd", "quick")]
        train += [([f"{stem}ing"], ["VERB"]) for stem in ("slow", "gladden", "sing", "walk")]
        assert answer(task(train, [["warmly"], ["warming"]], "tags")) == [["ADV"], ["VERB"]]

    def test_tags_that_do_not_fit_the_words_are_a_clear_error(self) -> None:
        with pytest.raises(DataError, match="1 tags, but 2 words in 'a b'"):
            run(one=task([(["a", "b"], ["X"]), (["b"], ["X"])], [["a"]], "tags"))

    @pytest.mark.parametrize("label_type", ["label", "labels", "tags"])
    def test_no_rows_to_predict_give_no_answers(self, label_type: str) -> None:
        label: Any = {"label": "x", "labels": ["x"], "tags": ["x"]}[label_type]
        assert run(one=task([(["a"], label), (["b"], label)], [], label_type)).answers["one"] == (
            [],
            [],
        )

    def test_a_form_without_a_linear_model_has_no_answers_and_a_reason(self) -> None:
        tasks = {"one": task(GOOD_AND_BAD, [], "boxes"), "two": task(GOOD_AND_BAD, ["good"])}
        found = run(**tasks)
        assert found.without == {"one": "reads text, predicts boxes"}
        assert [*found.answers] == ["two"]


CAMERAS = 4 * [
    ("small good", "yes"),
    ("small", "yes"),
    ("big bad", "no"),
    ("big", "no"),
    ("heavy", "no"),
]
MEALS = 4 * [("small bad", "no"), ("small", "no"), ("big good", "yes"), ("big", "yes")]


class TestSharing:
    def predictions(self, strategy: str, camera: str, meal: str) -> tuple[str, str]:
        found = run(strategy, cameras=task(CAMERAS, [camera]), meals=task(MEALS, [meal])).answers
        return found["cameras"].predictions[0], found["meals"].predictions[0]

    @pytest.mark.parametrize("strategy", ["linear", "linear_shared_private"])
    def test_a_word_may_mean_different_things(self, strategy: str) -> None:
        assert self.predictions(strategy, "small", "small") == ("yes", "no")
        assert self.predictions(strategy, "big", "big") == ("no", "yes")

    def test_a_pooled_model_cannot_tell_tasks_apart(self) -> None:
        one, other = self.predictions("linear_pooled", "small", "small")
        assert one == other

    @pytest.mark.parametrize("strategy", ["linear_pooled", "linear_shared_private"])
    def test_a_word_that_one_task_knows_helps_the_other(self, strategy: str) -> None:
        tasks = {"cameras": task(CAMERAS, []), "meals": task(MEALS, ["heavy", "unknown"])}
        heavy, unknown = run(strategy, **tasks).answers["meals"].probabilities
        assert heavy[0] > unknown[0]  # P(no)
        heavy, unknown = run("linear", **tasks).answers["meals"].probabilities
        assert heavy[0] == unknown[0]

    @pytest.mark.parametrize("strategy", LINEAR)
    def test_a_task_alone_is_the_same_for_all_strategies(self, strategy: str) -> None:
        one = task(GOOD_AND_BAD, ["good", "a film", "bad"])
        found, alone = run(strategy, one=one), run("linear", one=one)
        assert found.parameters == alone.parameters
        for theirs, ours in zip(
            *(r.answers["one"].probabilities for r in (found, alone)), strict=True
        ):
            np.testing.assert_array_equal(theirs, ours)

    @pytest.mark.parametrize("strategy", LINEAR)
    def test_nothing_is_shared_with_another_label_set_or_scale(self, strategy: str) -> None:
        topics = [("small talk", "talk"), ("big news", "news")] * 3
        sizes = [("small", 1.0), ("big", 9.0)] * 3
        tasks = {
            "cameras": task(CAMERAS, ["small", "big"]),
            "topics": task(topics, ["small", "big"]),
            "sizes": task(sizes, ["small", "big"], "number"),
            "prices": task([(text, -size) for text, size in sizes], ["small", "big"], "number"),
        }
        together = run(strategy, **tasks).answers
        for name, one in tasks.items():
            assert together[name].predictions == answer(one)

    def test_parameters_are_counted(self) -> None:
        tasks = {
            "one": task([("a", "x"), ("a b", "y"), ("b", "x")] * 2, []),  # a, b, "a b"
            "two": task([("a c", "x"), ("c a", "y")] * 2, []),  # a, c, "a c", "c a"
        }
        found = {strategy: run(strategy, **tasks).parameters for strategy in LINEAR}
        assert found == {
            "linear": (3 + 1) + (4 + 1),
            "linear_pooled": 6 + 1,
            "linear_shared_private": 6 + 3 + 4 + 1,
        }

    def test_three_labels_have_three_models(self) -> None:
        assert run(one=task([("a", "x"), ("b", "y"), ("c", "z")] * 2, [])).parameters == 3 * (3 + 1)


class TestHonesty:
    def test_rows_to_predict_change_nothing(self) -> None:
        few = run(
            "linear_shared_private", one=task(GOOD_AND_BAD, ["good film"]), two=task(MEALS, [])
        )
        more = ["good film", "an unheard word", "an unheard word", "film film"]
        many = run("linear_shared_private", one=task(GOOD_AND_BAD, more), two=task(MEALS, more))
        np.testing.assert_array_equal(
            few.answers["one"].probabilities[0], many.answers["one"].probabilities[0]
        )
        assert few.parameters == many.parameters

    def test_strength_is_the_best_on_validation_rows(self) -> None:
        asked: list[Sequence[Any]] = []

        def prefer_the_third(references: Sequence[Any], *_: object) -> float:
            asked.append(references)
            return [0.1, float("nan"), 0.7][(len(asked) - 1) % 3]

        validation = rows([("good", "yes"), ("odd", "no")])
        one = task(GOOD_AND_BAD, ["bad"], validation=validation, score=prefer_the_third)
        assert run(one=one).strengths == {"one": TERM_MODELS["label"].strengths[2]}
        assert asked == [["yes", "no"]] * 3

    def test_tasks_with_one_label_set_choose_together(self) -> None:
        def always(best: int) -> Any:
            calls = iter(range(100))
            return lambda *_: float(next(calls) % 3 == best) * (1 if best else 3)

        validation = rows([("good", "yes")])
        tasks = {
            name: task(GOOD_AND_BAD, [], validation=validation, score=always(best))
            for name, best in (("one", 0), ("two", 1), ("three", 1))
        }
        expected = TERM_MODELS["label"].strengths[0]  # 3 + 0 + 0 is more than 0 + 1 + 1
        assert run(**tasks).strengths == dict.fromkeys(tasks, expected)

    def test_without_validation_rows_it_is_the_middle_one(self) -> None:
        assert run(one=task(GOOD_AND_BAD, [])).strengths == {"one": 10.0}

    def test_validation_rows_are_learned_from_in_the_end(self) -> None:
        validation = rows([("superb", "yes"), ("superb film", "yes")])
        one = task([*GOOD_AND_BAD, ("superb", "no")], ["superb"], validation=validation)
        assert answer(one) == ["yes"]

    @pytest.mark.parametrize("strategy", LINEAR)
    def test_the_same_again(self, strategy: str) -> None:
        tags = [(["a", "b"], ["X", "Y"]), (["b", "c"], ["Y", "X"])] * 5
        tasks = {"cameras": task(CAMERAS, ["big"]), "tags": task(tags, [["a", "c"]], "tags")}
        first, second = (run(strategy, 3, **tasks).answers for _ in range(2))
        for name in tasks:
            np.testing.assert_array_equal(
                first[name].probabilities, second[name].probabilities, strict=True
            )

    def test_labels_do_not_depend_on_the_seed(self) -> None:
        one = task(GOOD_AND_BAD, ["good film", "film"])
        first, second = (
            run("linear", seed, one=one).answers["one"].probabilities for seed in (0, 1)
        )
        np.testing.assert_array_equal(first, second)


def reviews(domain: str, split: str) -> list[tuple[str, str]]:
    file = DATA / "text_cls" / "fdu_mtl" / domain / f"{split}.jsonl.gz"
    if not file.is_file():
        pytest.skip(f"needs {file} (set POLYTASK_DATA)")
    with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
        found = [json.loads(line) for line in lines]
    return [(row["text"], str(row["label"])) for row in found]


def test_sharing_helps_on_real_reviews_and_private_words_do_not_hurt() -> None:
    domains = ("kitchen_housewares", "toys_games", "electronics")
    test = {domain: reviews(domain, "test") for domain in domains}
    tasks = {
        domain: task(reviews(domain, "train"), [text for text, _ in test[domain]])
        for domain in domains
    }
    counted = count_tasks(tasks)
    right = {
        strategy: np.mean(
            [
                share_right([label for _, label in test[domain]], answers.predictions, None)
                for domain, answers in fit_predict(strategy, counted).answers.items()
            ]
        )
        for strategy in LINEAR
    }
    assert right["linear"] > 0.83
    assert right["linear_shared_private"] > right["linear"] + 0.01
    assert right["linear_pooled"] > right["linear"] + 0.01
