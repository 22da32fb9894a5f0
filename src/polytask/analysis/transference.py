"""How much a step for one task helps another.

Fifty, Amid, Zhao, Yu, Anil and Finn, "Efficiently Identifying Task Groupings for Multi-Task
Learning", NeurIPS 2021, equations 1 and 2. https://arxiv.org/abs/2109.04617

The affinity of helper i for task j is 1 - L_j(after a step for i) / L_j(before), with a step on the
shared parameters alone and the same rows. Matrices have a row per task and a column per helper.

Deviations: the step is plain gradient descent, of one rate for all tasks such that, to first order,
it lowers the own losses by 1 % on average; so numbers can be compared between recipes. Looks are
averaged over steps with their standard error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polytask.analysis.uncertainty import Floats
from polytask.core.batch import Batch
from polytask.training.interference import Observer

_OWN_GAIN = 0.01


def rate(losses_T: Tensor, gramian_TT: Tensor) -> float:
    """Return the rate at which a step lowers the loss of its task by 1 % to first order, on average.

    :param losses_T: nan for absent tasks.
    """
    relative_T = gramian_TT.diagonal() / losses_T.abs()
    return float(_OWN_GAIN / relative_T[relative_T.isfinite()].mean())


def first_order(losses_T: Tensor, gramian_TT: Tensor) -> Floats:
    """Return the affinity to first order: rate × g_i·g_j / L_j, from inner products alone."""
    affinity_TT = rate(losses_T, gramian_TT) * gramian_TT / losses_T[:, None]
    return np.asarray(affinity_TT.double().cpu().numpy())


def affinity(before_T: Tensor, after_TT: Tensor) -> Floats:
    """Return equation 1 for all pairs.

    :param after_TT: The loss of each task, a row each, after a step for each helper.
    """
    return np.asarray((1 - after_TT / before_T[:, None]).double().cpu().numpy())


def lookahead(observer: Observer, batches: Sequence[Batch]) -> tuple[Floats, Floats]:
    """Measure affinities on the rows of one step; also return them to first order.

    The model is left as it was. Absent tasks have nan.
    """
    losses_T, jacobian_TP = observer.gradients(batches)
    gramian_TT = (jacobian_TP @ jacobian_TP.T).double().cpu()
    chosen = rate(losses_T, gramian_TT)
    columns = [_after(observer, batches, -chosen * row_P) for row_P in jacobian_TP]
    after_TT = torch.stack(columns, dim=1)
    after_TT[:, losses_T.isnan()] = torch.nan
    first_TT = first_order(losses_T, gramian_TT)
    first_TT[:, losses_T.isnan().numpy()] = np.nan
    return affinity(losses_T, after_TT), first_TT


def _after(observer: Observer, batches: Sequence[Batch], step_P: Tensor) -> Tensor:
    """Return the losses after a step on the shared parameters, and undo the step."""
    shared = observer.partition.shared
    kept = [parameter.detach().clone() for parameter in shared]
    pieces = step_P.split([parameter.numel() for parameter in shared])
    with torch.no_grad():
        for parameter, piece in zip(shared, pieces, strict=True):
            parameter.add_(piece.view_as(parameter).to(parameter))
        losses_T = observer.losses(batches)
        for parameter, before in zip(shared, kept, strict=True):
            parameter.copy_(before)
    return losses_T


def from_looks(records: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> list[Floats]:
    """Return first-order affinities from the records of a training, one matrix per look."""
    found_STT = np.full((len(records), len(tasks), len(tasks)), np.nan)
    for found_TT, record in zip(found_STT, records, strict=True):
        places = [tasks.index(task) for task in record["tasks"]]
        losses_t = torch.tensor([record["losses"][task] for task in record["tasks"]])
        gramian_tt = torch.tensor(record["gramian"])
        found_TT[np.ix_(places, places)] = first_order(losses_t.double(), gramian_tt.double())
    return [*found_STT]
