"""Maximum spanning trees: the best way to give every word one head.

Chu and Liu 1965, Edmonds 1967, as in McDonald et al., "Non-projective Dependency Parsing using
Spanning Tree Algorithms", EMNLP 2005, figure 3. https://aclanthology.org/H05-1066. Cycles are
contracted in place in one matrix, in O(N^2) altogether: Tarjan, "Finding Optimum Branchings",
Networks 7, 1977. https://doi.org/10.1002/net.3230070103
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer[Any]]


class Contraction(NamedTuple):
    """A cycle that became one node.

    :param nodes_c: The nodes of the cycle; the first stands for all from then on.
    :param heads_c: Their heads in the cycle.
    :param entry_N: For each node as the head of the cycle, which node of it is entered.
    :param exit_N: For each node that hangs from the cycle, from which node of it.
    """

    nodes_c: Ints
    heads_c: Ints
    entry_N: Ints
    exit_N: Ints


def best_tree(scores_WH: npt.NDArray[np.floating[Any]]) -> Ints:
    """Return the head of every word in the tree of the highest sum of scores, with one word at the root.

    O(W^2) time, and one matrix of doubles beside the scores.

    :param scores_WH: Score of every head of every word, H = W + 1: head 0 is the root, head h is
        word h - 1. Finite; the score of a word as its own head is not used.
    :return: Head of each word, 0 to W.
    """
    words = len(scores_WH)
    if not words:
        return np.zeros(0, dtype=np.int64)
    scores_NN = np.empty((words + 1, words + 1))
    scores_NN[1:] = scores_WH
    np.fill_diagonal(scores_NN, np.inf)
    lowest = scores_NN[1:].min()
    np.fill_diagonal(scores_NN, -np.inf)
    highest = scores_NN[1:].max()
    # One arc from the root costs more than all others can bring: a tree that has one is the best.
    # It costs no more than that, or what distinguishes roots would be lost in rounding.
    scores_NN[:, 0] -= (words + 1) * (highest - lowest) + 1
    return _arborescence(scores_NN)[1:]


def _arborescence(scores_NN: Floats) -> Ints:
    """Return the head of every node, 0 for node 0, which the others hang from directly or not.

    :param scores_NN: Used up. A node that became part of another is the head of none: -inf.
    """
    heads_N: Ints = scores_NN.argmax(1)
    heads_N[0] = 0
    # The path that reached a node first: -1 for the root, 0 for none yet.
    path_of = [-1] + [0] * (len(heads_N) - 1)
    done: list[Contraction] = []
    for start in range(1, len(heads_N)):
        node = start
        while not path_of[node]:
            path_of[node] = start
            node = int(heads_N[node])
            if path_of[node] == start:
                done.append(_contract(scores_NN, heads_N, _cycle(heads_N, node)))
                node = int(done[-1].nodes_c[0])
                path_of[node] = 0  # what the path leads to now is not known yet
    for contraction in reversed(done):
        _expand(contraction, heads_N)
    return heads_N


def _cycle(heads_N: Ints, node: int) -> Ints:
    """Return the nodes of the cycle that a node is in."""
    cycle = [node]
    while heads_N[cycle[-1]] != node:
        cycle.append(int(heads_N[cycle[-1]]))
    return np.array(cycle, dtype=np.int32)  # one array of N per contraction is kept


def _contract(scores_NN: Floats, heads_N: Ints, nodes_c: Ints) -> Contraction:
    """Make a cycle one node, the first of it, and choose its head."""
    first, others = nodes_c[0], nodes_c[1:]
    heads_c = heads_N[nodes_c]
    # An arc into the cycle replaces the arc to the node that it enters: only the difference counts.
    into_cN = scores_NN[nodes_c] - scores_NN[nodes_c, heads_c][:, None]
    from_Nc = scores_NN[:, nodes_c]
    entry, exits = into_cN.argmax(0), from_Nc.argmax(1)
    scores_NN[first] = into_cN.max(0)
    scores_NN[:, first] = from_Nc.max(1)
    scores_NN[:, others] = -np.inf
    scores_NN[first, first] = -np.inf
    heads_N[np.isin(heads_N, others)] = first
    heads_N[first] = scores_NN[first].argmax()
    return Contraction(nodes_c, heads_c, nodes_c[entry], nodes_c[exits])


def _expand(contraction: Contraction, heads_N: Ints) -> None:
    """Undo a contraction: the cycle is opened where its head enters it."""
    nodes_c, heads_c, entry_N, exit_N = contraction
    head = heads_N[nodes_c[0]]
    outside_n = np.flatnonzero(heads_N == nodes_c[0])
    heads_N[outside_n] = exit_N[outside_n]
    heads_N[nodes_c] = heads_c
    heads_N[entry_N[head]] = head
