"""What every registered augmentation promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.testing import assert_close

from polytask.core.alignment import Alignment
from polytask.core.batch import Fields
from polytask.data.augmentation import (
    Adversary,
    Augmentation,
    EmbeddingAugmentation,
    Mix,
    RowMixing,
    TextAugmentation,
    WordAugmentation,
    augmentations,
)
from polytask.data.augmentation.copying import Copying, WordCopying
from polytask.tasks import Task
from tests.contracts.test_tasks import EXAMPLES, Example, fitted
from tests.fakes import NextToken

VOCABULARY = ["the", "price", "good", "不", "@you", "isn't", "Good", "！", "3.5"]
Make = Callable[[str], Augmentation]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Augmentations by kind, as strong as they can be without needing more options."""
    path: Path = tmp_path_factory.mktemp("thesaurus") / "words.tsv"
    letters = [f"w{number}" for number in range(9)]
    path.write_text("good\tfine\tnice\nprice\tcost\n" + "\t".join(letters), encoding="utf-8")
    hops = [{"run": "there", "task": "de"}, {"run": "back", "task": "en"}]
    options: dict[str, dict[str, Any]] = {
        "synonym": {"file": path.name},
        "back_translation": {"through": hops},
    }

    def made(kind: str) -> Augmentation:
        return augmentations.build({"kind": kind, **options.get(kind, {})}, (path.parent,))

    return made


def kinds(shape: type[Augmentation]) -> list[str]:
    return [kind for kind in augmentations.kinds() if issubclass(augmentations.part(kind), shape)]


WORDS, TEXTS = kinds(WordAugmentation), kinds(TextAugmentation)
EMBEDDINGS, ROWS = kinds(EmbeddingAugmentation), kinds(RowMixing)
ADVERSARIES = kinds(Adversary)
every_word = pytest.mark.parametrize("kind", WORDS)
fields = st.tuples(
    st.lists(st.sampled_from(VOCABULARY), max_size=12),
    st.text(max_size=30) | st.lists(st.sampled_from(VOCABULARY), max_size=9).map(" ".join),
)


def copying(make: Make, kind: str, seed: int = 0, number: int = 0) -> Copying:
    augmentation = make(kind)
    assert isinstance(augmentation, WordAugmentation)
    return WordCopying(augmentation, seed, number)


def test_every_augmentation_has_one_of_the_shapes() -> None:
    assert sorted([*WORDS, *TEXTS, *EMBEDDINGS, *ADVERSARIES, *ROWS]) == augmentations.kinds()


@every_word
@given(words=st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=12), seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_words_come_from_words_no_two_from_the_same(
    kind: str, words: list[str], seed: int, make: Make
) -> None:
    augmentation = make(kind)
    assert isinstance(augmentation, WordAugmentation)
    before = list(words)
    changed = augmentation.change(words, np.random.default_rng(seed))
    assert words == before
    assert changed
    origins = [origin for _, origin in changed]
    assert len(set(origins)) == len(origins)
    assert set(origins) <= set(range(len(words)))
    assert all(word.strip() for word, _ in changed)


