"""Ways of choosing a sequence token by token: greedily, by beam, by chance. Pure but for the model.

A model of sequences is a function from the tokens chosen last, one for each of n sequences, and a
state to the logits of the next tokens and a new state. A state is a nest of dicts and lists of
tensors whose first dimension is n, so that sequences can be picked from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from polytask.core.batch import pick

Step: TypeAlias = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""(ids_n, state) -> (logits_nV, state)"""


@dataclass(frozen=True)
class Search:
    """How sequences are chosen.

    :param max_tokens: Most tokens, the end included.
    :param end: The id that ends a sequence.
    :param padding: The id that fills up those that ended early.
    :param beam: How many sequences are followed at a time; 1 is greedy.
    :param length_penalty: alpha of equation 14; 0 compares the log-probabilities as they are.
    :param temperature: Draw tokens instead, from logits divided by it; 0 draws nothing.
    """

    max_tokens: int
    end: int
    padding: int
    beam: int = 1
    length_penalty: float = 0.6
    temperature: float = 0.0

    def __call__(self, step: Step, start_b: Tensor, state: Any) -> Tensor:
        """Choose a sequence for each of b rows, without its start: ids_bT."""
        if self.temperature:
            return self._draw(step, start_b, state)
        return (
            self._greedy(step, start_b, state)
            if self.beam == 1
            else beam(self, step, start_b, state)
        )

    def normalise_scores(self, log_probability: Tensor, length: Tensor | int) -> Tensor:
        """Log-probabilities that sequences of different lengths are compared by.

        Wu et al., "Google's Neural Machine Translation System", 2016, equation 14, without the
        coverage of the input. https://arxiv.org/abs/1609.08144
        """
        size = torch.as_tensor(length, device=log_probability.device)
        return log_probability / ((5 + size) / 6) ** self.length_penalty

    def _greedy(self, step: Step, start_b: Tensor, state: Any) -> Tensor:
        return self._one_by_one(step, start_b, state, lambda logits_bV: logits_bV.argmax(-1))

    def _draw(self, step: Step, start_b: Tensor, state: Any) -> Tensor:
        """Tokens drawn in proportion to their probability, always the same for the same rows."""
        generator = torch.Generator(start_b.device).manual_seed(0)

        def choose(logits_bV: Tensor) -> Tensor:
            shares_bV = (logits_bV.float() / self.temperature).softmax(-1)
            return torch.multinomial(shares_bV, 1, generator=generator).squeeze(1)

        return self._one_by_one(step, start_b, state, choose)

    def _one_by_one(
        self, step: Step, start_b: Tensor, state: Any, choose: Callable[[Tensor], Tensor]
    ) -> Tensor:
        last_b, ended_b = start_b, torch.zeros_like(start_b, dtype=torch.bool)
        chosen: list[Tensor] = []
        while len(chosen) < self.max_tokens and not bool(ended_b.all()):
            logits_bV, state = step(last_b, state)
            last_b = choose(logits_bV).masked_fill(ended_b, self.padding)
            ended_b = ended_b | (last_b == self.end)
            chosen.append(last_b)
        return torch.stack(chosen, dim=1)


def beam(search: Search, step: Step, start_b: Tensor, state: Any) -> Tensor:
    """Follow the k most probable sequences of each row until k have ended; the best of these.

    Graves, "Sequence Transduction with Recurrent Neural Networks", 2012, section 4.3, without its
    merging of sequences. https://arxiv.org/abs/1211.3711
    """
    beams = _Beams(search, start_b)
    rows_n = torch.arange(len(start_b), device=start_b.device).repeat_interleave(search.beam)
    state = pick(state, rows_n)
    for length in range(1, search.max_tokens + 1):
        logits_nV, state = step(beams.last_n, state)
        state = pick(state, beams.extend(logits_nV.float().log_softmax(-1), length))
        if beams.done:
            break
    return beams.best()


