"""Shop reviews made by a grammar: what their labels mean, and that they are worth learning."""

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from polytask.data.sources import sources
from polytask.data.synthesis import grammar
from polytask.data.synthesis.grammar import Language, Slot, language, parse_language
from polytask.data.synthesis.reviews import Attitude, Opinions, Writer
from polytask.data.synthesis.rows import damage_labels, generate_reviews

LANGUAGES = ("zh", "en")
SMALL = {"size": 60, "validation": 20, "test": 30}
HAN = re.compile(r"[\u4e00-\u9fff]")


def load(**options: Any) -> dict[str, list[dict[str, Any]]]:
    tables = sources.build({"kind": "synthetic", **SMALL, **options}, ()).load()
    return {split: list(table.rows) for split, table in tables.items()}


def made(number: int, relatedness: float = 0.8, seed: int = 0) -> list[dict[str, Any]]:
    rows = generate_reviews(random.Random(seed), LANGUAGES, relatedness)
    return [next(rows) for _ in range(number)]


def column(rows: list[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows]


def test_splits_and_columns() -> None:
    rows = load()
    assert {split: len(part) for split, part in rows.items()} == {
        "train": 60,
        "validation": 20,
        "test": 30,
    }
    for row in rows["train"]:
        assert row["sentiment"] in {"positive", "negative"}
        assert row["stars"] in {1.0, 2.0, 3.0, 4.0, 5.0}
        assert row["language"] in LANGUAGES
    assert len(set(column(rows["train"], "id"))) == 60


def test_the_seed_decides_everything() -> None:
    assert load(seed=3) == load(seed=3)
    assert column(load(seed=3)["train"], "text") != column(load(seed=4)["train"], "text")


def test_no_text_occurs_twice() -> None:
    texts = [row["text"] for part in load(size=3000, languages=["zh"]).values() for row in part]
    assert len(set(texts)) == len(texts) == 3050


def test_more_training_rows_leave_the_others_as_they_are() -> None:
    small, large = load(), load(size=100)
    assert large["test"] == small["test"]
    assert large["validation"] == small["validation"]
    assert large["train"][:60] == small["train"]


@pytest.mark.parametrize("code", LANGUAGES)
def test_reviews_are_in_the_languages_asked_for(code: str) -> None:
    for row in load(languages=[code])["train"]:
        assert row["language"] == code
        assert bool(HAN.search(row["text"])) == (code == "zh")
        assert (" " in row["text"]) == (code == "en")


@pytest.mark.parametrize(
    "wrong", [{"relatedness": 1.5}, {"languages": []}, {"languages": ["xx"]}, {"size": 0}]
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        load(**wrong)


def test_noise_and_gaps_are_in_training_labels_only() -> None:
    clean, damaged_rows = load(size=400), load(size=400, label_noise=0.5, missing=0.3)
    assert damaged_rows["test"] == clean["test"]
    assert damaged_rows["validation"] == clean["validation"]
    for name in ("text", "tokens", "language"):
        assert column(damaged_rows["train"], name) == column(clean["train"], name)
    assert None in column(damaged_rows["train"], "aspects")


def test_tokens_are_the_words_of_the_text_and_have_a_tag_each() -> None:
    for row in made(300):
        assert "".join(row["tokens"]) == "".join(row["text"].split())
        assert len(row["tokens"]) == len(row["aspects"])


def test_tags_are_well_formed_spans() -> None:
    labels = set(language("en").labels)
    for row in damage_labels(made(300), random.Random(0), noise=0.3, missing=0.0):
        for before, tag in zip(["O", *row["aspects"]], row["aspects"], strict=False):
            place, _, label = tag.partition("-")
            assert tag == "O" or label in labels
            assert place != "I" or before in {f"B-{label}", f"I-{label}"}


def test_labels_are_balanced() -> None:
    rows = made(3000)
    for name, labels in (("sentiment", 2), ("topic", 6), ("language", 2)):
        counts = Counter(column(rows, name))
        assert len(counts) == labels
        assert min(counts.values()) > 0.8 * len(rows) / labels
    assert min(Counter(column(rows, "stars")).values()) > 0.1 * len(rows)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_damage_hits_the_share_asked_for(share: float) -> None:
    rows = made(1500)
    noisy = list(damage_labels(rows, random.Random(0), share, 0.0))
    gone = list(damage_labels(rows, random.Random(0), 0.0, share))
    for name in ("sentiment", "topic", "stars"):
        wrong = np.not_equal(column(noisy, name), column(rows, name))
        assert wrong.mean() == pytest.approx(share, abs=0.05)
        missing = [value is None for value in column(gone, name)]
        assert np.mean(missing) == pytest.approx(share, abs=0.05)


def test_damage_hits_every_task_on_its_own() -> None:
    rows = made(2000)
    gone = list(damage_labels(rows, random.Random(0), 0.0, 0.5))
    missing = np.array([[row[name] is None for name in ("topic", "stars")] for row in gone])
    assert abs(np.corrcoef(missing.T)[0, 1]) < 0.1


def test_relatedness_ties_stars_to_sentiment() -> None:
    def agreement(relatedness: float) -> float:
        rows = made(1500, relatedness)
        positive = np.equal(column(rows, "sentiment"), "positive")
        return float(np.corrcoef(positive, column(rows, "stars"))[0, 1])

    assert abs(agreement(0.0)) < 0.1
    assert agreement(0.0) < agreement(0.5) < agreement(1.0)
    assert agreement(1.0) > 0.8


def test_relatedness_decides_whether_aspects_tell_the_topic() -> None:
    def shared(relatedness: float) -> float:
        """How much of what is said of the quality of phones could be said of food."""
        terms: dict[str, set[str]] = {"phone": set(), "food": set()}
        for row in made(1500, relatedness):
            for word, tag in zip(row["tokens"], row["aspects"], strict=True):
                if tag == "B-quality":
                    terms.setdefault(row["topic"], set()).add(word.lower())
        return len(terms["phone"] & terms["food"]) / len(terms["phone"] | terms["food"])

    assert shared(0.0) == 1.0
    assert shared(1.0) < 0.1


def test_counting_words_does_not_solve_the_tasks() -> None:
    rows = made(5500)
    texts = [" ".join(row["tokens"]) for row in rows]
    terms = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), min_df=2)
    train, test = terms.fit_transform(texts[:3000]), terms.transform(texts[3000:])
    for name, lowest, highest in (("sentiment", 0.72, 0.90), ("topic", 0.80, 0.95)):
        labels = column(rows, name)
        model = LogisticRegression(C=10, max_iter=1000).fit(train, labels[:3000])
        assert lowest < model.score(test, labels[3000:]) < highest


