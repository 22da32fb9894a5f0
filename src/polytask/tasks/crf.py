"""Linear-chain conditional random fields, as functions of small tensors.

Lafferty, McCallum and Pereira, "Conditional Random Fields", ICML 2001, sections 3 and 4; the
recursions follow Rabiner, "A Tutorial on Hidden Markov Models", Proc. IEEE 1989, section III.
https://repository.upenn.edu/handle/20.500.14332/6188

Shapes: b rows, W words, C tags, and S = C + 1 states; the last state is the border before the
first and after the last word. ``moves_bSS[:, i, j]`` scores tag j after tag i. Words that are not
kept are skipped: the words around them are neighbours. Everything is computed in fp32, as sums of
exponentials lose too many digits in half precision.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Chain(NamedTuple):
    """Rows with their kept words first, in order.

    :param scores_WbC: Scores of the tags, word by word.
    :param there_Wb1: Whether there is such a word.
    :param order_bW: Where each word was.
    """

    scores_WbC: Tensor
    there_Wb1: Tensor
    order_bW: Tensor
    start_bC: Tensor
    moves_bCC: Tensor
    end_bC: Tensor


def chain_losses(scores_bWC: Tensor, moves_bSS: Tensor, tags_bW: Tensor, kept_bW: Tensor) -> Tensor:
    """Return the negative log-likelihood of the tags of each row; 0 for a row without words.

    :param tags_bW: Any tag where a word is not kept.
    """
    chain = _chain(scores_bWC, moves_bSS, kept_bW)
    tags_Wb = tags_bW.clamp(min=0).gather(1, chain.order_bW).T
    losses_b = _log_partition(chain) - _path_scores(chain, tags_Wb)
    return losses_b * kept_bW.any(1)


def viterbi(scores_bWC: Tensor, moves_bSS: Tensor, kept_bW: Tensor) -> Tensor:
    """Return the best tags of every row (Viterbi 1967); 0 where a word is not kept."""
    chain = _chain(scores_bWC, moves_bSS, kept_bW)
    best_bC = chain.start_bC + chain.scores_WbC[0]
    # Over padding a path keeps its tag, so that the trace back starts at the last kept word.
    stay_bC = torch.arange(best_bC.shape[1], device=best_bC.device).expand_as(best_bC)
    origins = []
    for scores_bC, there_b1 in zip(chain.scores_WbC[1:], chain.there_Wb1[1:], strict=True):
        reached_bC, from_bC = (best_bC.unsqueeze(2) + chain.moves_bCC).max(1)
        best_bC = torch.where(there_b1, reached_bC + scores_bC, best_bC)
        origins.append(torch.where(there_b1, from_bC, stay_bC))
    path = [(best_bC + chain.end_bC).argmax(1, keepdim=True)]
    for origin_bC in reversed(origins):
        path.append(origin_bC.gather(1, path[-1]))
    tags_bW = torch.cat(path[::-1], 1)
    return torch.zeros_like(tags_bW).scatter(1, chain.order_bW, tags_bW) * kept_bW


def marginals(scores_bWC: Tensor, moves_bSS: Tensor, kept_bW: Tensor) -> Tensor:
    """Return the probability of every tag of every word, by forward and backward recursion."""
    chain = _chain(scores_bWC, moves_bSS, kept_bW)
    behind = [chain.end_bC]
    for scores_bC, there_b1 in reversed([*zip(chain.scores_WbC, chain.there_Wb1, strict=True)][1:]):
        after_bCC = (scores_bC + behind[-1]).unsqueeze(1)
        before_bC = torch.logsumexp(chain.moves_bCC + after_bCC, 2)
        behind.append(torch.where(there_b1, before_bC, behind[-1]))
    before_WbC = torch.stack(_forward(chain))
    chances_bWC = (before_WbC + torch.stack(behind[::-1])).softmax(-1).transpose(0, 1)
    places_bWC = chain.order_bW.unsqueeze(-1).expand_as(chances_bWC)
    return torch.zeros_like(chances_bWC).scatter(1, places_bWC, chances_bWC)


def _chain(scores_bWC: Tensor, moves_bSS: Tensor, kept_bW: Tensor) -> Chain:
    # The sort is stable: kept words move to the front in their order, so that the words around a
    # skipped one become neighbours, and only the end of a row is padding.
    order_bW = kept_bW.logical_not().byte().argsort(dim=1, stable=True)
    places_bWC = order_bW.unsqueeze(-1).expand_as(scores_bWC)
    moves_bSS = moves_bSS.float()
    return Chain(
        scores_bWC.float().gather(1, places_bWC).transpose(0, 1),
        kept_bW.gather(1, order_bW).T.unsqueeze(-1),
        order_bW,
        moves_bSS[:, -1, :-1],
        moves_bSS[:, :-1, :-1],
        moves_bSS[:, :-1, -1],
    )


def _forward(chain: Chain) -> list[Tensor]:
    """Return for each word and tag the log of the sum over all paths that end there."""
    sums = [chain.start_bC + chain.scores_WbC[0]]
    for scores_bC, there_b1 in zip(chain.scores_WbC[1:], chain.there_Wb1[1:], strict=True):
        reached_bC = torch.logsumexp(sums[-1].unsqueeze(2) + chain.moves_bCC, 1)
        sums.append(torch.where(there_b1, reached_bC + scores_bC, sums[-1]))
    return sums


def _log_partition(chain: Chain) -> Tensor:
    return torch.logsumexp(_forward(chain)[-1] + chain.end_bC, 1)


def _path_scores(chain: Chain, tags_Wb: Tensor) -> Tensor:
    there_Wb = chain.there_Wb1.squeeze(-1)
    own_b = (chain.scores_WbC.gather(2, tags_Wb.unsqueeze(-1)).squeeze(-1) * there_Wb).sum(0)
    rows_b = torch.arange(tags_Wb.shape[1], device=tags_Wb.device)
    moves_Wb = chain.moves_bCC[rows_b, tags_Wb[:-1], tags_Wb[1:]]
    # A row without words has no last one; ``chain_losses`` sets its loss to 0.
    last_b1 = (there_Wb.sum(0) - 1).clamp(min=0).unsqueeze(0)
    ends_b = chain.end_bC[rows_b, tags_Wb.gather(0, last_b1).squeeze(0)]
    return own_b + chain.start_bC[rows_b, tags_Wb[0]] + (moves_Wb * there_Wb[1:]).sum(0) + ends_b
