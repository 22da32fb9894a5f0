"""Trainings that see changed rows: the same after an interruption, and never judged by them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.resume import Outcome
from polytask import recipe
from polytask.assembly.run.inspection import Opened, open_new
from polytask.assembly.run.training import train
from polytask.core.files import read_json
from polytask.data.augmentation import TextAugmentation, WordAugmentation, augmentations
from polytask.data.loader import Loader
from polytask.data.pools import Pool
from polytask.data.prepared_rows import PreparedRow
from polytask.training.log import TrainingLog
from tests.end_to_end.files import polytask, reviews, write_experiment, write_rows
from tests.thinning import every, only

KINDS = augmentations.kinds()
WORD_KINDS = [k for k in KINDS if issubclass(augmentations.part(k), WordAugmentation)]
TEXT_KINDS = [k for k in KINDS if issubclass(augmentations.part(k), TextAugmentation)]
SHOP = """\
data:
  shop: {kind: jsonl, train: train.jsonl, validation: validation.jsonl, test: test.jsonl}
  other: {kind: jsonl, train: more.jsonl, validation: test.jsonl}
augment: AUGMENT
encoder: {kind: bag, dimension: 8, hidden: [8], dropout: 0.2, min_count: 1}
tasks:
  mood: {kind: classification, from: shop, target: mood}
  stars: {kind: regression, from: [shop, other], target: stars, metrics: [rmse]}
balancing: BALANCING
training:
  {epochs: 2, batch_rows: 8, learning_rate: 1e-2, precision: fp32, threads: 1, device: cpu,
   checkpoint_steps: 3}
evaluation: {bootstrap: 0}
"""
TREES = """\
data:
  bank: {kind: jsonl, train: bank.jsonl, validation: bank.jsonl}
augment: AUGMENT
encoder: {kind: cnn, dimension: 6, filters: 8, min_count: 1}
tasks:
  tag: {kind: tagging, input: tokens, target: tag, scheme: none}
  crf: {kind: tagging, input: tokens, target: tag, scheme: none, crf: true}
  feats: {kind: feats, input: tokens, target: tag}
  lemma: {kind: lemma, input: tokens, target: lemma}
  tree: {kind: parsing, input: tokens, target: head, hidden: 4, relation_hidden: 4}
  topic: {kind: classification, input: tokens, target: topic}
training: {epochs: 1, batch_rows: 8, precision: fp32, threads: 1, device: cpu}
evaluation: {bootstrap: 0}
"""
THESAURUS = "parcel\tpacket\nfine\tnice\nshop\tstore\n" + "\t".join(f"w{n}s" for n in range(20))


WRITER = """\
data: {shop: {kind: jsonl, train: train.jsonl, validation: validation.jsonl, test: test.jsonl}}
encoder: {kind: cnn, dimension: 4, filters: 8, min_count: 1}
tasks:
  again: {kind: generation, target: text, width: 8, heads: 2, layers: 1, feed_forward: 8,
    vocabulary: 300, max_tokens: 4, dropout: 0}
  mood: {kind: classification, target: mood}
training: {steps: 2, batch_rows: 4, learning_rate: 1e-2, precision: fp32, threads: 1, device: cpu}
evaluation: {bootstrap: 0}
"""
OPTIONS = {
    "synonym": "{kind: synonym, file: words.tsv, share: 0.5}",
    "back_translation": "{kind: back_translation, through: [{run: WRITER, task: again}]}",
}


def one(kind: str) -> str:
    return OPTIONS.get(kind, kind)


EVERYTHING = f"[{', '.join(map(one, KINDS))}]"


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a task that writes, badly."""
    folder = tmp_path_factory.mktemp("writer")
    return train(recipe.load(write_experiment(folder, WRITER)), folder / "run").path


