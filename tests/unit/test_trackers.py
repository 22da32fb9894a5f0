import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from polytask.core.errors import MissingExtraError
from polytask.training.trackers import build_trackers, scalars

RECORD = {
    "step": 3,
    "losses": {"tone": 0.5, "topic": 2},
    "best": True,
    "skipped": ["tone"],
    "selection": None,
    "validation": {"tone": {"accuracy": 0.25}},
}


def test_scalars_are_the_numbers_by_path() -> None:
    assert dict(scalars(RECORD)) == {
        "step": 3.0,
        "losses/tone": 0.5,
        "losses/topic": 2.0,
        "validation/tone/accuracy": 0.25,
    }


def test_tensorboard_reads_back_what_was_recorded(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for start, loss in ((0, 0.5), (3, 0.75)):
        (tracker,) = build_trackers(["tensorboard"], tmp_path, start)
        for step in range(start + 1, start + 6):
            tracker.write({"step": step, "losses": {"tone": loss}})
        tracker.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("losses/tone")]
    assert found == [(1, 0.5), (2, 0.5), (3, 0.5), *((step, 0.75) for step in range(4, 9))]


@pytest.mark.parametrize(
    ("name", "extra"), [("tensorboard", "trackers"), ("mlflow", "mlflow"), ("wandb", "wandb")]
)
def test_a_tracker_that_is_not_installed_says_how_to_get_it(
    name: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'polytask\[{extra}\]'"):
        build_trackers([name], tmp_path)


class FakeMLflow(ModuleType):
    """Remembers calls the way MLflow takes them."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.calls: list[tuple[Any, ...]] = []

    def start_run(self, run_id: str | None, run_name: str | None) -> Any:
        self.calls.append(("start", run_id, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "new"))

    def log_metrics(self, metrics: dict[str, float], step: int, synchronous: bool) -> None:
        self.calls.append((step, metrics))

    def end_run(self) -> None:
        self.calls.append(("end",))


def test_mlflow_goes_on_with_its_own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = FakeMLflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    for start in (0, 3):
        (tracker,) = build_trackers(["mlflow"], tmp_path, start)
        tracker.write({"step": start + 1, "losses": {"tone": 0.5}})
        tracker.close()
    assert mlflow.calls == [
        ("start", None, tmp_path.name),
        (1, {"step": 1.0, "losses/tone": 0.5}),
        ("end",),
        ("start", "new", None),
        (4, {"step": 4.0, "losses/tone": 0.5}),
        ("end",),
    ]


def test_wandb_resumes_its_own_run(tmp_path: Path) -> None:
    """In a process of its own: the package starts a service, and must not reach a server."""
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("the package wandb is not installed: pip install 'polytask[wandb]'")
    run, program = tmp_path / "run", tmp_path / "program.py"
    run.mkdir()
    program.write_text(WANDB_PROGRAM, encoding="utf-8")
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    command = [sys.executable, str(program), str(run)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    offline = sorted((run / "wandb").glob("offline-run-*"))
    identity = (run / "wandb.txt").read_text(encoding="utf-8")
    assert len(offline) == 2
    assert all(folder.name.endswith(f"-{identity}") for folder in offline)
    for folder in offline:
        [sent] = folder.glob("*.wandb")
        assert b"losses/tone" in sent.read_bytes()


WANDB_PROGRAM = """
import sys
from pathlib import Path
from polytask.training.trackers import build_trackers

for start in (0, 3):
    (tracker,) = build_trackers(["wandb"], Path(sys.argv[1]), start)
    tracker.write({"step": start + 1, "losses": {"tone": 0.5}})
    tracker.close()
"""
