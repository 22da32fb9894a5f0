import io
import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from polytask.core.errors import RunError
from polytask.training.log import TrainingLog
from polytask.training.progress import Average, Progress
from polytask.training.trackers import Tracker


def step_record(step: int, total: int = 100, **changes: Any) -> dict[str, Any]:
    return {
        "step": step,
        "share": step / total,
        "losses": {"tone": 0.5, "topic": 0.25},
        "learning_rate": 3e-5,
        "tokens": 900,
        "padded": 1000,
        "seconds": 0.1,
        **changes,
    }


def validation_record(step: int, **changes: Any) -> dict[str, Any]:
    scores = {"tone": {"accuracy": 0.5, "macro_f1": 0.4}, "topic": {"macro_f1": 0.75}}
    return {"step": step, "validation": scores, "selection": 0.625, "best": True, **changes}


def plain() -> Console:
    return Console(file=io.StringIO(), width=200)


def terminal(width: int = 200) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, force_interactive=True)


def output(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_record_is_a_line_at_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with TrainingLog(path, console=plain()) as log:
        log.step(step_record(1, weights={"tone": 1 / 3}))
        assert records(path) == [
            step_record(1, weights={"tone": 1 / 3}) | {"tokens_per_second": 9000.0}
        ]
        log.validation(validation_record(1))
        assert records(path)[1] == validation_record(1)


def test_what_is_no_number_becomes_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    losses = {"tone": math.nan, "topic": 0.1 + 0.2}
    with TrainingLog(path, console=plain()) as log:
        log.step(step_record(1, losses=losses, norms=[math.inf, (1.5, -math.inf)]))
    (record,) = records(path)
    assert record["losses"] == {"tone": None, "topic": 0.1 + 0.2}
    assert record["norms"] == [None, [1.5, None]]


def test_a_resumed_file_is_that_of_an_uninterrupted_training(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"

    def write(path: Path, first: int, last: int) -> None:
        with TrainingLog(path, first, plain()) as log:
            for step in range(first + 1, last + 1):
                log.step(step_record(step))
                if step % 3 == 0:
                    log.validation(validation_record(step))

    write(whole, 0, 10)
    write(resumed, 0, 8)
    with resumed.open("a", encoding="utf-8") as file:
        file.write('{"step": 9, "los')
    write(resumed, 6, 10)
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_new_training_starts_with_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n', encoding="utf-8")
    with TrainingLog(path, console=plain()):
        assert path.read_text(encoding="utf-8") == ""


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"step": "3"}'])
def test_a_line_that_is_no_record_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n', encoding="utf-8")
    with pytest.raises(RunError, match=r"metrics\.jsonl:2: not a record"):
        TrainingLog(path, 5, plain())


def test_trackers_get_every_record_and_are_closed(tmp_path: Path) -> None:
    class Memory(Tracker):
        def __init__(self) -> None:
            self.records: list[Any] = []

        def write(self, record: Any) -> None:
            self.records.append(record)

        def close(self) -> None:
            self.records.append("closed")

    memory = Memory()
    with TrainingLog(tmp_path / "m", console=plain(), trackers=[memory]) as log:
        log.step(step_record(1))
        log.validation(validation_record(1))
    assert memory.records == [*records(tmp_path / "m"), "closed"]


def test_without_a_terminal_there_is_a_line_every_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    console = plain()
    with TrainingLog(tmp_path / "m", console=console) as log:
        for step in range(1, 101):
            clock[0] = step / 2
            log.step(step_record(step, 200))
    lines = output(console).splitlines()
    assert len(lines) == 5
    assert lines[0] == (
        "step 20 (10 %)  lr 3.0e-05  9,000 tokens/s  padding 10 %  0:01:30 left  "
        "tone 0.500  topic 0.250"
    )


def test_a_terminal_shows_everything_live(tmp_path: Path) -> None:
    console = terminal()
    with TrainingLog(tmp_path / "m", console=console) as log:
        log.step(step_record(1))
        log.step(step_record(50))
        log.message("hello [bold]you[/bold]")
    shown = output(console)
    for text in ("50 %", "step 50", "9,000 tokens/s", "padding 10 %", "tone 0.500", "left"):
        assert text in shown
    assert "hello [bold]you[/bold]" in shown


def test_a_quiet_console_stays_empty(tmp_path: Path) -> None:
    for quiet in (Console(file=io.StringIO(), quiet=True), terminal()):
        quiet.quiet = True
        with TrainingLog(tmp_path / "m", console=quiet) as log:
            log.step(step_record(1))
            log.validation(validation_record(1))
            log.message("hello")
        assert output(quiet) == ""


def test_a_validation_of_few_tasks_names_each(tmp_path: Path) -> None:
    console = plain()
    with TrainingLog(tmp_path / "m", console=console) as log:
        log.validation(validation_record(7))
        log.validation(validation_record(8, best=False, selection=None))
    assert output(console).splitlines() == [
        "validation after step 7: tone accuracy 0.5000  topic macro_f1 0.7500  selection 0.6250 "
        "(best so far)",
        "validation after step 8: tone accuracy 0.5000  topic macro_f1 0.7500  selection –",
    ]


def test_what_is_undefined_is_a_dash(tmp_path: Path) -> None:
    console = plain()
    few = {"tone": {"pearson": None, "rmse": 0.5}, "topic": {"macro_f1": 0.75}, "empty": {}}
    many = {f"t{number:02}": {"f1": number / 100 if number > 9 else None} for number in range(16)}
    with TrainingLog(tmp_path / "m", console=console) as log:
        log.validation(validation_record(7, validation=few))
        log.validation(validation_record(8, validation=many))
        log.validation(validation_record(9, validation={name: {"f1": None} for name in many}))
        log.validation(validation_record(9, validation={}, selection=None, best=False))
    assert [line.split(": ")[1] for line in output(console).splitlines()] == [
        "tone pearson –  topic macro_f1 0.7500  selection 0.6250 (best so far)",
        "16 tasks from t10 f1 0.1000 to t15 f1 0.1500, 10 undefined  selection 0.6250 (best so far)",
        "16 tasks 16 undefined  selection 0.6250 (best so far)",
        "",
    ]
    assert records(tmp_path / "m")[0]["validation"]["tone"]["pearson"] is None


def test_a_validation_of_many_tasks_names_the_extremes(tmp_path: Path) -> None:
    console = plain()
    scores = {f"t{number:02}": {"f1": number / 100} for number in range(16)}
    with TrainingLog(tmp_path / "m", console=console) as log:
        log.validation(validation_record(7, validation={**scores, "empty": {}}, best=False))
    assert output(console).strip() == (
        "validation after step 7: 16 tasks from t00 f1 0.0000 to t15 f1 0.1500  selection 0.6250"
    )


def test_many_losses_are_shown_as_a_mean_and_the_highest() -> None:
    shown = Progress(plain())
    losses = {f"t{number:02}": number / 10 for number in range(16)}
    shown.update(step_record(1, losses=losses))
    assert "mean of 16 losses 0.750, highest: t15 1.500  t14 1.400  t13 1.300" in shown.line()


def test_one_display_line_each_fits_a_narrow_terminal(tmp_path: Path) -> None:
    console = terminal(width=40)
    with TrainingLog(tmp_path / "m", console=console) as log:
        log.step(step_record(1, losses={f"a-long-task-name-{n}": 1.0 for n in range(8)}))
    assert "…" in output(console)


def test_averages_start_unbiased_and_pass_over_nan() -> None:
    average = Average()
    assert math.isnan(average.value)
    average.add(2.0)
    assert average.value == pytest.approx(2.0)
    average.add(math.nan)
    average.add(4.0)
    assert average.value == pytest.approx((0.98 * 2 + 4) / 1.98)
    for _ in range(2000):
        average.add(1.0)
    assert average.value == pytest.approx(1.0)
