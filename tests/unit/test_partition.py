import torch
from torch import nn

from polytask.core.partition import find_partition


def test_the_map_says_which_task_reaches_which_parameter() -> None:
    trunk, left, right, idle = (nn.Linear(2, 2, bias=False) for _ in range(4))
    hidden_BD = trunk(torch.ones(1, 2))
    losses = {"left": left(hidden_BD).sum(), "right": right(hidden_BD).sum()}
    parts = {"trunk": trunk, "left": left, "right": right, "idle": idle}
    partition = find_partition(
        losses, {name: part.get_parameter("weight") for name, part in parts.items()}
    )
    assert partition.tasks_of == {
        "trunk": ("left", "right"),
        "left": ("left",),
        "right": ("right",),
        "idle": (),
    }
    assert [*partition.shared] == [trunk.weight]
    assert [*partition.private] == [left.weight, right.weight]
    assert partition.unreached == ["idle"]