def shop(folder: Path, augment: str, balancing: str = "equal", writer: Path | None = None) -> Path:
    (folder / "words.tsv").write_text(THESAURUS, encoding="utf-8")
    text = SHOP.replace("AUGMENT", augment).replace("BALANCING", balancing)
    text = text.replace("WRITER", str(writer))
    return write_experiment(folder, text, {"more": reviews(24, 300)})


def trees(folder: Path, augment: str) -> Path:
    """Sentences in which the label of a word follows from the word, and its head is before it."""
    (folder / "words.tsv").write_text(THESAURUS, encoding="utf-8")
    random = np.random.default_rng(0)
    rows = []
    for number in range(30):
        words = random.choice(20, 6, replace=False).tolist()
        rows.append(
            {
                "tokens": [f"w{word}s" for word in words],
                "lemma": [f"w{word}s"[: 1 + word % 3] for word in words],
                "tag": [f"T{word}" for word in words],
                "deprel": [f"R{word}" for word in words],
                "head": [0, *random.integers(1, 2, 5).tolist()],
                "topic": str(number % 2),
            }
        )
    write_rows(folder / "bank.jsonl", rows)
    path = folder / "trees.yaml"
    path.write_text(TREES.replace("AUGMENT", augment), encoding="utf-8")
    return path


def rows_of(pool: Pool) -> list[PreparedRow]:
    return pool.fetch(np.arange(len(pool)))


def texts_of(opened: Opened, pool: Pool) -> list[list[str]]:
    """The words of every row, whatever their numbers are."""
    encoder: Any = opened.model.sharing.encoder_of("mood")
    words = ["", "[UNK]", "[SEP]", *encoder.known.words]
    return [[words[number] for number in row["ids"]] for row in rows_of(pool)]


def validation_texts(opened: Opened) -> list[list[list[str]]]:
    rows: Any = opened.parts.validate
    return [texts_of(opened, pool) for pool in rows.args[0].pools]


class CrashError(Exception):
    """Stands for a crash."""


def crash_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TrainingLog.step

    def crash(log: TrainingLog, record: Mapping[str, Any]) -> None:
        whole(log, record)
        if record["step"] == step:
            raise CrashError

    monkeypatch.setattr(TrainingLog, "step", crash)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A training without augmentation."""
    folder = tmp_path_factory.mktemp("plain")
    return Outcome.of(train(recipe.load(shop(folder, "[]")), folder / "run").path)


@pytest.mark.parametrize(
    "augment", only([EVERYTHING], [*(f"[{one(kind)}]" for kind in KINDS), EVERYTHING])
)
def test_interrupted_and_resumed(
    augment: str, plain: Outcome, writer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = recipe.load(shop(tmp_path, augment, writer=writer))
    whole = Outcome.of(train(experiment, tmp_path / "whole").path)
    assert whole.difference(plain) is not None
    with monkeypatch.context() as patch:
        crash_after(11, patch)
        with pytest.raises(CrashError):
            train(experiment, tmp_path / "run")
    resumed = train(experiment, tmp_path / "run", resume=True)
    assert whole.difference(Outcome.of(resumed.path)) is None


@pytest.mark.parametrize(
    "balancing", every(3, ["pcgrad", "nash_mtl", "famo", "auto_lambda", "gradnorm"])
)
def test_balancers_see_losses_as_always(balancing: str, writer: Path, tmp_path: Path) -> None:
    path = shop(tmp_path, EVERYTHING, balancing, writer)
    run = train(recipe.load(path), tmp_path / "run")
    losses = [record["losses"] for record in run.records() if "losses" in record]
    assert all(np.isfinite([*one.values()]).all() for one in losses)


def test_task_gradients_stay_apart(tmp_path: Path) -> None:
    """Grouped gradients refuse to go on where rows of different tasks see each other."""
    path = shop(
        tmp_path, "[mixup, cutoff, adversarial, swap]", "{kind: pcgrad, gradients: grouped}"
    )
    text = path.read_text(encoding="utf-8").replace("from: [shop, other]", "from: other")
    path.write_text(text, encoding="utf-8")
    run = train(recipe.load(path), tmp_path / "run")
    assert read_json(run.facts)["task_gradients"] == "grouped"


def test_rows_come_first_and_copies_only_to_training(tmp_path: Path) -> None:
    with open_new(recipe.load(shop(tmp_path, "[]", "auto_lambda"))) as plain:
        rows = [texts_of(plain, pool) for pool in plain.parts.pools]
        validation = validation_texts(plain)
    text = "[{kind: deletion, copies: 2}, swap, mixup, cutoff]"
    with open_new(recipe.load(shop(tmp_path, text, "auto_lambda"))) as opened:
        assert validation_texts(opened) == validation
        assert isinstance(opened.parts.guide, Loader)
        guide = [texts_of(opened, pool) for pool in opened.parts.guide.pools]
        assert guide == validation
        for pool, own in zip(opened.parts.pools, rows, strict=True):
            found = texts_of(opened, pool)
            assert found[: len(own)] == own
            assert 2 * len(own) < len(found) <= 4 * len(own)
            assert pool.copies == len(found) - len(own)


CHOICES = """\
data:
  bank: {kind: jsonl, train: bank.jsonl, validation: bank.jsonl}
