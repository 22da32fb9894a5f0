"""Writing texts: the decoder, its cache, shared decoders, texts of several references."""

from __future__ import annotations

import pytest
import torch

from polytask.core.collated import Collated
from polytask.core.errors import DataError, RecipeError
from polytask.core.features import Features
from polytask.tasks import HeadContext, tasks
from polytask.tasks.decoder import Decoder, DecoderSizes
from polytask.tasks.generation import IDS, LOGITS, Generation, GenerationHead
from polytask.tasks.losses import total
from polytask.tasks.search import Search
from polytask.tasks.target_tokens import END, PADDING

WIDTH = 8
SIZES = DecoderSizes(layers=2, width=16, heads=2, feed_forward=12, dropout=0.1, max_tokens=10)
TEXTS = ["ein Hund", "eine Katze läuft", "你好", "zwei Hunde laufen"]


def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(WIDTH, 20, SIZES).eval()


def features(rows: int = 3) -> Features:
    torch.manual_seed(1)
    mask_BL = torch.ones(rows, 5, dtype=torch.bool)
    mask_BL[0, 2:] = False
    return Features(torch.randn(rows, 5, WIDTH), mask_BL)


def generation(name: str = "t", **options: object) -> Generation:
    settings = {"vocabulary": 300, "layers": 1, "heads": 2, "feed_forward": 8, "max_tokens": 12}
    task = tasks.build({"kind": "generation", **settings, **options}, name)
    assert isinstance(task, Generation)
    return task


def fitted(name: str = "t", **options: object) -> Generation:
    task = generation(name, **options)
    task.fit(TEXTS)
    return task


def reading(task: str, values: torch.Tensor | None) -> HeadContext:
    def encode(inputs: Collated) -> Features:
        raise AssertionError("nothing is encoded again")

    return HeadContext(task, Collated(), values, encode)


@torch.no_grad()
def test_one_token_at_a_time_gives_the_logits_of_all_at_once() -> None:
    model, found = decoder(), features()
    ids_bT = torch.randint(2, 20, (3, 6))
    state, steps = model.begin(found), []
    for token in range(6):
        logits_bV, state = model.step(ids_bT[:, token], state)
        steps.append(logits_bV)
    torch.testing.assert_close(torch.stack(steps, dim=1), model(ids_bT, found))


@torch.no_grad()
def test_no_token_knows_those_after_it_nor_features_that_are_padding() -> None:
    model, found = decoder(), features()
    ids_bT = torch.randint(2, 20, (3, 6))
    before = model(ids_bT, found)
    ids_bT[:, 4] = 3
    found.tokens_BLD[0, 2:] = 100
    after = model(ids_bT, found)
    torch.testing.assert_close(after[:, :4], before[:, :4])
    assert not torch.allclose(after[:, 4], before[:, 4])


@torch.no_grad()
@pytest.mark.parametrize("beam", [1, 3])
def test_searching_with_the_cache_finds_what_searching_without_it_does(beam: int) -> None:
    model, found = decoder(), features()

    def step(last_n: torch.Tensor, state: list[torch.Tensor]) -> tuple[torch.Tensor, object]:
        rows_n, ids_nT = state
        ids_nT = torch.cat([ids_nT, last_n.unsqueeze(1)], dim=1)
        seen = Features(found.tokens_BLD[rows_n], found.mask_BL[rows_n])
        return model(ids_nT, seen)[:, -1], [rows_n, ids_nT]

    search = Search(8, END, PADDING, beam)
    start_b = torch.full((3,), 2)
    uncached = [torch.arange(3), torch.zeros(3, 0, dtype=torch.long)]
    cached_bT = search(model.step, start_b, model.begin(found))
    assert torch.equal(cached_bT, search(step, start_b, uncached))


def test_a_text_of_another_task_starts_with_another_token() -> None:
    task = generation("de")
    task.set_group(["de", "fr"])
    task.fit(TEXTS)
    head = task.head(WIDTH).eval()
    values = task.collate([task.encode(TEXTS[0], {})] * 3)
    german, french = (head(features(), reading(name, values))[LOGITS] for name in ("de", "fr"))
    assert not torch.allclose(german, french)


def test_tasks_that_share_a_head_share_subwords() -> None:
    first, second = generation("de", head="d"), generation("fr", head="d")
    first.set_group(["de", "fr"])
    first.fit(TEXTS)
    second.restore(first.state())
    assert first.head_shape == second.head_shape
    assert first.encode(TEXTS[0], {}) == second.encode(TEXTS[0], {})


def test_texts_come_back_as_they_were() -> None:
    task = fitted()
    for text in [*TEXTS, "unseen wörds 😀", " two  spaces"]:
        ids = task.collate([task._tokens.encode(text, 99)])
        assert task.decode({IDS: ids}, [("",)]).labels[0].strip() == text.strip()


def test_a_text_that_is_too_long_is_learned_from_without_its_end() -> None:
    task = fitted(max_tokens=3)
    ids = task.encode("zwei Hunde laufen und laufen", {})
    assert len(ids) == 3
    assert END not in ids


def test_the_head_learns_a_text_by_heart_and_finds_it_again() -> None:
    task = fitted(dropout=0.0, label_smoothing=0.0, width=16, max_tokens=24)
    torch.manual_seed(0)
    head = task.head(WIDTH)
    values = task.collate([task.encode(text, {}) for text in TEXTS[:3]])
    optimiser = torch.optim.Adam(head.parameters(), 0.02)
    for _ in range(80):
        optimiser.zero_grad()
        loss = total(task.loss(head(features(), reading("t", values)), values))
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1
    assert isinstance(head, GenerationHead)
    scores = head.eval()(features(), reading("t", None))
    assert task.decode(scores, [("",)] * 3).labels == TEXTS[:3]


def test_label_smoothing_is_that_of_the_cross_entropy() -> None:
    task = fitted(label_smoothing=0.2)
    values = task.collate([task.encode(TEXTS[0], {})])
    logits_bTV = torch.randn(*values.shape, len(task._tokens))
    smooth = torch.nn.functional.cross_entropy(logits_bTV[0], values[0], label_smoothing=0.2)
    torch.testing.assert_close(total(task.loss({LOGITS: logits_bTV}, values)), smooth)


def test_the_first_of_several_right_texts_is_learned_from() -> None:
    task = fitted()
    reference = task.reference({"label": ["ein Hund", "Hund"]})
    assert reference == ["ein Hund", "Hund"]
    assert task.encode(reference, {}) == task.encode("ein Hund", {})


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(DataError, match=r"expected a text or a list of texts, found 3"):
        fitted().reference({"label": 3})


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"tasks\.t\.width: 10 is no multiple of 4"):
        fitted(width=10).head(WIDTH)


@pytest.mark.parametrize(
    ("value", "reference"),
    [
        ("a", "a"),
        (" \n", None),
        ("", None),
        ([], None),
        (["", " "], None),
        (["", "a"], ["a"]),
        (["a", "b"], ["a", "b"]),
        (None, None),
    ],
)
def test_text_without_a_visible_character_is_no_label(value: object, reference: object) -> None:
    assert generation().reference({"label": value}) == reference
