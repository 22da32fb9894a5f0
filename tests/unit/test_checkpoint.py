"""Whatever happens to a process or a disk, what is loaded is what was saved."""

import contextlib
import errno
import logging
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st

from polytask.core.errors import RunError
from polytask.training import checkpoint
from polytask.training.checkpoint import Checkpoints, verify


def state_of(step: int) -> dict[str, Any]:
    weight = torch.full((20,), float(step))
    return {"model": {"weight": weight, "head": weight}, "sampler": {"step": step, "share": 0.1}}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flip(path: Path, position: int, change: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= change
    path.write_bytes(content)


def assert_is(found: checkpoint.Checkpoint | None, step: int) -> None:
    assert found is not None
    assert found.step == step
    assert found.state["sampler"] == {"step": step, "share": 0.1}
    assert torch.equal(found.state["model"]["weight"], state_of(step)["model"]["weight"])
    assert found.state["model"]["head"] is found.state["model"]["weight"]


def test_an_empty_or_missing_folder_holds_nothing(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path).load() is None
    assert Checkpoints(tmp_path / "absent").load() is None


def test_the_newest_comes_back(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (9, 10, 100_000_000):
        path = checkpoints.save(step, state_of(step))
        assert_is(checkpoints.load(), step)
        assert (tmp_path / "latest").read_text(encoding="utf-8") == path.name + "\n"
    assert names(tmp_path) == ["latest", "step-00000010", "step-100000000"]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(3, {"counts": {"validations": 1}})
    checkpoints.save(3, {"counts": {"validations": 2}})
    found = checkpoints.load()
    assert found is not None
    assert found.state == {"counts": {"validations": 2}}
    assert names(tmp_path) == ["latest", "step-00000003"]


def test_a_replacement_that_was_cut_short_is_undone(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    path = checkpoints.save(3, state_of(3))
    path.rename(path.with_name(path.name + ".replaced"))
    assert_is(checkpoints.load(), 3)
    checkpoints.save(4, state_of(4))
    assert names(tmp_path) == ["latest", "step-00000004"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    for step in (1, 2):
        Checkpoints(folder).save(step, state_of(step))
    return folder


@settings(deadline=None)
@given(st.data())
def test_one_changed_byte_anywhere_is_passed_over(pair: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted((pair / "step-00000002").iterdir())))
    written = path.read_bytes()
    flip(path, data.draw(st.integers(0, len(written) - 1)), data.draw(st.integers(1, 255)))
    found = Checkpoints(pair).load()
    assert_is(found, 1)
    assert found is not None
    assert len(found.damaged) == 1
    assert "step-00000002" in found.damaged[0]
    path.write_bytes(written)
    assert_is(Checkpoints(pair).load(), 2)


def test_going_back_is_said(pair: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    shutil.copytree(pair, tmp_path / "copy")
    flip(tmp_path / "copy" / "step-00000002" / "state.json", 0)
    with caplog.at_level(logging.WARNING, "polytask"):
        Checkpoints(tmp_path / "copy").load()
    assert "state.json: damaged" in caplog.text
    assert "resuming from step-00000001 instead" in caplog.text


def test_a_missing_truncated_or_emptied_file_is_passed_over(pair: Path, tmp_path: Path) -> None:
    for name in ("manifest.json", "state.json", "tensors.safetensors"):
        for size in (None, 0, 10):
            folder = shutil.copytree(pair, tmp_path / f"{name}-{size}")
            path = folder / "step-00000002" / name
            path.unlink() if size is None else os.truncate(path, size)
            assert_is(Checkpoints(folder).load(), 1)


def test_a_renamed_checkpoint_is_damaged(pair: Path, tmp_path: Path) -> None:
    shutil.copytree(pair / "step-00000001", tmp_path / "step-00000007")
    with pytest.raises(RunError, match="it was saved after step 1"):
        verify(tmp_path / "step-00000007")


def test_nothing_intact_is_an_error_that_names_each(pair: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pair, tmp_path / "copy")
    for step in ("step-00000001", "step-00000002"):
        flip(folder / step / "state.json", 5)
    with pytest.raises(
        RunError, match=r"(?s)step-00000002.*step-00000001.*no checkpoint is intact"
    ):
        Checkpoints(folder).load()


def test_a_wrong_or_missing_latest_does_not_matter(pair: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pair, tmp_path / "copy")
    for content in ("step-00000001\n", "nonsense", ""):
        (folder / "latest").write_text(content, encoding="utf-8")
        assert_is(Checkpoints(folder).load(), 2)
    (folder / "latest").unlink()
    assert_is(Checkpoints(folder).load(), 2)


def test_partial_states_are_refused_unless_asked_for(pair: Path) -> None:
    checkpoints = Checkpoints(pair)
    assert_is(checkpoints.load(["sampler", "model"]), 2)
    with pytest.raises(RunError, match=r"missing \['balancer'\], not expected \[\]"):
        checkpoints.load(["model", "sampler", "balancer"])
    with pytest.raises(RunError, match=r"missing \[\], not expected \['sampler'\]"):
        checkpoints.load(["model"])
    assert_is(checkpoints.load(["model"], partial=True), 2)


def test_only_verified_ones_count_as_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        checkpoints.save(step, state_of(step))
    flip(tmp_path / "step-00000002" / "tensors.safetensors", -1)
    checkpoints.save(3, state_of(3))
    assert names(tmp_path) == ["latest", "step-00000001", "step-00000003"]


def test_damaged_ones_of_a_later_step_go_when_training_has_gone_back(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (10, 20):
        checkpoints.save(step, state_of(step))
    flip(tmp_path / "step-00000020" / "manifest.json", 0)
    assert_is(checkpoints.load(), 10)
    checkpoints.save(15, state_of(15))
    assert names(tmp_path) == ["latest", "step-00000010", "step-00000015"]
    assert_is(checkpoints.load(), 15)


def test_later_ones_go_when_training_has_started_again_before_them(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (10, 20, 15):
        checkpoints.save(step, state_of(step))
    assert names(tmp_path) == ["latest", "step-00000010", "step-00000015"]


def test_one_that_cannot_be_deleted_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checkpoint, "remove_sealed", refuse)
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, state_of(1))
    checkpoints.save(2, state_of(2))
    assert "step-00000001: the old checkpoint could not be deleted" in caplog.text
    assert_is(checkpoints.load(), 2)


@contextlib.contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Writing beyond that size fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [10, 5_000])
def test_a_full_disk_is_a_clear_error_and_loses_nothing(size: int, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, state_of(1))
    large = state_of(2) | {"large": torch.zeros(10_000)}
    with (
        files_limited_to(size),
        pytest.raises(RunError, match=r"step-00000002.*could not be saved"),
    ):
        checkpoints.save(2, large)
    assert names(tmp_path) == ["latest", "step-00000001"]
    assert_is(checkpoints.load(), 1)


CHILDREN = """
import os, random, signal, sys, time, torch
from pathlib import Path
from polytask.training.checkpoint import Checkpoints, verify

folder = Path(sys.argv[1])
os.fsync = lambda handle: None  # a process that dies takes nothing written with it

def save(step, keep):
    weight = torch.full((50_000,), float(step))
    state = {"model": {"weight": weight, "head": weight}, "sampler": {"step": step, "share": 0.1}}
    Checkpoints(folder, keep).save(step, state)

def step_of_whole_one():
    found = Checkpoints(folder).load()
    assert found.damaged == () and found.state["sampler"]["step"] == found.step
    assert bool((found.state["model"]["weight"] == found.step).all())
    return found.step

def in_child(work):
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    return child
"""

CRASH_AT_EACH_OPERATION = """
def save_and_crash_before(operation):
    events = iter(range(operation))
    watched = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")
    sys.addaudithook(
        lambda event, _: os._exit(9) if event in watched and next(events, None) is None else None
    )
    save(1, keep=1)
    save(2, keep=1)

crashes, crashed = 0, True
while crashed:
    save(1, keep=1)
    child = in_child(lambda: save_and_crash_before(crashes))
    crashed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    crashes += crashed
    last = step_of_whole_one()
    for path in folder.glob("step-*[0-9]"):
        verify(path)
print(crashes, last)
"""

KILL_AT_ANY_MOMENT = """
def save_on_and_on(pipe):
    step = step_of_whole_one()
    while True:
        step += 1
        save(step, keep=1)
        save(step, keep=1)
        os.write(pipe, b"%d " % step)

save(1, keep=1)
moments = random.Random(0)
for _ in range(25):
    reader, writer = os.pipe()
    child = in_child(lambda: save_on_and_on(writer))
    os.close(writer)
    time.sleep(moments.uniform(0, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    finished = max([1, *map(int, open(reader).read().split())])
    assert step_of_whole_one() >= finished
save(10**6, keep=1)
print(*sorted(path.name for path in folder.glob("*step*")))
"""


def run_children(script: str, folder: Path) -> str:
    command = [sys.executable, "-W", "ignore", "-c", CHILDREN + script, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_crash_before_any_operation_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    crashes, last = map(int, run_children(CRASH_AT_EACH_OPERATION, tmp_path).split())
    assert crashes > 15
    assert last == 2


def test_a_process_killed_at_any_moment_loses_no_finished_save(tmp_path: Path) -> None:
    assert run_children(KILL_AT_ANY_MOMENT, tmp_path) == "step-01000000"


def test_a_reader_beside_a_writer_always_finds_a_whole_one(tmp_path: Path) -> None:
    """With ``keep=1`` the checkpoint being read is often deleted meanwhile."""
    done = threading.Event()

    def read() -> list[int]:
        steps = []
        while not done.is_set():
            found = Checkpoints(tmp_path).load()
            assert found is not None
            assert_is(found, found.step)
            steps.append(found.step)
        return steps

    writer = Checkpoints(tmp_path, keep=1)
    writer.save(1, state_of(1))
    with ThreadPoolExecutor() as pool:
        reader = pool.submit(read)
        for step in range(2, 60):
            writer.save(step, state_of(step))
        done.set()
        steps = reader.result()
    assert steps == sorted(steps)
    assert len(set(steps)) > 3


TRAIN_AND_RESUME = """
import torch._dynamo  # takes a second, and every optimiser does it
from torch import nn
from polytask.training.randomness import random_state, restore_random_state, seed_everything

def train(first, last, save_at, pipe):
    seed_everything(1 if first == 0 else 99)
    model = nn.Sequential(
        nn.Embedding(50, 16), nn.Flatten(), nn.Linear(64, 37), nn.LayerNorm(37), nn.Dropout(0.3),
        nn.Linear(37, 3),
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    checkpoints = Checkpoints(folder)
    if first:
        state = checkpoints.load(["model", "optimiser", "random"]).state
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        restore_random_state(state["random"])
    for step in range(first, last):
        ids, labels = torch.randint(50, (8, 4)), torch.randint(3, (8,))
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(model(ids).float(), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        os.write(pipe, (loss.item().hex() + " ").encode())
        if step + 1 == save_at:
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
            checkpoints.save(save_at, state | {"random": random_state()})

for arguments in ((0, 30, 13), (13, 30, 0)):
    reader, writer = os.pipe()
    os.waitpid(in_child(lambda: train(*arguments, writer)), 0)
    os.close(writer)
    print(open(reader).read())
"""


def test_a_training_goes_on_with_the_same_bits_in_another_process(tmp_path: Path) -> None:
    whole, rest = run_children(TRAIN_AND_RESUME, tmp_path).splitlines()
    losses = whole.split()
    assert len(set(losses)) == 30
    assert rest.split() == losses[13:]
