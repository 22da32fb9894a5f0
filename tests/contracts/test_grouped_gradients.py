"""One backward pass for all tasks gives what one per task gives, or is not used."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.testing import assert_close
from transformers.models.bert.modeling_bert import BertModel
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm

from polytask.balancing import Balancer, balancers
from polytask.core.errors import RecipeError, TrainingError

ROWS = [torch.tensor([0, 1, 2]), torch.tensor([3, 5]), torch.tensor([4, 6, 7])]
"""Of eight rows; the rows of two tasks lie among each other."""


class Words(nn.Module):
    """An embedding with padding, a layer norm and linear layers, one of them used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6, padding_idx=0)
        self.norm = nn.LayerNorm(6)
        self.twice = nn.Linear(6, 6)
        self.up = nn.Linear(6, 5, bias=False)
        self.heads = nn.ModuleList(nn.Linear(5, 2) for _ in ROWS)

    def encode(self, ids_BL: Tensor) -> Tensor:
        hidden_BLD: Tensor = self.norm(self.table(ids_BL))
        hidden_BLD = self.twice(self.twice(hidden_BLD).tanh()).tanh()
        return torch.relu(self.up(hidden_BLD)).mean(1)

    def losses(self, ids_BL: Tensor) -> list[Tensor]:
        features_BD = self.encode(ids_BL)
        return [
            head(features_BD[rows_b]).logsumexp(-1).mean()
            for head, rows_b in zip(self.heads, ROWS, strict=True)
        ]


class Bert(Words):
    """A BERT of two layers: positions are looked up once for all rows."""

    def __init__(self) -> None:
        super().__init__()
        config = transformers.BertConfig(
            vocab_size=11, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=12, max_position_embeddings=9,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        self.bert = BertModel(config, add_pooling_layer=False)
        self.heads = nn.ModuleList(nn.Linear(8, 2) for _ in ROWS)

    def encode(self, ids_BL: Tensor) -> Tensor:
        hidden_BLD: Tensor = self.bert(ids_BL, attention_mask=ids_BL > 0).last_hidden_state
        return hidden_BLD[:, 0]


class Decoder(Words):
    """A causal model of the transformers library, whatever its norms and linear layers are."""

    config: transformers.PretrainedConfig

    def __init__(self) -> None:
        super().__init__()
        self.decoder = transformers.AutoModel.from_config(self.config, attn_implementation="eager")
        self.heads = nn.ModuleList(nn.Linear(8, 2) for _ in ROWS)

    def encode(self, ids_BL: Tensor) -> Tensor:
        hidden_BLD: Tensor = self.decoder(ids_BL, use_cache=False).last_hidden_state
        return hidden_BLD[:, -1]


class Llama(Decoder):
    """Root-mean-square norms of the library's own."""

    config = transformers.LlamaConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=12, max_position_embeddings=9,
    )  # fmt: skip


