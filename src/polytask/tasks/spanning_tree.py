"""Maximum spanning trees: the best way to give every word one head.

Chu and Liu 1965, Edmonds 1967, as in McDonald et al., "Non-projective Dependency Parsing using
Spanning Tree Algorithms", EMNLP 2005, figure 3. https://aclanthology.org/H05-1066
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def best_tree(scores_WH: Floats) -> Ints:
    """The head of every word in the tree of the highest sum of scores, with one word at the root.

    O(W^3) at worst; a matrix that is a tree already costs one argmax.

    :param scores_WH: Score of every head of every word, H = W + 1: head 0 is the root, head h is
        word h - 1. Finite; those of a word as its own head are not looked at.
    :return: Head of each word, 0 to W.
    """
    words = len(scores_WH)
    if not words:
        return np.zeros(0, dtype=np.int64)
    scores_NN = np.vstack([np.zeros(words + 1), scores_WH])
    # One arc from the root costs more than all others can bring: a tree that has one is the best.
    # It costs no more than that, or what distinguishes roots would be lost in rounding.
    others_WH = ~np.eye(words, words + 1, 1, dtype=bool)
    highest, lowest = scores_WH[others_WH].max(), scores_WH[others_WH].min()
    scores_NN[:, 0] -= (words + 1) * (highest - lowest) + 1
    return _arborescence(scores_NN)[1:]


def _arborescence(scores_NN: Floats) -> Ints:
    """The head of every node, 0 for node 0, which the others hang from directly or not."""
    scores_NN = scores_NN.copy()
    np.fill_diagonal(scores_NN, -np.inf)
    heads_N = scores_NN.argmax(1)
    heads_N[0] = 0
    cycle = _cycle(heads_N)
    return heads_N if cycle is None else _without_cycle(scores_NN, heads_N, cycle)


def _without_cycle(scores_NN: Floats, heads_N: Ints, cycle: Ints) -> Ints:
    """Solve the smaller problem in which a cycle is one node, the last, and open it where entered."""
    outside = np.setdiff1d(np.arange(len(scores_NN)), cycle)
    kept_c = scores_NN[cycle, heads_N[cycle]]
    out_oc = scores_NN[np.ix_(outside, cycle)]
    into_co = scores_NN[np.ix_(cycle, outside)] - kept_c[:, None]
    smaller = np.zeros((len(outside) + 1, len(outside) + 1))
    smaller[:-1, :-1] = scores_NN[np.ix_(outside, outside)]
    smaller[:-1, -1], smaller[-1, :-1] = out_oc.max(1), into_co.max(0)
    found = _arborescence(smaller)
    last = len(outside)
    result_N = heads_N.copy()
    from_cycle = found[:-1] == last
    inner = np.append(outside, -1)[found[:-1]]
    result_N[outside] = np.where(from_cycle, cycle[out_oc.argmax(1)], inner)
    entry = into_co[:, found[last]].argmax()
    result_N[cycle[entry]] = outside[found[last]]
    result_N[0] = 0
    return result_N


def _cycle(heads_N: Ints) -> Ints | None:
    """The nodes of some cycle that does not hold node 0, if there is one."""
    seen = np.zeros(len(heads_N), dtype=np.int64)
    seen[0] = -1
    heads = heads_N.tolist()
    for start in range(1, len(heads)):
        node = start
        while not seen[node]:
            seen[node] = start
            node = heads[node]
        if seen[node] == start:
            cycle = [node]
            while heads[cycle[-1]] != node:
                cycle.append(heads[cycle[-1]])
            return np.array(cycle)
    return None