augment: [deletion, swap]
encoder: {kind: bag, dimension: 4, hidden: [4], min_count: 1}
tasks:
  choice: {kind: multiple_choice, input: [question, choices], target: answer}
training: {epochs: 1, batch_rows: 8, precision: fp32, threads: 1, device: cpu}
evaluation: {bootstrap: 0}
"""


def test_choices_are_texts_of_their_own(tmp_path: Path) -> None:
    row = {"question": "a b c d", "choices": ["e f g h", "i", "j k l m"], "answer": 1}
    write_rows(tmp_path / "bank.jsonl", [row] * 4)
    path = tmp_path / "choices.yaml"
    path.write_text(CHOICES, encoding="utf-8")
    with open_new(recipe.load(path)) as opened:
        [pool] = opened.parts.pools
        assert pool.copies > 0
        assert all(len(row["texts"]) == 3 for row in rows_of(pool))


@pytest.mark.parametrize("kind", WORD_KINDS)
def test_no_copy_is_equal_to_its_row(kind: str, tmp_path: Path) -> None:
    with open_new(recipe.load(shop(tmp_path, f"[{one(kind)}]"))) as opened:
        for pool in opened.parts.pools:
            rows = [tuple(row["ids"]) for row in rows_of(pool)]
            half = len(opened.data.split("train")[pool.name.split("[")[0]])
            assert not set(rows[half:]) & set(rows[:half])


@pytest.mark.parametrize("kind", WORD_KINDS)
def test_labels_of_words_stay_with_their_words(kind: str, tmp_path: Path) -> None:
    with open_new(recipe.load(trees(tmp_path, f"[{one(kind)}]"))) as opened:
        [pool] = opened.parts.pools
        rows, plain = rows_of(pool), opened.data.split("train")["bank"]
        labels: dict[str, dict[int, int]] = {}
        for number, row in enumerate(rows):
            new = number >= len(plain)
            for task in ("tag", "crf", "feats", "lemma"):
                target = row[f"target:{task}"] or [-100] * len(row["ids"])
                assert len(target) == len(row["ids"])
                known = labels.setdefault(task, {})
                for word, label in zip(row["ids"], target, strict=True):
                    replaced = new and kind == "synonym"
                    assert replaced or known.setdefault(word, label) == label
            assert row["target:topic"] in (0, 1)
        assert len(rows) > len(plain)


def test_trees_of_copies_are_trees_of_the_same_arcs(tmp_path: Path) -> None:
    with open_new(recipe.load(trees(tmp_path, "[deletion, swap]"))) as opened:
        [pool] = opened.parts.pools
        rows = rows_of(pool)
        known = {arc for row in rows[:30] for arc in arcs_of(row)}
        with_trees = [row for row in rows[30:] if row["target:tree"] is not None]
        assert 5 < len(with_trees) < len(rows) - 30  # some copies lack a head
        assert all(arc in known for row in with_trees for arc in arcs_of(row))


def arcs_of(row: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    """Word, head and relation; the word of the root is -1."""
    heads, relations = row["target:tree"]
    words = [-1, *row["ids"]]
    return [(word, words[h], r) for word, h, r in zip(row["ids"], heads, relations, strict=True)]


def test_words_that_only_copies_hold_are_known_to_the_encoder(tmp_path: Path) -> None:
    with open_new(recipe.load(shop(tmp_path, f"[{one('synonym')}]"))) as opened:
        encoder: Any = opened.model.sharing.encoder_of("mood")
        assert {"packet", "store"} <= set(encoder.known.words)


def test_copies_are_what_the_run_writes(writer: Path, tmp_path: Path) -> None:
    with open_new(
        recipe.load(shop(tmp_path, f"[{one('back_translation')}]", writer=writer))
    ) as new:
        for pool in new.parts.pools:
            texts = texts_of(new, pool)
            rows = len(pool) - pool.copies
            assert pool.copies == rows
            assert {*map(len, texts[rows:])} != {*map(len, texts[:rows])}
    path = shop(tmp_path, "[{kind: back_translation, through: [{run: WRITER, task: mood}]}]",
                writer=writer)  # fmt: skip
    assert "expected one column, and a kind that writes texts" in told(path)
    path = shop(tmp_path, "[{kind: back_translation, through: [{run: absent, task: mood}]}]")
    assert "absent: is not a run folder" in told(path)


def told(path: Path) -> str:
    """The mistakes of a recipe."""
    result = polytask("check", path)
    assert result.exit_code != 0
    return result.stdout + result.stderr


def test_a_run_answers_without_the_thesaurus(tmp_path: Path) -> None:
    path = trees(tmp_path, f"[{', '.join(one(kind) for kind in KINDS if kind not in TEXT_KINDS)}]")
    trained = polytask("train", path, "--run", tmp_path / "run")
    assert re.search(r"bank\[tokens\]: 30 training rows and \d+ changed copies", trained.stderr)
    (tmp_path / "words.tsv").unlink()
    assert polytask("evaluate", tmp_path / "run").exit_code == 0
    assert polytask("predict", tmp_path / "run", tmp_path / "bank.jsonl").exit_code == 0
    assert "synonym.file: no file 'words.tsv'" in told(path)


@pytest.mark.parametrize(
    ("augment", "encoder", "message"),
    [
        ("[cutof]", "bag", "augment.0: no augmentation called 'cutof'. Did you mean 'cutoff'?"),
        ("[mixup, mixup]", "bag", "augment: two parts mix the rows of a batch"),
        (
            "[adversarial, adversarial]",
            "bag",
            "augment: two parts look at the gradients of a batch",
        ),
        ("[adversarial]", "tfidf", "augment: changes token vectors, but the encoder has no table"),
        ("[cutoff]", "tfidf", "augment: changes token vectors, but the encoder has no table"),
        ("[{kind: deletion, share: 1.5}]", "bag", "augment.0.share"),
    ],
)
def test_mistakes_are_named_before_training(
    augment: str, encoder: str, message: str, tmp_path: Path
) -> None:
    path = shop(tmp_path, augment)
    text = path.read_text(encoding="utf-8")
    options = "{kind: bag, dimension: 8, hidden: [8], dropout: 0.2, min_count: 1}"
    path.write_text(text.replace(options, encoder), encoding="utf-8")
    assert message in told(path)


def test_a_compiled_model_is_not_attacked(tmp_path: Path) -> None:
    path = shop(tmp_path, "[adversarial]")
    text = path.read_text(encoding="utf-8").replace("{epochs: 2", "{compile: true, epochs: 2")
    path.write_text(text, encoding="utf-8")
    assert "augment: a part looks at gradients" in told(path)