@every_word
@given(row=fields, seed=st.integers(0, 3), number=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_a_copy_is_a_function_of_seed_number_and_fields(
    kind: str, row: Fields, seed: int, number: int, make: Make
) -> None:
    copy = copying(make, kind, seed, number).fields(row)
    assert copying(make, kind, seed, number).fields(row) == copy
    assert [type(field) for field in copy] == [type(field) for field in row]
    for field, changed in zip(row, copy, strict=True):
        assert bool(changed) == bool(field)  # nothing becomes empty


@every_word
def test_copies_and_seeds_differ(kind: str, make: Make) -> None:
    row = ([f"w{number}" for number in range(9)] * 3,)
    found = [copying(make, kind, seed, n).fields(row) for seed in range(3) for n in range(3)]
    assert len({tuple(words) for (words,) in found}) > 4


@every_word
def test_what_is_no_text_stays_as_it_is(kind: str, make: Make) -> None:
    row: Fields = (3.5, None, [1, 2], {"a": 1}, "", [])
    assert copying(make, kind).fields(row) == row
    assert copying(make, kind).alignment(row) == Alignment()


@every_word
@given(row=fields)
@settings(max_examples=40, deadline=None)
def test_the_alignment_says_where_each_word_comes_from(kind: str, row: Fields, make: Make) -> None:
    copier = copying(make, kind)
    words, copy, alignment = row[0], copier.fields(row)[0], copier.alignment(row)
    assert len(copy) == len(alignment.origins_W) == len(alignment.same_W)
    for word, origin, same in zip(copy, alignment.origins_W, alignment.same_W, strict=True):
        assert same == (word == words[origin])


def copied(example: Example, make: Make, kind: str, number: int) -> Any:
    """A task, and for each of its rows: label, label of a copy, alignment."""
    task, _ = fitted(example)
    for row in example.rows:
        label = task.training_label(row)
        words = [f"w{place}" for place in range(len(row["label"]) if example.per_word else 3)]
        alignment = copying(make, kind, number=number).alignment((words,))
        yield task, label, task.augment_label(label, alignment), alignment


@every_word
@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_labels_stay_with_their_words(kind: str, example: Example, make: Make) -> None:
    for number in range(6):
        for task, label, followed, alignment in copied(example, make, kind, number):
            if type(task).augment_label is Task.augment_label:
                assert followed is None
            elif not example.per_word:
                assert followed == label
            elif followed is not None:
                labels = labels_of(task, label)
                size = len(alignment.origins_W)
                target = task.encode(followed, {"words": [*range(size)]})
                assert target is None or len(followed) == size
                for place, origin in enumerate(alignment.origins_W):
                    found = labels_of(task, followed, alignment)[place]
                    assert found in (labels[origin], None)
                    assert found is not None or not alignment.same_W[place]


def labels_of(task: Task, label: Any, alignment: Alignment | None = None) -> list[Any]:
    """The label of every word, in a form that does not depend on where the word is."""
    if task.label_type != "tree":
        return list(label)
    origins = range(len(label)) if alignment is None else alignment.origins_W
    return [(None if head == 0 else origins[head - 1], name) for head, name in label]


@every_word
def test_a_task_that_does_not_say_how_labels_follow_learns_nothing_from_copies(
    kind: str, make: Make
) -> None:
    assert NextToken("t").augment_label(True, copying(make, kind).alignment((["a", "b"],))) is None


@pytest.mark.parametrize("kind", TEXTS)
@given(texts=st.lists(st.text(max_size=9), max_size=5))
@settings(max_examples=20, deadline=None)
def test_texts_in_texts_out_and_none_becomes_empty(kind: str, texts: list[str], make: Make) -> None:
    made = make(kind)
    assert isinstance(made, TextAugmentation)
    before = list(texts)
    written = made.rewrite(texts, lambda run, task, given: [run * len(text) for text in given])
    assert texts == before
    assert [bool(text) for text in written] == [bool(text) for text in texts]
    assert made.rewrite(texts, lambda run, task, given: [" " for _ in given]) == texts


def embedding(make: Make, kind: str) -> EmbeddingAugmentation:
    made = make(kind)
    assert isinstance(made, EmbeddingAugmentation)
    return made


def repeated(change: Callable[[], Tensor]) -> Tensor:
    """What a change gives, which is the same again after the same seed."""
    torch.manual_seed(0)
    found = change()
    torch.manual_seed(0)
    assert torch.equal(change(), found)
    return found


@pytest.mark.parametrize("kind", EMBEDDINGS)
@pytest.mark.parametrize("dtype", [torch.float, torch.bfloat16])
def test_vectors_keep_shape_and_type_and_repeat_with_the_seed(
    kind: str, dtype: torch.dtype, make: Make
) -> None:
    vectors_BLD = torch.randn(16, 7, 5, dtype=dtype)
    changed_BLD = repeated(lambda: embedding(make, kind).change(vectors_BLD))
    assert changed_BLD.shape == vectors_BLD.shape
    assert changed_BLD.dtype == dtype
    assert not torch.equal(changed_BLD, vectors_BLD)


@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_rows_do_not_see_each_other(kind: str, make: Make) -> None:
    vectors_BLD = torch.randn(6, 7, 5, requires_grad=True)
    embedding(make, kind).change(vectors_BLD)[2].sum().backward()
    assert vectors_BLD.grad is not None
    assert vectors_BLD.grad[[0, 1, 3, 4, 5]].eq(0).all()


@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_one_row_of_one_token_is_possible(kind: str, make: Make) -> None:
    assert embedding(make, kind).change(torch.ones(1, 1, 1)).isfinite().all()


def adversary(make: Make, kind: str) -> Adversary:
    made = make(kind)
    assert isinstance(made, Adversary)
    return made


@pytest.mark.parametrize("kind", ADVERSARIES)
@pytest.mark.parametrize("dtype", [torch.float, torch.bfloat16])
def test_an_adversary_moves_rows_uphill_and_repeats_with_the_seed(
    kind: str, dtype: torch.dtype, make: Make
) -> None:
    vectors_BLD, gradients_BLD = torch.randn(2, 16, 7, 5, dtype=dtype)
    changed_BLD = repeated(lambda: adversary(make, kind).change(vectors_BLD, gradients_BLD))
    assert changed_BLD.dtype == dtype
    gains_B = ((changed_BLD - vectors_BLD) * gradients_BLD).float().sum((1, 2))
    moved_B = (changed_BLD != vectors_BLD).any(-1).any(-1)
    assert moved_B.any()
    assert (gains_B[moved_B] > 0).all()


@pytest.mark.parametrize("kind", ADVERSARIES)
def test_an_adversary_does_not_see_other_rows_and_lets_gradients_pass(
    kind: str, make: Make
) -> None:
    vectors_BLD = torch.randn(6, 7, 5, requires_grad=True)
    gradients_BLD = torch.randn(6, 7, 5)
    found = []
    for others in (1.0, 1e6):
        torch.manual_seed(0)
        scale_B11 = torch.where(torch.arange(6) == 2, 1.0, others).view(6, 1, 1)
        found.append(adversary(make, kind).change(vectors_BLD, gradients_BLD * scale_B11)[2])
    assert_close(*found)
    found[0].sum().backward()
    assert vectors_BLD.grad is not None
    assert vectors_BLD.grad.flatten(1).eq((torch.arange(6) == 2).float().unsqueeze(1)).all()


@pytest.mark.parametrize("kind", ADVERSARIES)
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_an_adversary_bears_any_gradient(kind: str, scale: float, make: Make) -> None:
    vectors_BLD = torch.ones(9, 1, 1)
    changed_BLD = adversary(make, kind).change(vectors_BLD, scale * vectors_BLD)
    assert changed_BLD.isfinite().all()
    assert torch.equal(changed_BLD, vectors_BLD) == (scale == 0)


def drawn(make: Make, kind: str, rows: int) -> Mix:
    made = make(kind)
    assert isinstance(made, RowMixing)
    return made.draw(rows)


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_mixes_are_drawn_from_the_seed_and_keep_what_is_equal(
    kind: str, rows: int, make: Make
) -> None:
    mixes = []
    for _ in range(2):
        torch.manual_seed(0)
        mixes.append(drawn(make, kind, rows))
    assert mixes[0].weight == mixes[1].weight
    assert torch.equal(mixes[0].partners_b, mixes[1].partners_b)
    assert 0 <= mixes[0].weight <= 1
    assert mixes[0].partners_b.shape == (rows,)
    same_bD = torch.full((rows, 3), 2.0)
    assert_close(mixes[0].vectors(same_bD), same_bD)
    values = torch.ones(rows)
    assert float(mixes[0].loss(torch.mean, values)) == pytest.approx(1.0)