def slots(spoken: Language) -> list[Slot]:
    return [
        part
        for templates in spoken.rules.values()
        for template in templates
        for part in template
        if isinstance(part, Slot)
    ]


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_slot_can_be_filled_whatever_the_attitude(code: str) -> None:
    spoken = language(code)
    for slot in slots(spoken):
        assert slot.subject in {"", "product", "shop", "other"}
        variants = [{f"{slot.symbol}/{sign}" for sign in "+-"}]
        variants.append({f"{slot.symbol}/{strength}" for strength in ("mild", "plain", "strong")})
        known = slot.symbol in spoken.rules or slot.symbol in {"product", "other", "term"}
        assert known or any(names <= spoken.rules.keys() for names in variants), slot


@pytest.mark.parametrize("code", LANGUAGES)
def test_language_files_hold_text_only_and_no_stray_braces(code: str) -> None:
    def leaves(value: Any) -> list[Any]:
        if isinstance(value, dict):
            return [leaf for item in (*value, *value.values()) for leaf in leaves(item)]
        return (
            [leaf for item in value for leaf in leaves(item)]
            if isinstance(value, list)
            else [value]
        )

    path = Path(grammar.__file__).with_name(f"{code}.yaml")
    for leaf in leaves(yaml.safe_load(path.read_text(encoding="utf-8"))):
        assert isinstance(leaf, str)
    spoken = language(code)
    words = [part for rule in spoken.rules.values() for template in rule for part in template]
    assert not [word for word in words if isinstance(word, str) and set(word) & set("{}")]


def test_languages_agree_on_labels() -> None:
    chinese, english = map(language, LANGUAGES)
    assert chinese.topics == english.topics
    assert chinese.labels == english.labels
    assert chinese.rules.keys() == english.rules.keys()


TOY = {
    "separator": " ",
    "topics": {
        "cup": {"names": ["mug"], "aspects": {"look": {"big handle": "wide / thin"}}},
        "car": {"names": ["van"], "aspects": {"look": {"door": "wide / thin"}}},
    },
    "general": {"price": {"price": "low / high"}},
    "shop": {"service": {"line": "short / long"}},
    "rules": {},
}


def written(rules: dict[str, list[str]], sign: int = 1, strength: str = "plain") -> list[Any]:
    rules = {"opinion/+": ["good"], "opinion/-": ["bad"], **rules}
    opinions = Opinions(
        {
            "product": Attitude("cup", sign, strength),
            "shop": Attitude("shop", -1, "mild"),
            "other": Attitude("car", 1, "strong", tagged=False),
        },
        relatedness=1.0,
    )
    return Writer(random.Random(0), parse_language({**TOY, "rules": rules}), opinions).words()


def said(rules: dict[str, list[str]], sign: int = 1, strength: str = "plain") -> str:
    return " ".join(word for word, _ in written(rules, sign, strength))


def test_products_are_called_by_their_names() -> None:
    assert said({"review": ["the {product} , not the {other}"]}) == "The mug , not the van"


@pytest.mark.parametrize(("sign", "expected"), [(1, {"good", "wide"}), (-1, {"bad", "thin"})])
def test_opinions_follow_the_sign_and_a_minus_turns_it(sign: int, expected: set[str]) -> None:
    straight = {"review": ["{clause}"], "clause": ["{opinion}"]}
    turned = {"review": ["{-clause}"], "clause": ["{-opinion}"]}
    assert said(straight, sign).lower() in expected
    assert said(turned, sign).lower() in expected
    assert said({**straight, "review": ["{-clause}"]}, sign).lower() not in expected


def test_subjects_have_attitudes_and_aspects_of_their_own() -> None:
    rules = {
        "review": ["{clause} {shop:clause} {other:clause}"],
        "clause": ["{term} {mood}"],
        "mood/plain": ["calm"],
        "mood/mild": ["cool"],
        "mood/strong": ["hot"],
    }
    assert written(rules) == [
        ("Big", "B-look"),
        ("handle", "I-look"),
        ("calm", "O"),
        ("line", "B-service"),
        ("cool", "O"),
        ("door", "O"),  # an aspect of the product on the side
        ("hot", "O"),
    ]


def test_an_optional_slot_is_filled_half_of_the_time() -> None:
    words = said({"review": ["{x?} " * 400], "x": ["y"]}).split()
    assert 150 < len(words) < 250
