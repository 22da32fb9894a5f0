"""Sequence packing: several texts in one sequence, so that little of a batch is padding.

An encoder and an architecture see a batch of sequences. A token attends only to tokens of its text,
and positions count from the start of its text. Heads receive the features of texts.

Krell et al., "Efficient Sequence Packing without Cross-contamination", 2021, section 3.
https://arxiv.org/abs/2107.02027
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polytask.core.collated import Collated
from polytask.core.features import Features, TextLayout
from polytask.core.padding import lengths_to_mask, pad

PARTS, NO_PART = "parts", -1
"""The input (S, M) with the number of each token's text in its sequence; the number of padding."""


@dataclass(frozen=True)
class Packed:
    """N texts in S sequences.

    :param inputs: ``ids`` and ``parts`` (S, M) and ``lengths`` (S) of the sequences.
    :param rows: For each task the sequences that contain its texts, ascending.
    :param sequence_N: The sequence of every text.
    :param start_N: The first token of every text in its sequence.
    :param lengths_N: Number of tokens of every text.
    :param longest: Length of the padded texts, L.
    :param words_NW: The first token of each word of every text, if texts have words.
    """

    inputs: Collated
    rows: dict[str, Tensor]
    sequence_N: Tensor
    start_N: Tensor
    lengths_N: Tensor
    longest: int
    words_NW: Tensor | None = None

    def features(self, found: Features, task: str, texts_n: Tensor) -> Features:
        """Return the features of a task's texts.

        :param found: The features of the task's sequences.
        """
        # ``found`` holds only the task's sequences, so a sequence number becomes a place among these.
        place_n = torch.searchsorted(self.rows[task], self.sequence_N[texts_n])
        mask_nL = lengths_to_mask(self.lengths_N[texts_n], self.longest)
        token_nL = self.start_N[texts_n].unsqueeze(1) + torch.arange(
            self.longest, device=mask_nL.device
        )
        # Token 0 stands in for padding, so that every index exists; the mask hides it from heads.
        tokens_nLD = found.tokens_BLD[place_n.unsqueeze(1), token_nL.where(mask_nL, 0)]
        words_nW = None if self.words_NW is None else self.words_NW[texts_n]
        return Features(tokens_nLD, mask_nL, TextLayout(words_nW))


def pack(inputs: Collated, rows: Mapping[str, Tensor], most: int, *, apart: bool) -> Packed:
    """Put texts into as few sequences as the first fit of decreasing lengths finds.

    :param inputs: ``ids`` (N, L) and ``lengths`` (N) of texts.
    :param rows: For each task the texts that it reads, ascending.
    :param most: Most tokens of a sequence; a longer text has a sequence to itself.
    :param apart: Put no texts of different tasks into one sequence.
    """
    ids_NL, lengths_N = inputs["ids"], inputs["lengths"]
    lengths = lengths_N.tolist()
    bins = [
        own
        for texts in (_apart(rows) if apart else [sorted({*torch.cat([*rows.values()]).tolist()})])
        for own in first_fit(texts, lengths, most)
    ]
    device = ids_NL.device
    sequence_N, start_N = torch.zeros_like(lengths_N), torch.zeros_like(lengths_N)
    parts: list[list[int]] = []
    for number, texts in enumerate(bins):
        own_p = torch.tensor(texts, device=device)
        sequence_N[own_p] = number
        start_N[own_p] = lengths_N[own_p].cumsum(0) - lengths_N[own_p]
        parts.append([part for part, text in enumerate(texts) for _ in range(lengths[text])])
    parts_SM = pad(parts, NO_PART).to(device)
    real_NL = lengths_to_mask(lengths_N, ids_NL.shape[1])
    order_N = torch.tensor([text for texts in bins for text in texts], device=device)
    ids_SM = torch.zeros_like(parts_SM)
    # Both masks run row by row, and texts are in the order of their sequences: tokens line up.
    ids_SM[parts_SM != NO_PART] = ids_NL[order_N][real_NL[order_N]]
    lengths_S = (parts_SM != NO_PART).sum(1)
    sequences = Collated({"ids": ids_SM, "lengths": lengths_S, PARTS: parts_SM})
    read = {task: sequence_N[texts_n].unique() for task, texts_n in rows.items()}
    longest = ids_NL.shape[1]
    return Packed(sequences, read, sequence_N, start_N, lengths_N, longest, inputs.get("words"))


def first_fit(texts: Sequence[int], lengths: Sequence[int], most: int) -> list[list[int]]:
    """Assign texts to sequences: longest first, each to the first sequence with room for it.

    :param lengths: Tokens of every text.
    """
    found: list[list[int]] = []
    room: list[int] = []
    for text in sorted(texts, key=lambda text: -lengths[text]):
        place = next((p for p, left in enumerate(room) if left >= lengths[text]), len(room))
        if place == len(room):
            found.append([])
            room.append(most)
        found[place].append(text)
        room[place] -= lengths[text]
    return found


def make_position_ids(parts_SM: Tensor) -> Tensor:
    """Return the position of each token in its text, (S, M)."""
    index_M = torch.arange(parts_SM.shape[1], device=parts_SM.device)
    begins_SM = parts_SM != parts_SM.roll(1, dims=1)
    begins_SM[:, 0] = True  # roll compares the first token with the last one of the sequence
    first_SM = torch.where(begins_SM, index_M, 0).cummax(dim=1).values
    return index_M - first_SM


def make_attention_mask(parts_SM: Tensor) -> Tensor:
    """Return which tokens each token may attend to: its text up to itself; (S, M, M)."""
    # Padding attends to padding: a row of the softmax without any token would be NaN.
    same_SMM = parts_SM.unsqueeze(2) == parts_SM.unsqueeze(1)
    return same_SMM.tril()


def _apart(rows: Mapping[str, Tensor]) -> list[list[int]]:
    """Return the texts of each set of tasks that reads the same ones."""
    readers: dict[int, list[str]] = {}
    for task, texts_n in rows.items():
        for text in texts_n.tolist():
            readers.setdefault(text, []).append(task)
    groups: dict[tuple[str, ...], list[int]] = {}
    for text in sorted(readers):
        groups.setdefault(tuple(readers[text]), []).append(text)
    return [*groups.values()]
