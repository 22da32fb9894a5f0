"""Language models as tasks: what is hidden, what is predicted, what an encoder may see."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from polytask.core.batch import DRAW_SEED, Batch, Targets
from polytask.core.capabilities import token_table
from polytask.core.encoder import Encoder
from polytask.core.errors import RecipeError
from polytask.core.texts import collate_texts, prepare_texts
from polytask.encoders import encoders
from polytask.modeling import MultiTaskModel
from polytask.sharing import architectures
from polytask.tasks import Task, metrics, tasks
from polytask.tasks.language_head import is_causal
from polytask.tasks.masking import blank_out, hidden_count, hide, uniform
from tests.fakes import table_of

TINY = {"layers": 1, "width": 16, "heads": 2, "feed_forward": 16, "vocabulary": 300, "dropout": 0}
TEXTS = ["a cat sat on a mat", "a dog", "many dogs ran far away today", "the end"]


def transformer(**options: Any) -> Encoder:
    torch.manual_seed(0)
    encoder = encoders.build({"kind": "transformer", **TINY, **options}, ())
    encoder.fit([(text,) for text in TEXTS])
    return encoder


def language_model(**options: Any) -> Task:
    task = tasks.build({"kind": "language_model", **options}, "lm")
    task.fit(TEXTS)
    return task


def model_of(encoder: Encoder, made: dict[str, Task]) -> MultiTaskModel:
    return MultiTaskModel(architectures.build("hard", encoder, list(made)), made)


def batch_of(encoder: Encoder, task: Task, draw: int = 0, name: str = "lm") -> Batch:
    rows = encoder.prepare([(text,) for text in TEXTS])
    values = task.collate([task.encode(text, row) for text, row in zip(TEXTS, rows, strict=True)])
    inputs = encoder.collate(rows)
    inputs[DRAW_SEED] = torch.full((len(rows),), draw)
    return Batch(inputs, {name: Targets(torch.arange(len(rows)), values)}, len(rows))


def random_ids(rows: int = 50, length: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    ids_bL = torch.randint(3, 1000, (rows, length), generator=torch.Generator().manual_seed(0))
    return ids_bL, torch.ones_like(ids_bL, dtype=torch.bool), torch.zeros(rows, dtype=torch.long)


def test_as_many_tokens_are_hidden_as_asked_for_and_all_are_as_likely() -> None:
    ids_bL, text_bL, draws_b = random_ids(400)
    hidden_bL = hide(ids_bL, text_bL, draws_b, 0.15)
    assert (hidden_bL.sum(1) == 6).all()
    shares_L = hidden_bL.float().mean(0)
    assert (shares_L - 0.15).abs().max() < 0.07
    text_bL[:, 5:] = False
    few_bL = hide(ids_bL, text_bL, draws_b, 0.15)
    assert (few_bL.sum(1) == 1).all()
    assert not few_bL[:, 5:].any()
    assert int(hidden_count(torch.tensor(2), 0.15)) == 1


def test_numbers_for_tokens_are_uniform_and_unrelated() -> None:
    ids_bL, text_bL, draws_b = random_ids(500)
    one, two, three = (
        uniform(ids_bL, text_bL, draws_b + d, p) for d, p in [(0, 0), (1, 0), (0, 1)]
    )
    for numbers in (one, two, three):
        counts = torch.histc(numbers, 10, 0, 1) / numbers.numel()
        torch.testing.assert_close(counts, torch.full((10,), 0.1), rtol=0, atol=0.01)
    joined = torch.stack([one.flatten(), two.flatten(), three.flatten(), one.roll(1, 1).flatten()])
    assert (joined.corrcoef() - torch.eye(4)).abs().max() < 0.03


def test_what_is_hidden_depends_on_the_text_and_the_draw_alone() -> None:
    ids_bL, text_bL, draws_b = random_ids(6)
    whole = hide(ids_bL, text_bL, draws_b + 3, 0.2)
    padded_bL = functional.pad(ids_bL, (0, 7), value=9)
    real_bL = functional.pad(text_bL, (0, 7))
    again = hide(padded_bL[2:4], real_bL[2:4], draws_b[2:4] + 3, 0.2)
    assert torch.equal(again[:, : ids_bL.shape[1]], whole[2:4])
    assert not torch.equal(hide(ids_bL, text_bL, draws_b + 4, 0.2), whole)


def test_eight_of_ten_hidden_tokens_are_blank_and_one_is_another() -> None:
    ids_bL, text_bL, draws_b = random_ids(400)
    hidden_bL = hide(ids_bL, text_bL, draws_b, 0.5)
    changed_bL = blank_out(ids_bL, hidden_bL, draws_b, blank=1, vocabulary=100_000)
    assert torch.equal(changed_bL[~hidden_bL], ids_bL[~hidden_bL])
    new, old = changed_bL[hidden_bL], ids_bL[hidden_bL]
    assert (new == 1).float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert (new == old).float().mean().item() == pytest.approx(0.1, abs=0.02)


def test_the_causal_loss_is_the_cross_entropy_of_the_next_token() -> None:
    encoder, task = transformer(causal=True), language_model()
    batch = batch_of(encoder, task)
    model = model_of(encoder, {"lm": task}).eval()
    found = encoder(batch.inputs)
    logits_BLV = found.tokens_BLD @ table_of(encoder).weight.T
    targets_BL = batch.inputs["ids"][:, 1:].masked_fill(~found.mask_BL[:, 1:], -100)
    expected = functional.cross_entropy(logits_BLV[:, :-1].flatten(0, 1), targets_BL.flatten())
    torch.testing.assert_close(model.losses(batch)["lm"], expected)
    assert int(task.label_counts(batch.targets["lm"].values).sum()) == int(
        (targets_BL != -100).sum()
    )


def test_the_costs_of_a_text_are_those_of_its_tokens_whatever_else_is_in_the_batch() -> None:
    encoder, task = transformer(causal=True), language_model()
    model = model_of(encoder, {"lm": task}).eval()
    inputs = batch_of(encoder, task).inputs
    scores = model(inputs, {"lm": torch.arange(4)})["lm"]
    costs = task.decode(scores, ()).labels
    assert [len(row) for row in costs] == (inputs["lengths"] - 1).tolist()
    inputs = encoder.collate(encoder.prepare([(TEXTS[1],)]))
    alone = task.decode(model(inputs, {"lm": torch.arange(1)})["lm"], ()).labels
    assert alone[0] == pytest.approx(costs[1], rel=1e-4)
    mean = model.losses(batch_of(encoder, task))["lm"].item()
    assert metrics.build("perplexity", ())(TEXTS, costs) == pytest.approx(math.exp(mean), rel=1e-5)


def test_hidden_tokens_change_with_the_draw_and_not_in_evaluation() -> None:
    encoder, task = transformer(), language_model(objective="masked")
    model = model_of(encoder, {"lm": task}).eval()
    losses = [model.losses(batch_of(encoder, task, draw))["lm"].item() for draw in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_hidden_tokens_are_hidden_from_the_encoder_alone_and_only_in_its_rows() -> None:
    encoder, task = transformer(), language_model(objective="masked", share=0.4)
    model = model_of(encoder, {"lm": task})
    inputs = batch_of(encoder, task, 5).inputs
    head = model.heads["lm"]
    rows_b = torch.tensor([1, 2])
    changed = head.corrupt_inputs(inputs, rows_b)  # type: ignore[operator]
    assert torch.equal(changed["ids"][[0, 3]], inputs["ids"][[0, 3]])
    assert not torch.equal(changed["ids"][2], inputs["ids"][2])
    differs_BL = changed["ids"] != inputs["ids"]
    predicted_BL, _ = head.choose(inputs)  # type: ignore[operator]
    assert not (differs_BL & ~predicted_BL).any()


def test_a_masked_model_beside_another_task_learns_both() -> None:
    encoder = transformer()
    kind = tasks.build("classification", "kind")
    kind.fit(["x", "y"])
    made = {"lm": language_model(objective="masked"), "kind": kind}
    model = model_of(encoder, made)
    own = batch_of(encoder, made["lm"])
    targets = {
        "lm": Targets(torch.tensor([0, 2]), own.targets["lm"].values[[0, 2]]),
        "kind": Targets(torch.tensor([1, 3]), torch.tensor([0, 1])),
    }
    batch = Batch(own.inputs, targets, own.size)
    partition = model.partition(batch)
    assert partition.tasks_of["sharing.encoder.table.weight"] == ("lm", "kind")
    assert partition.unreached == []
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    first = sum(model.losses(batch).values()).item()  # type: ignore[union-attr]
    for _ in range(30):
        optimiser.zero_grad()
        total = sum(model.losses(batch).values())
        total.backward()  # type: ignore[union-attr]
        optimiser.step()
    assert total.item() < 0.3 * first  # type: ignore[union-attr]


def test_rows_of_several_texts_in_the_batch_change_nothing() -> None:
    encoder = transformer()
    ranking = tasks.build("ranking", "rank")
    ranking.fit([[1.0, 0.0]])
    made = {"lm": language_model(objective="masked"), "rank": ranking}
    model = model_of(encoder, made).eval()
    rows: list[list[tuple[str]]] = [[("a dog",)], [("the end",), (TEXTS[2],)], [(TEXTS[0],)]]
    inputs = collate_texts(prepare_texts(rows, encoder.prepare), encoder.collate)
    inputs[DRAW_SEED] = torch.full((3,), 7)
    rows_b = torch.tensor([0, 2])
    scores = model(inputs, {"lm": rows_b, "rank": torch.tensor([1])})
    alone = encoder.collate(encoder.prepare([("a dog",), (TEXTS[0],)]))
    alone[DRAW_SEED] = torch.full((2,), 7)
    expected = made["lm"].decode(model(alone, {"lm": torch.tensor([0, 1])})["lm"], ()).labels
    for costs, own in zip(made["lm"].decode(scores["lm"], ()).labels, expected, strict=True):
        assert costs == pytest.approx(own, rel=1e-5)


def test_windows_of_long_texts_are_refused() -> None:
    encoder = transformer(max_length=8, stride=2)
    (row,) = prepare_texts([[(" ".join(TEXTS),)]], encoder.prepare)
    with pytest.raises(RecipeError, match=r"tasks\.lm: predicts every token once.*stride to 0"):
        language_model().encode("", row)


@pytest.mark.parametrize(
    "options", [{"kind": "transformer", **TINY}, {"kind": "bilstm", "min_count": 1}]
)
def test_an_encoder_that_reads_ahead_is_refused(options: dict[str, Any]) -> None:
    encoder = encoders.build(options, ())
    encoder.fit([(text,) for text in TEXTS])
    if token_table(encoder) is not None:
        assert not is_causal(encoder.eval(), table_of(encoder).weight)
    with pytest.raises(RecipeError, match=r"tasks\.lm: predicts the next token, but the encoder"):
        model_of(encoder, {"lm": language_model()})


def test_decoders_of_the_transformers_library_read_forward_and_encoders_do_not() -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    for kind, forward in [("gpt2", True), ("llama", True), ("bert", False)]:
        config = {"model_type": kind, **sizes}
        if kind != "gpt2":
            config |= {"intermediate_size": 16}
        encoder = encoders.build({"kind": "huggingface", "config": config, "vocabulary": 300}, ())
        encoder.fit([(text,) for text in TEXTS])
        assert is_causal(encoder.eval(), table_of(encoder).weight) is forward, kind


def test_an_encoder_without_vectors_of_tokens_is_refused() -> None:
    encoder = encoders.build({"kind": "tfidf", "min_count": 1}, ())
    encoder.fit([(text,) for text in TEXTS])
    with pytest.raises(RecipeError, match=r"tasks\.lm: predicts tokens, but the encoder has no"):
        model_of(encoder, {"lm": language_model(objective="masked")})


def test_a_model_that_knows_nothing_is_as_perplexed_as_there_are_tokens() -> None:
    costs = [[math.log(50)] * 3, [math.log(50)]]
    assert metrics.build("perplexity", ())([True, True], costs) == pytest.approx(50)