class Gpt2(Decoder):
    """``Conv1D`` instead of linear layers, and positions that are looked up once for all rows."""

    config = transformers.GPT2Config(
        vocab_size=11, n_embd=8, n_layer=2, n_head=2, n_positions=9,
        bos_token_id=None, eos_token_id=None, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip


class Scaled(Words):
    """Norms of PyTorch, one whose weight is the distance from one, and a scale of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.Sequential(nn.RMSNorm(6), nn.GroupNorm(5, 5), GemmaRMSNorm(6), Scale())

    def encode(self, ids_BL: Tensor) -> Tensor:
        hidden_BLD = self.norms(self.table(ids_BL))
        return torch.relu(self.up(self.twice(hidden_BLD))).mean(1)


class Scale(nn.Module):
    """Neither of this library nor of any other."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(6))

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        return hidden_BLD * self.scale.exp()


class Frozen(Words):
    """The table and a bias are not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.table.requires_grad_(False)
        self.twice.bias.requires_grad_(False)


class Mixed(Words):
    """Rows see each other, behind the back of the layers."""

    def encode(self, ids_BL: Tensor) -> Tensor:
        features_BD = super().encode(ids_BL)
        return features_BD - features_BD.mean(0)


class Views(Words):
    """Layers are given a tensor, and parts of it that begin at the same place."""

    def encode(self, ids_BL: Tensor) -> Tensor:
        hidden_BLD: Tensor = self.norm(self.table(ids_BL))
        first_BD, every_BLD = self.twice(hidden_BLD[:, 0]), self.twice(hidden_BLD)
        return torch.relu(self.up(every_BLD).mean(1) + self.up(first_BD.tanh()))


class Unseen(Words):
    """A layer is called in a way that is not seen."""

    def encode(self, ids_BL: Tensor) -> Tensor:
        hidden_BLD: Tensor = self.norm(self.table(ids_BL))
        return torch.relu(self.up(input=self.twice(hidden_BLD))).mean(1)


class Normed(Words):
    """Batch statistics, in a layer that is not one of those seen."""

    def __init__(self) -> None:
        super().__init__()
        self.batch = nn.BatchNorm1d(5)

    def encode(self, ids_BL: Tensor) -> Tensor:
        normed: Tensor = self.batch(super().encode(ids_BL))
        return normed


def ids(seed: int) -> Tensor:
    return torch.randint(11, (8, 5), generator=torch.Generator().manual_seed(seed))


def step(balancer: Balancer, model: Words, seed: int, *, rows: Sequence[Tensor] | None) -> Tensor:
    model.zero_grad()
    balancer.backward(model.losses(ids(seed)), rows=rows)
    assert [p for p in model.parameters() if p.grad is not None]
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def made(kind: type[Words], gradients: str, method: str = "mgda") -> tuple[Words, Balancer]:
    torch.manual_seed(0)
    model, balancer = kind(), balancers.build({"kind": method, "gradients": gradients}, len(ROWS))
    balancer.attach(model)
    return model, balancer


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", [Words, Bert, Frozen, Llama, Gpt2, Scaled, Views])
def test_it_equals_a_pass_per_task(kind: type[Words], precision: torch.dtype) -> None:
    grouped_model, grouped = made(kind, "grouped")
    exact_model, exact = made(kind, "exact")
    half = precision is torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        for seed in (1, 2):
            found = step(grouped, grouped_model, seed, rows=ROWS)
            assert grouped.provider == "grouped"
            expected = step(exact, exact_model, seed, rows=None)
            error = (found - expected).norm() / expected.norm()
            assert error < (0.05 if half else 1e-5)


@pytest.mark.parametrize("room", [0, 1_000_000])
def test_gradients_that_are_formed_twice_equal_those_that_are_kept(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polytask.balancing.engine.grouped._ROOM", room)
    grouped_model, grouped = made(Bert, "grouped")
    exact_model, exact = made(Bert, "exact")
    found = step(grouped, grouped_model, 1, rows=ROWS)
    assert_close(found, step(exact, exact_model, 1, rows=None), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [Mixed, Normed, Unseen])
def test_where_it_would_be_wrong_the_other_way_is_taken(kind: type[Words]) -> None:
    model, automatic = made(kind, "auto")
    exact_model, exact = made(kind, "exact")
    for seed in (1, 2):
        found = step(automatic, model, seed, rows=ROWS)
        assert automatic.provider == "exact"
        assert_close(found, step(exact, exact_model, seed, rows=None))


def test_what_was_asked_for_by_name_is_refused_where_it_is_wrong() -> None:
    model, balancer = made(Mixed, "grouped")
    with pytest.raises(TrainingError, match="gradients differ from autograd"):
        step(balancer, model, 1, rows=ROWS)


@pytest.mark.parametrize("rows", [None, ROWS], ids=["rows shared", "a layer that is not seen"])
def test_what_was_asked_for_by_name_is_refused_where_it_cannot_be(
    rows: list[Tensor] | None,
) -> None:
    model, balancer = made(Normed if rows else Words, "grouped")
    with pytest.raises(RecipeError, match="found 'grouped', which needs"):
        step(balancer, model, 1, rows=rows)


def test_what_was_seen_and_not_used_does_not_outlive_the_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, balancer = made(Words, "auto")
    seen: list[weakref.ref[Tensor]] = []
    model.up.register_forward_pre_hook(lambda _, given: seen.append(weakref.ref(given[0])))
    monkeypatch.setattr(Tensor, "detach", lambda tensor: tensor)  # the very tensors are held then
    step(balancer, model, 1, rows=None)
    gc.collect()
    assert seen
    assert all(reference() is None for reference in seen)
