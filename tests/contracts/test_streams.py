"""The training loop drives any stream: here a contextual bandit, whose rows depend on the model."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typing_extensions import override

from polytask.balancing import balancers
from polytask.core.batch import Batch, Targets
from polytask.core.errors import InterruptedTrainingError
from polytask.core.run_folder import RunFolder
from polytask.data.pools import Collation
from polytask.modeling import MultiTaskModel
from polytask.sharing import architectures
from polytask.tasks.classification import Classification
from polytask.training.loop import train
from polytask.training.options import TrainingOptions
from polytask.training.selection import Criterion
from polytask.training.session import Parts, Session
from tests.fakes import Cells

ACTIONS = ("left", "middle", "right")
ROWS = 32


class Policy(Classification):
    """An action for each context, learned from its reward.

    Williams, "Simple statistical gradient-following algorithms", Machine Learning 1992.
    """

    @override
    def loss(self, scores: Tensor, values: Any) -> Tensor:
        chosen_b = scores.log_softmax(-1).gather(1, values["actions"].unsqueeze(1)).squeeze(1)
        loss: Tensor = -(values["rewards"] * chosen_b).mean()
        return loss


class Bandit:
    """Contexts, actions drawn from the policy as it is, and the rewards of a hidden rule."""

    epoch_draws = 20 * ROWS
    labelled_together = (("policy",),)

    def __init__(self, encoder: Cells, model: MultiTaskModel) -> None:
        self._encoder, self._model = encoder, model
        self._step = 0
        self.rewards: list[float] = []
        self.stops = 0

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self._step += 1
            if self._step == self.stops:
                signal.raise_signal(signal.SIGTERM)
            yield self._draw(self._step)

    @torch.no_grad()
    def _draw(self, step: int) -> Batch:
        contexts = np.random.default_rng([0, step]).normal(size=(ROWS, 2)).round(3).tolist()
        inputs = self._encoder.collate(self._encoder.prepare([tuple(row) for row in contexts]))
        rows_B = torch.arange(ROWS)
        self._model.eval()
        chances_BC = self._model(inputs, {"policy": rows_B})["policy"].softmax(-1)
        self._model.train()
        generator = torch.Generator().manual_seed(step)
        actions_B = torch.multinomial(chances_BC, 1, generator=generator).squeeze(1)
        best = [0 if x < -0.4 else 2 if x > 0.4 else 1 for x, _ in contexts]
        rewards_B = (actions_B == torch.tensor(best)).float()
        self.rewards.append(float(rewards_B.mean()))
        values = {"actions": actions_B, "rewards": rewards_B - 1 / len(ACTIONS)}
        return Batch(inputs, {"policy": Targets(rows_B, values)}, ROWS, tokens=2 * ROWS)

    def state(self) -> dict[str, Any]:
        return {"step": self._step}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._step = state["step"]

    def report(self) -> Mapping[str, Any]:
        return {"reward": self.rewards[-1]}

    def set_rank(self, rank: int, ranks: int, placement: str) -> None: ...

    def set_progress(self, progress: Callable[[], float]) -> None: ...

    def observe(self, record: Mapping[str, Any]) -> None: ...

    def exclude(self, tasks: frozenset[str]) -> None: ...


def session(folder: Path, steps: int = 120) -> Session:
    torch.manual_seed(0)
    encoder, policy = Cells(), Policy("policy")
    encoder.fit([(0.0, 0.0)])
    policy.fit(ACTIONS)
    model = MultiTaskModel(architectures.build("hard", encoder, ["policy"]), {"policy": policy})
    bandit = Bandit(encoder, model)
    options = TrainingOptions(
        steps=steps, learning_rate=0.02, precision="fp32", schedule="constant"
    )
    parts = Parts(
        model=model,
        balancer=balancers.build("equal", 1),
        loader=bandit,
        collation=Collation(encoder.collate, {}),
        probe=bandit._draw(0),
        validate=lambda predictor: {"tasks": {}, "pooled": {}, "average": None},
        criterion=Criterion({}),
    )
    return Session(parts, options, RunFolder(folder))


def parameters(trained: Session) -> Sequence[Tensor]:
    return [value.detach().clone() for value in trained.model.parameters()]


def test_the_reward_grows(tmp_path: Path) -> None:
    trained = session(tmp_path)
    train(trained)
    assert isinstance(trained.loader, Bandit)
    assert np.mean(trained.loader.rewards[:10]) < 0.5
    assert np.mean(trained.loader.rewards[-10:]) > 0.75
    steps = [record for record in trained.run.records() if "losses" in record]
    assert steps[-1]["reward"] == trained.loader.rewards[-1]


def test_a_stopped_and_resumed_training_draws_the_same(tmp_path: Path) -> None:
    whole = session(tmp_path / "whole", 12)
    train(whole)
    stopped = session(tmp_path / "stopped", 12)
    assert isinstance(stopped.loader, Bandit)
    stopped.loader.stops = 7
    with pytest.raises(InterruptedTrainingError, match="SIGTERM after step 7"):
        train(stopped)
    resumed = session(tmp_path / "stopped", 12)
    assert resumed.resume()
    train(resumed)
    for one, other in zip(parameters(whole), parameters(resumed), strict=True):
        assert torch.equal(one, other)
    assert whole.loader.state() == resumed.loader.state() == {"step": 12}