class _Beams:
    """The sequences that are followed, k of each of b rows, and the best one that has ended."""

    def __init__(self, search: Search, start_b: Tensor) -> None:
        b, k = len(start_b), search.beam
        self._search, self._k = search, k
        self.last_n = start_b.repeat_interleave(k)
        self._chosen_bkT = start_b.new_zeros(b, k, 0)
        self._score_bk = torch.full((b, k), -torch.inf, device=start_b.device)
        self._score_bk[:, 0] = 0  # all start alike, so only one of them counts
        self._ended_b = torch.zeros(b, dtype=torch.long, device=start_b.device)
        self._best_b = torch.full((b,), -torch.inf, device=start_b.device)
        self._best_bT = start_b.new_full((b, search.max_tokens), search.padding)

    @property
    def done(self) -> bool:
        """Whether k sequences of every row have ended."""
        return bool((self._ended_b >= self._k).all())

    def extend(self, logs_nV: Tensor, length: int) -> Tensor:
        """Add a token to every sequence; return the old number n of each new one."""
        logs_bkv = logs_nV.unflatten(0, (-1, self._k))
        size = logs_bkv.shape[-1]
        total_bX = (self._score_bk.unsqueeze(-1) + logs_bkv).flatten(1)
        score_bc, place_bc = total_bX.topk(2 * self._k, dim=1)
        token_bc, parent_bc = place_bc % size, place_bc // size
        ends_bc = token_bc == self._search.end
        self._keep_ended(score_bc, parent_bc, ends_bc, length)
        going_bk = ends_bc.long().argsort(dim=1, stable=True)[:, : self._k]
        self._score_bk = score_bc.masked_fill(ends_bc, -torch.inf).gather(1, going_bk)
        parent_bk = parent_bc.gather(1, going_bk)
        token_bk = token_bc.gather(1, going_bk)
        before_bkt = self._chosen_bkT.gather(
            1, parent_bk.unsqueeze(-1).expand(-1, -1, self._chosen_bkT.shape[-1])
        )
        self._chosen_bkT = torch.cat([before_bkt, token_bk.unsqueeze(-1)], dim=-1)
        self.last_n = token_bk.flatten()
        first_b1 = torch.arange(len(parent_bk), device=parent_bk.device).unsqueeze(1) * self._k
        parent_n: Tensor = (first_b1 + parent_bk).flatten()
        return parent_n

    def _keep_ended(
        self, score_bc: Tensor, parent_bc: Tensor, ends_bc: Tensor, length: int
    ) -> None:
        """Compare sequences that end now, among the k best, with the best that ended before."""
        ends_bk = ends_bc[:, : self._k] & (self._ended_b < self._k).unsqueeze(1)
        final_bk = self._search.normalise_scores(score_bc[:, : self._k], length)
        best_b, which_b = final_bk.masked_fill(~ends_bk, -torch.inf).max(dim=1)
        better_b = best_b > self._best_b
        parent_b11 = parent_bc.gather(1, which_b.unsqueeze(1)).unsqueeze(-1)
        found_bT = self._chosen_bkT.gather(1, parent_b11.expand(-1, -1, length - 1)).squeeze(1)
        new_bT = torch.full_like(self._best_bT, self._search.padding)
        new_bT[:, : length - 1] = found_bT
        new_bT[:, length - 1] = self._search.end
        self._best_bT = torch.where(better_b.unsqueeze(1), new_bT, self._best_bT)
        self._best_b = torch.where(better_b, best_b, self._best_b)
        self._ended_b = self._ended_b + ends_bk.sum(1)

    def best(self) -> Tensor:
        """Return the best that ended; where none did, the best of those that were cut off."""
        open_bT = self._chosen_bkT[:, 0]
        cut_bT = torch.full_like(self._best_bT, self._search.padding)
        cut_bT[:, : open_bT.shape[1]] = open_bT
        return torch.where((self._best_b > -torch.inf).unsqueeze(1), self._best_bT, cut_bT)
