"""How much tasks help each other, by training every pair of them.

Standley et al., "Which Tasks Should Be Learned Together in Multi-Task Learning?", ICML 2020,
section 4: the gains of larger groups are predicted from pairs.
https://arxiv.org/abs/1905.07553
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from polytask.analysis.trainings import Trainer, relative_gain
from polytask.analysis.uncertainty import Floats


def trainings_of_pairs(tasks: int, seeds: int) -> int:
    """Return the number of trainings of all pairs and single tasks."""
    return seeds * (tasks + tasks * (tasks - 1) // 2)


def pairwise(trainer: Trainer, tasks: Sequence[str]) -> list[Floats]:
    """Measure the gain of each task (rows) from each helper (columns); one matrix per seed.

    Gains are shares of the validation score of the task alone.
    """
    alone = {task: trainer.scores([task], "validation") for task in tasks}
    gains_STT = np.zeros((len(trainer.seeds), len(tasks), len(tasks)))
    for pair in combinations(range(len(tasks)), 2):
        together = trainer.scores([tasks[place] for place in pair], "validation")
        for task, helper in (pair, pair[::-1]):
            name = tasks[task]
            for seed, scores in enumerate(together):
                gain = relative_gain(scores[name], alone[name][seed][name])
                gains_STT[seed, task, helper] = gain
    return [*gains_STT]
