"""What augmentations do to known words, vectors and rows."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from polytask.assembly.data.augmentation import Augmentations
from polytask.core.alignment import Alignment
from polytask.core.batch import Batch, Targets
from polytask.core.errors import DataError, RecipeError
from polytask.data.augmentation import (
    Adversary,
    EmbeddingAugmentation,
    Mix,
    RowMixing,
    TextAugmentation,
    WordAugmentation,
    augmentations,
)
from polytask.data.augmentation.adversarial import ascent
from polytask.data.augmentation.copying import TextCopying, WordCopying, list_word_copyings
from polytask.data.augmentation.cutoff import cut_features, cut_span, cut_tokens
from polytask.data.augmentation.synonym import Neighbours, parse_thesaurus
from polytask.encoders import encoders
from polytask.modeling import MultiTaskModel
from polytask.sharing import architectures
from polytask.tasks import Task, tasks
from tests.fakes import table_of


def words_of(kind: str, words: list[str], *search: Path, **options: Any) -> list[str]:
    made = augmentations.build({"kind": kind, **options}, search)
    assert isinstance(made, WordAugmentation)
    return [word for word, _ in made.change(words, np.random.default_rng(0))]


def test_deletion_keeps_one_word_and_the_order() -> None:
    assert len(words_of("deletion", ["a", "b", "c"], share=0.999)) == 1
    assert words_of("deletion", ["a"], share=0.999) == ["a"]
    many = [str(number) for number in range(1000)]
    kept = words_of("deletion", many, share=0.3)
    assert kept == sorted(kept, key=int)
    assert 650 < len(kept) < 750


def test_swap_keeps_all_words() -> None:
    assert words_of("swap", ["a", "b"]) == ["b", "a"]
    assert words_of("swap", ["a"]) == ["a"]
    many = [str(number) for number in range(100)]
    swapped = words_of("swap", many, share=0.1)
    assert sorted(swapped) == sorted(many)
    assert 2 <= sum(a != b for a, b in zip(many, swapped, strict=True)) <= 20


def test_thesaurus() -> None:
    lines = ["good\tfine\tGreat", "", "alone", "fine\tthin\r"]
    assert parse_thesaurus(lines) == {
        "good": ["fine", "Great"],
        "fine": ["good", "Great", "thin"],
        "great": ["good", "fine"],
        "thin": ["fine"],
    }


def test_synonyms_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "words.tsv").write_text("\ufeffgood\tfine\nprice\tcost\n", encoding="utf-8")
    text = ["Good", "price", "!"]
    assert words_of("synonym", text, tmp_path, file="words.tsv", share=0.99) == [
        "Fine", "cost", "!",
    ]  # fmt: skip
    once = words_of("synonym", text, tmp_path, file="words.tsv")
    assert sum(a != b for a, b in zip(text, once, strict=True)) == 1
    assert words_of("synonym", ["a", "b"], tmp_path, file="words.tsv") == ["a", "b"]


def test_neighbours_of_vectors(tmp_path: Path) -> None:
    vectors_VD = np.array([[1, 0], [2, 0.1], [0, 1], [-1, 0]], dtype=np.float32)
    words = ["good", "fine", "blue", "bad"]
    assert Neighbours(words, vectors_VD, 3, 0.5)("good") == ["fine"]
    assert Neighbours(words, vectors_VD, 1, 0.01)("fine") == ["good"]
    assert Neighbours(words, vectors_VD, 3, 0.5)("never") == []
    lines = [f"{word} {a} {b}\n" for word, (a, b) in zip(words, vectors_VD, strict=True)]
    (tmp_path / "vectors.txt").write_text("".join(lines), encoding="utf-8")
    assert words_of("synonym", ["good"], tmp_path, vectors="vectors.txt") == ["fine"]


def test_mistakes_about_synonyms(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"a file or from vectors\. Set one of them"):
        augmentations.build("synonym")
    with pytest.raises(RecipeError, match=r"synonym.file: no file 'absent.tsv' in"):
        augmentations.build({"kind": "synonym", "file": "absent.tsv"}, (tmp_path,))
    (tmp_path / "empty.tsv").write_text("alone\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"empty\.tsv: no line holds two words"):
        augmentations.build({"kind": "synonym", "file": "empty.tsv"}, (tmp_path,))
    (tmp_path / "binary.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        augmentations.build({"kind": "synonym", "file": "binary.tsv"}, (tmp_path,))


def test_copies_are_numbered_through_all_parts() -> None:
    parts = [
        augmentations.build({"kind": "deletion", "copies": 2}),
        augmentations.build("mixup"),
        augmentations.build("swap"),
    ]
    assert [one.number for one in list_word_copyings(parts, seed=3)] == [0, 1, 2]
    assert {one.seed for one in list_word_copyings(parts, seed=3)} == {3}


def test_a_text_that_stays_the_same_keeps_its_white_space() -> None:
    deletion = augmentations.build({"kind": "deletion", "share": 1e-9})
    assert isinstance(deletion, WordAugmentation)
    assert WordCopying(deletion, 0, 0).fields((" a\n b ",)) == (" a\n b ",)


def test_back_translation_goes_through_its_runs_in_their_order() -> None:
    hops = [{"run": "a", "task": "de"}, {"run": "b", "task": "en"}]
    made = augmentations.build({"kind": "back_translation", "through": hops})
    assert isinstance(made, TextAugmentation)

    def answer(run: str, task: str, texts: Sequence[str]) -> list[str]:
        return [f"{text} {run}-{task}" if text != "no" else "" for text in texts]

    assert made.rewrite(["yes", "no"], answer) == ["yes a-de b-en", "no"]


def test_rewritten_texts_leave_words_where_they_are() -> None:
    copying = TextCopying({"a b": "c"})
    row = ("a b", ["a b", "d"], 3, "other")
    assert copying.fields(row) == ("c", ["a b", "d"], 3, "other")
    assert copying.alignment(row) == Alignment((0, 1), (True, True))
    assert copying.alignment(("a b",)) == Alignment()


def augment_label(kind: str, label: Any, alignment: Alignment) -> Any:
    return tasks.build(kind, "t").augment_label(label, alignment)


def test_a_tree_follows_only_words_whose_heads_are_kept() -> None:
    tree = [[2, "det"], [3, "nsubj"], [0, "root"], [3, "punct"]]
    moved = augment_label("parsing", tree, Alignment((2, 1, 0, 3), (True,) * 4))
    assert moved == [[0, "root"], [1, "nsubj"], [2, "det"], [1, "punct"]]
    leaves_dropped = augment_label("parsing", tree, Alignment((1, 2), (True,) * 2))
    assert leaves_dropped == [[2, "nsubj"], [0, "root"]]
    assert augment_label("parsing", tree, Alignment((0, 2, 3), (True,) * 3)) is None


def test_tags_hold_for_synonyms_lemmas_and_features_do_not() -> None:
    replaced = Alignment((1, 0), (True, False))
    assert augment_label("tagging", ["A", "B"], replaced) == ["B", "A"]
    assert augment_label("lemma", ["A", "B"], replaced) == ["B", None]
    assert augment_label("feats", ["A", "B"], replaced) == ["B", None]


def test_cutoff_of_known_size() -> None:
    vectors_BLD = torch.ones(50, 8, 6)
    span_BL1 = cut_span(vectors_BLD, 0.25)
    assert span_BL1.shape == (50, 8, 1)
    places = [row.flatten().nonzero().flatten().tolist() for row in span_BL1]
    assert all(last == first + 1 for first, last in places)
    assert {first for first, _ in places} == set(range(7))
    assert cut_tokens(vectors_BLD, 0.5).shape == (50, 8, 1)
    assert cut_features(vectors_BLD, 0.5).shape == (50, 1, 6)
    assert 0.4 < float(cut_tokens(vectors_BLD, 0.5).float().mean()) < 0.6


@pytest.mark.parametrize("what", ["tokens", "span", "features"])
def test_cutoff_changes_its_share_of_the_rows_to_zero(what: str) -> None:
    torch.manual_seed(0)
    vectors_BLD = torch.rand(400, 9, 8) + 1
    cutoff = augmentations.build({"kind": "cutoff", "what": what, "share": 0.5, "rows": 0.25})
    assert isinstance(cutoff, EmbeddingAugmentation)
    changed_BLD = cutoff.change(vectors_BLD)
    assert set((changed_BLD / vectors_BLD).unique().tolist()) == {0.0, 1.0}
    rows_B = (changed_BLD == 0).flatten(1).any(1)
    assert 0.15 < float(rows_B.float().mean()) < 0.35


def test_mixing_of_vectors_and_losses() -> None:
    mix = Mix(0.25, torch.tensor([1, 0]))
    assert_close(
        mix.vectors(torch.tensor([[0.0, 8.0], [4.0, 0.0]])), torch.tensor([[3.0, 2], [1, 6]])
    )
    scores_bC, classes_b = torch.randn(2, 3), torch.tensor([2, 0])
    soft_bC = mix.vectors(functional.one_hot(classes_b, 3).float())
    loss = mix.loss(lambda values: functional.cross_entropy(scores_bC, values), classes_b)
    assert_close(loss, functional.cross_entropy(scores_bC, soft_bC))


class HalfHalf(RowMixing):
    """Every row with its neighbour, one to three."""

    def draw(self, rows: int) -> Mix:
        return Mix(0.25, torch.arange(rows).roll(1))


def made_tasks() -> dict[str, Task]:
    mood = tasks.build({"kind": "classification", "dropout": 0, "pool": "attention"}, "mood")
    mood.fit(["no", "yes"])
    tags = tasks.build({"kind": "tagging", "dropout": 0, "scheme": "none"}, "tags")
    tags.fit([["A", "B"]])
    return {"mood": mood, "tags": tags}


def made_model(encoder: str = "transformer", sharing: str = "hard") -> tuple[MultiTaskModel, Batch]:
    torch.manual_seed(0)
    options = {"transformer": {"width": 8, "heads": 2, "layers": 1, "dropout": 0}}
    made = encoders.build({"kind": encoder, **options.get(encoder, {})})
    rows = [(["a", "b", "c"],), (["b", "a"],), (["c", "c", "a"],)]
    made.fit(rows * 2)
    own = made_tasks()
    model = MultiTaskModel(architectures.build(sharing, made, list(own)), own)
    targets = {
        "mood": Targets(torch.arange(3), torch.tensor([0, 1, 1])),
        "tags": Targets(torch.arange(2), torch.tensor([[0, 1, 1], [1, 0, -100]])),
    }
    return model.train(), Batch(made.collate(made.prepare(rows)), targets, 3)


def test_a_model_mixes_pooled_features_and_leaves_words_alone() -> None:
    model, batch = made_model()
    plain = model.losses(batch)
    features = model.sharing(batch.inputs, {"mood": torch.arange(3)})["mood"]
    model.mixing = HalfHalf()
    mixed = model.losses(batch)
    assert torch.equal(mixed["tags"], plain["tags"])
    head: Any = model.heads["mood"]
    vectors_bD = head.pool(features)
    scores_bC: Tensor = head.scorer(0.25 * vectors_bD + 0.75 * vectors_bD.roll(1, 0))
    soft_bC = torch.tensor([[0.25, 0.75], [0.75, 0.25], [0.0, 1.0]])
    assert_close(mixed["mood"], functional.cross_entropy(scores_bC, soft_bC))


def test_a_row_alone_is_mixed_with_itself() -> None:
    model, batch = made_model()
    alone = batch.select(torch.tensor([1])).without(frozenset({"tags"}))
    plain = model.losses(alone)
    model.mixing = HalfHalf()
    assert_close(model.losses(alone), plain)


@pytest.mark.parametrize("sharing", ["hard", "independent"])
def test_a_model_changes_vectors_while_it_is_trained(sharing: str) -> None:
    model, batch = made_model(sharing=sharing)
    plain = model.losses(batch)
    cutoff = augmentations.build({"kind": "cutoff", "share": 0.99, "rows": 1.0})
    assert isinstance(cutoff, EmbeddingAugmentation)
    model.change_embeddings(cutoff)
    changed = model.losses(batch)
    assert all(not torch.equal(changed[task], plain[task]) for task in plain)
    model.eval()
    assert_close(model.losses(batch), plain)


def test_a_move_of_known_size() -> None:
    vectors_BLD = torch.tensor([[[3.0, 4.0], [9.0, 9.0]], [[1.0, 0.0], [0.0, 1.0]]])
    gradients_BLD = torch.tensor([[[0.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    expected_BLD = torch.zeros(2, 2, 2)
    expected_BLD[0, 0, 1] = 0.1 * 5  # of the token that has a gradient
    assert_close(ascent(vectors_BLD, gradients_BLD, 0.1), expected_BLD)


def adversarial(size: float = 0.05) -> Adversary:
    """One that attacks all rows."""
    made = augmentations.build({"kind": "adversarial", "size": size, "rows": 1.0})
    assert isinstance(made, Adversary)
    return made


@pytest.mark.parametrize("sharing", ["hard", "independent"])
def test_losses_under_attack_are_higher_while_a_model_is_trained(sharing: str) -> None:
    model, batch = made_model(sharing=sharing)
    plain = model.losses(batch)
    size, rise = 1e-3, {}
    for factor in (1, 2):
        attacked, _ = made_model(sharing=sharing)
        attacked.attack_embeddings(adversarial(factor * size))
        losses = attacked.losses(batch)
        rise[factor] = sum(float(losses[task].detach() - plain[task].detach()) for task in plain)
        assert [*losses] == [*plain]
    assert rise[1] > 0
    assert rise[2] == pytest.approx(2 * rise[1], rel=0.05)
    with torch.no_grad():  # as what is compared with the losses before an update
        assert_close(attacked.losses(batch), losses)
    model.attack_embeddings(adversarial(size))
    model.eval()
    assert_close(model.losses(batch), plain)


def test_how_a_row_is_attacked_does_not_depend_on_the_other_rows() -> None:
    """Rows count the same whatever labels others have, so it does not matter which rank has them."""
    whole = gradients_seen(torch.arange(3))
    for rows_b in (torch.tensor([0, 1]), torch.tensor([2])):
        for own_LD, among_LD in zip(gradients_seen(rows_b), whole[rows_b], strict=True):
            assert_close(own_LD[: len(among_LD)], among_LD[: len(own_LD)])


def gradients_seen(rows_b: Tensor) -> Tensor:
    """What an adversary is shown of some rows of a batch; one of three has no tags."""
    model, batch = made_model()
    watching = Watching()
    model.attack_embeddings(watching)
    batch.targets["tags"].values[:, 2:] = -100  # as many words in every row
    model.losses(batch.select(rows_b))
    return watching.seen


class Watching(Adversary):
    """Changes nothing, and remembers the gradients."""

    seen: Tensor

    def change(self, vectors_BLD: Tensor, gradients_BLD: Tensor) -> Tensor:
        self.seen = gradients_BLD
        return vectors_BLD


def test_an_attack_leaves_no_gradient_and_no_change_behind() -> None:
    model, batch = made_model()
    model.attack_embeddings(adversarial())
    copied = copy.deepcopy(model)
    losses = model.losses(batch)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert_close(copied.losses(batch), losses)
    table = table_of(model.sharing.encoder_of("mood"))
    assert table is not None
    assert torch.equal(table(torch.tensor([1])), table.weight[1:2])


def test_a_table_that_is_not_trained_is_attacked_too() -> None:
    model, batch = made_model()
    plain = model.losses(batch)
    model.sharing.requires_grad_(False)
    model.attack_embeddings(adversarial())
    losses = model.losses(batch)
    assert sum(losses.values()) > sum(plain.values())


CHANGES_BATCHES = [
    kind
    for kind in augmentations.kinds()
    if issubclass(augmentations.part(kind), EmbeddingAugmentation | RowMixing | Adversary)
]


@pytest.mark.parametrize("kind", CHANGES_BATCHES)
def test_a_batch_can_be_left_as_it_is(kind: str) -> None:
    model, batch = made_model()
    plain = model.losses(batch)
    Augmentations((augmentations.build(kind),), (), frozenset()).attach(model)
    with model.unaugmented():
        assert_close(model.losses(batch), plain, rtol=0, atol=0)
    changed = [model.losses(batch) for _ in range(10)]
    assert any(losses[task] != plain[task] for losses in changed for task in plain)


def test_an_encoder_without_token_vectors_is_refused() -> None:
    model, _ = made_model()
    object.__setattr__(model.sharing, "encoder_of", lambda task: _NoTable())
    cutoff = augmentations.build("cutoff")
    assert isinstance(cutoff, EmbeddingAugmentation)
    with pytest.raises(RecipeError, match="no table of them"):
        model.change_embeddings(cutoff)


class _NoTable(nn.Module):
    embedding = None
