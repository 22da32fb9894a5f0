"""What a method costs beside the gradients: milliseconds at T = 2 to 64, beside TorchJD's.

Gramian methods are given the inner products of T gradients, Jacobian methods the gradients
themselves, P = 10,000 numbers each, and loss methods T losses, whose objective is differentiated.
Methods that look at validation gradients, too, are given the inner products of 2 T gradients.
ConFIG has the gradients in both libraries, and its inner products are timed. The gradients lie near
a space of eight dimensions and have lengths that differ by a factor of about thirty; a third of all
pairs conflict. Every round draws new ones, and gives the same to all in turn. Milliseconds are of
CPU time, of one call, directly after one that is not counted.

TorchJD's methods have its default options, but for those without a default, which have ours. They do
not always compute the same: its MGDA stops after 100 iterations, ours is exact. Most of ours
solve in float64.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchjd import aggregation, scalarization

from polytask.balancing import (
    GramianBalancer,
    JacobianBalancer,
    LossBalancer,
    balancers,
)

WIDTH, DIRECTIONS, MEAN = 10_000, 8, 0.4
SIZES = (2, 4, 8, 16, 32, 64)

THEIRS: dict[str, Callable[[int], Callable[[Tensor], Tensor]]] = {
    "aligned_mtl": lambda _: aggregation.AlignedMTLWeighting(),
    "cagrad": lambda _: aggregation.CAGradWeighting(c=0.4),
    "config": lambda _: aggregation.ConFIG(),
    "dualproj": lambda _: aggregation.DualProjWeighting(),
    "fairgrad": lambda _: aggregation.FairGradWeighting(alpha=2.0),
    "gradvac": lambda _: aggregation.GradVacWeighting(),
    "imtl_g": lambda _: aggregation.IMTLGWeighting(),
    "mgda": lambda _: aggregation.MGDAWeighting(),
    "modo": lambda _: aggregation.MoDoWeighting(),
    "nash_mtl": lambda tasks: aggregation.NashMTL(tasks),
    "pcgrad": lambda _: aggregation.PCGradWeighting(),
    "sdmgrad": lambda _: aggregation.SDMGradWeighting(),
    "upgrad": lambda _: aggregation.UPGradWeighting(),
    "excess_mtl": lambda _: aggregation.ExcessMTL(),
    "graddrop": lambda _: aggregation.GradDrop(),
    "cosmos": lambda tasks: scalarization.COSMOS(1.0, torch.ones(tasks)),
    "dwa": lambda _: scalarization.DWA(),
    "equal": lambda _: scalarization.Sum(),
    "famo": lambda tasks: scalarization.FAMO(tasks),
    "fixed": lambda tasks: scalarization.Constant(torch.ones(tasks)),
    "gls": lambda _: scalarization.GeometricMean(),
    "imtl_l": lambda tasks: scalarization.IMTLL(tasks),
    "pbi": lambda tasks: scalarization.PBI(0.5, torch.ones(tasks)),
    "random": lambda _: scalarization.Random(),
    "stch": lambda _: scalarization.STCH(1.0),
    "uncertainty": lambda tasks: scalarization.UW(tasks),
}


@dataclass(frozen=True)
class Inputs:
    """What a method may look at in a round."""

    losses_T: Tensor
    jacobian_TP: Tensor
    gramian_TT: Tensor
    both_SS: Tensor
    """Inner products of 2 T gradients."""


Call = Callable[[Inputs], object]


def drawn(tasks: int, seed: int) -> Inputs:
    """Gradients of unlike lengths, some of which conflict, and losses."""
    noise = torch.Generator().manual_seed(seed)
    mix_SK = MEAN + torch.randn(2 * tasks, DIRECTIONS, generator=noise)
    directions_KP = torch.randn(DIRECTIONS, WIDTH, generator=noise)
    apart_SP = torch.randn(2 * tasks, WIDTH, generator=noise)
    lengths_S1 = 10 ** (1.5 * torch.rand(2 * tasks, 1, generator=noise) - 3)
    jacobian_SP = lengths_S1 * (mix_SK @ directions_KP + apart_SP)
    both_SS = jacobian_SP @ jacobian_SP.T
    losses_T = 0.1 + torch.rand(tasks, generator=noise)
    return Inputs(losses_T, jacobian_SP[:tasks], both_SS[:tasks, :tasks].contiguous(), both_SS)


def differentiated(objective: Callable[[Tensor], Tensor]) -> Call:
    """An objective and its gradient."""
    return lambda inputs: objective(inputs.losses_T.clone().requires_grad_()).backward()


def ours(kind: str, tasks: int) -> Call:
    """The function that makes a method of polytask."""
    method = balancers.build(kind, tasks)
    if isinstance(method, LossBalancer):
        return differentiated(method.objective)
    if isinstance(method, JacobianBalancer):
        combine = method.combine
        return lambda inputs: combine(inputs.jacobian_TP)
    assert isinstance(method, GramianBalancer)
    weights = method.weights
    if kind == "config":
        return lambda inputs: (
            weights(inputs.jacobian_TP @ inputs.jacobian_TP.T) @ inputs.jacobian_TP
        )
    if "validation" in method.needs:
        return lambda inputs: weights(inputs.both_SS)
    return lambda inputs: weights(inputs.gramian_TT)


def theirs(kind: str, tasks: int) -> Call | str | None:
    """The same of TorchJD; what is missing if it cannot run, None if it has no such method."""
    if kind not in THEIRS:
        return None
    try:
        method = THEIRS[kind](tasks)
    except ImportError as error:
        return str(error)
    if isinstance(method, scalarization.Scalarizer):
        return differentiated(method)
    if isinstance(method, aggregation.Aggregator):
        return lambda inputs: method(inputs.jacobian_TP)
    return lambda inputs: method(inputs.gramian_TT)


def milliseconds(call: Call, inputs: Inputs) -> float:
    """CPU time of one call, with all that it needs in the caches."""
    call(inputs)
    began = time.process_time()
    call(inputs)
    return 1000 * (time.process_time() - began)


def timed(tasks: int, kinds: Sequence[str], rounds: int) -> dict[tuple[str, str], list[float]]:
    """All calls in turn, by method and library."""
    calls: dict[tuple[str, str], Call] = {}
    for kind in kinds:
        calls[kind, "polytask"] = ours(kind, tasks)
        other = theirs(kind, tasks)
        if callable(other):
            calls[kind, "TorchJD"] = other
    spent: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for number in range(rounds):
        inputs = drawn(tasks, number)
        for key, call in calls.items():
            spent[key].append(milliseconds(call, inputs))
    return spent


def shown(found: Sequence[float]) -> str:
    """Median and range, two digits that count."""
    middle, low, high = statistics.median(found), min(found), max(found)
    digits = 2 if middle < 1 else 1 if middle < 10 else 0
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def report(kinds: Sequence[str], rounds: int) -> None:
    """Print the table, then what could not run."""
    columns = {tasks: timed(tasks, kinds, rounds) for tasks in SIZES}
    heads = " | ".join(f"T = {tasks}" for tasks in SIZES)
    print(f"| | | {heads} |\n|---|---|{'---:|' * len(SIZES)}")
    for kind, library in columns[SIZES[0]]:
        cells = " | ".join(shown(column[kind, library]) for column in columns.values())
        print(f"| {kind if library == 'polytask' else ''} | {library} | {cells} |")
    for kind in kinds:
        if isinstance(missing := theirs(kind, 2), str):
            print(f"{kind}: {missing}")


def conflicts(tasks: int) -> float:
    """The share of pairs of gradients with a negative inner product."""
    signs_TT = drawn(tasks, 1).gramian_TT < 0
    return float(signs_TT.sum()) / (tasks * (tasks - 1))


def main() -> None:
    """Time the methods by shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--kinds", nargs="*", default=balancers.kinds())
    args = parser.parse_args()
    print(f"Of all pairs of gradients, {conflicts(64):.0%} conflict at T = 64.")
    for shape in (LossBalancer, GramianBalancer, JacobianBalancer):
        kinds = [kind for kind in args.kinds if issubclass(balancers.part(kind), shape)]
        print(f"\n{shape.__name__}\n")
        report(kinds, args.rounds)


if __name__ == "__main__":
    main()
