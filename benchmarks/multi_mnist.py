"""Test accuracy of all families of balancers on Multi-MNIST, paired over seeds with the plain sum.

The images and the protocol are those of Kurin et al., "In Defense of the Unitary Scalarization for
Deep Multi-Task Learning", NeurIPS 2022 (https://arxiv.org/abs/2201.04122), after Sener and Koltun,
"Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018
(https://arxiv.org/abs/1810.04650): two digits on a canvas of 36 x 36 pixels, the left one at 0 and
the right one at 6 pixels from the corner, the brighter pixel of both, brought to 28 x 28; LeNet with
a head per digit; Adam, batches of 256, a rate of 0.01 that falls to 0.006 of it; the epoch is
chosen by the mean validation accuracy. Dropout of channels and in the heads, as there, is off by
default: a training as short as this one does not come to the point where it helps.

Other differences: only the 10,000 test digits of MNIST are at hand, so training, validation and
test images are made of 8,000, 1,000 and 1,000 digits instead of 50,000, 10,000 and 10,000; a few
epochs are made instead of 100, over which the rate takes the same course. Every training digit is
the left one once, with a partner drawn by the seed; validation and test images are the same for all
seeds. Dropout masks are per image. All methods have their default options.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, max_pool2d

from polytask.balancing import balancers
from polytask.evaluation.significance import holm, seeds_interval

DATA = Path(os.environ.get("POLYTASK_DATA", "../shared/data")) / "vision/mnist10k"
BATCH, RATE, LAST_RATE = 256, 0.01, 0.006
SHIFT = 6
PARTS = {"train": range(8000), "validation": range(8000, 9000), "test": range(9000, 10000)}
SHARES = (0.2, 0.4, 0.6, 0.8)
"""Weights of the left digit in the grid; equal weights belong to it, too."""

KINDS = [
    "random", "uncertainty", "dwa", "famo", "imtl_l", "stch", "mgda", "pcgrad", "cagrad", "imtl_g",
    "nash_mtl", "aligned_mtl", "fairgrad", "upgrad", "config", "graddrop", "db_mtl", "moco",
]  # fmt: skip
GRID = {
    f"fixed {share}": {"kind": "fixed", "weights": [2 * share, 2 - 2 * share]} for share in SHARES
}
METHODS: dict[str, Any] = {"equal": "equal", **GRID, **{kind: kind for kind in KINDS}}
ALONE = {"left alone": (0,), "right alone": (1,)}

Images = tuple[Tensor, Tensor]
"""Pixels and both labels: images_B1HW, labels_B2."""
Result = dict[str, Any]


class TwoDigits(nn.Module):
    """LeNet with a head per digit."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5)
        self.drop = nn.Dropout2d(dropout)
        self.hidden = nn.Linear(320, 50)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(50, 50), nn.ReLU(), nn.Dropout(dropout), nn.Linear(50, 10))
            for _ in range(2)
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images_B1HW: Tensor) -> list[Tensor]:
        """Scores of the left and of the right digit."""
        maps = max_pool2d(self.first(images_B1HW), 2).relu()
        maps = max_pool2d(self.drop(self.second(maps)), 2).relu()
        features_BD = self.hidden(maps.flatten(1)).relu()
        return [head(features_BD) for head in self.heads]


def overlaid(part: str, copies: int, seed: int) -> Images:
    """Images with every digit of a part on the left, each with so many random partners."""
    with gzip.open(DATA / "t10k-images-idx3-ubyte.gz") as file:
        digits_NHW = torch.from_numpy(np.frombuffer(file.read(), np.uint8, offset=16).copy())
    with gzip.open(DATA / "t10k-labels-idx1-ubyte.gz") as file:
        labels_N = torch.from_numpy(np.frombuffer(file.read(), np.uint8, offset=8).copy()).long()
    digits_NHW = digits_NHW.view(-1, 28, 28).float() / 255
    left_B = torch.tensor([*PARTS[part]]).repeat(copies)
    drawn = torch.Generator().manual_seed(seed)
    right_B = left_B[torch.randint(len(left_B), (len(left_B),), generator=drawn)]
    canvas_BHW = torch.zeros(len(left_B), 36, 36)
    canvas_BHW[:, :28, :28] = digits_NHW[left_B]
    corner_BHW = canvas_BHW[:, SHIFT : SHIFT + 28, SHIFT : SHIFT + 28]
    corner_BHW.copy_(torch.maximum(corner_BHW, digits_NHW[right_B]))
    images_B1HW = interpolate(canvas_BHW[:, None], 28, mode="nearest-exact")
    images_B1HW = (images_B1HW - 0.1307) / 0.3081
    return (
        images_B1HW.contiguous(memory_format=torch.channels_last),
        torch.stack([labels_N[left_B], labels_N[right_B]], 1),
    )


@torch.no_grad()
def accuracy(model: TwoDigits, part: Images) -> list[float]:
    """In per cent, of the left and of the right digit."""
    model.eval()
    guesses = [
        torch.stack([scores_BC.argmax(1) for scores_BC in model(images_B1HW)], 1)
        for images_B1HW in part[0].split(500)
    ]
    found: list[float] = (100 * (torch.cat(guesses) == part[1]).double().mean(0)).tolist()
    return found


def task_losses(model: TwoDigits, rows: Images, tasks: Sequence[int]) -> list[Tensor | None]:
    """The loss of each digit, None for those not trained."""
    scores = model(rows[0])
    return [cross_entropy(scores[t], rows[1][:, t]) if t in tasks else None for t in range(2)]


def train(
    options: Any, tasks: Sequence[int], seed: int, parts: Mapping[str, Images], args: Any
) -> Result:
    """Train once; scores at the epoch that is best on validation images."""
    torch.manual_seed(seed)
    model, balancer = TwoDigits(args.dropout), balancers.build(options, 2)
    adam = torch.optim.Adam([*model.parameters(), *balancer.parameters()], lr=args.rate)
    decay = torch.optim.lr_scheduler.ExponentialLR(adam, LAST_RATE ** (1 / args.epochs))
    best: Result = {"validation": -1.0}
    kept, step, began = model.state_dict(), 0, time.process_time()
    for epoch in range(args.epochs):
        model.train()
        drawn = torch.Generator().manual_seed(1000 * seed + epoch)
        order = torch.randperm(len(parts["train"][1]), generator=drawn)
        for chosen in order.split(BATCH):
            rows = parts["train"][0][chosen], parts["train"][1][chosen]
            update(model, balancer, adam, rows, (tasks, step, epoch))
            step += 1
        decay.step()
        scores = accuracy(model, parts["validation"])
        mean = statistics.fmean(scores[task] for task in tasks)
        if mean > best["validation"]:
            best, kept = {"validation": mean, "epoch": epoch + 1}, copy.deepcopy(model.state_dict())
    seconds = time.process_time() - began
    model.load_state_dict(kept)
    return {**best, "test": accuracy(model, parts["test"]), "seconds": seconds}


def update(
    model: TwoDigits, balancer: Any, adam: Any, rows: Images, place: tuple[Sequence[int], int, int]
) -> None:
    """One step of an ordinary loop, with ``balancer.backward`` in place of the sum's."""
    tasks, step, epoch = place
    masks = torch.get_rng_state()
    losses = task_losses(model, rows, tasks)
    adam.zero_grad()
    balancer.backward(losses)
    adam.step()
    seen = {task: float(losses[task].detach()) for task in tasks}  # type: ignore[union-attr]
    balancer.tell({"step": step, "epoch": epoch, "losses": seen})
    if "losses_after" in balancer.needs:
        torch.set_rng_state(masks)
        with torch.no_grad():
            after_t = torch.stack([x for x in task_losses(model, rows, tasks) if x is not None])
        balancer.after(after_t, torch.tensor([*tasks]))


def results(args: argparse.Namespace) -> dict[str, list[Result]]:
    """Every method with every seed; what lies in the folder is not done again."""
    args.out.mkdir(parents=True, exist_ok=True)
    fixed = {"validation": overlaid("validation", 2, 0), "test": overlaid("test", 4, 0)}
    every = [*((name, options, (0, 1)) for name, options in METHODS.items())]
    every += [(name, "equal", tasks) for name, tasks in ALONE.items()]  # type: ignore[misc]
    found: dict[str, list[Result]] = {name: [] for name, *_ in every}
    for seed in range(args.seed, args.seed + args.seeds):
        parts = {**fixed, "train": overlaid("train", 1, seed)}
        for name, options, tasks in every:
            if args.only and name not in args.only:
                continue
            path = args.out / f"{name.replace(' ', '_')}-{seed}.json"
            if not path.exists():
                path.write_text(json.dumps(train(options, tasks, seed, parts, args)), "utf-8")
            found[name].append(json.loads(path.read_text("utf-8")))
            print(f"  {seed} {name}: {found[name][-1]}", flush=True)
    return {name: rounds for name, rounds in found.items() if rounds}


def with_choices(found: dict[str, list[Result]]) -> dict[str, list[Result]]:
    """The grid as one method, chosen by validation for each seed, and both single tasks as one."""
    rows = {name: rounds for name, rounds in found.items() if name not in {*GRID, *ALONE}}
    if grid := [found[name] for name in ("equal", *GRID) if name in found]:
        choices = [
            max(rounds, key=lambda one: one["validation"]) for rounds in zip(*grid, strict=True)
        ]
        spent = [sum(one["seconds"] for one in rounds) for rounds in zip(*grid, strict=True)]
        rows["fixed, by validation"] = [
            {**one, "seconds": seconds} for one, seconds in zip(choices, spent, strict=True)
        ]
    if all(name in found for name in ALONE):
        rows["two single-task models"] = [
            {
                "test": [left["test"][0], right["test"][1]],
                "seconds": left["seconds"] + right["seconds"],
            }
            for left, right in zip(*(found[name] for name in ALONE), strict=True)
        ]
    return rows


def interval(values: Sequence[float]) -> str:
    """Mean and half the width of the 95 % interval of Student's t."""
    mean, half = seeds_interval(values)
    return f"{mean:.2f} ± {half:.2f}"


def report(found: dict[str, list[Result]]) -> None:
    """Print the table; rows in the order of their mean accuracy."""
    rows = with_choices(found)
    means = {
        name: [statistics.fmean(one["test"]) for one in rounds] for name, rounds in rows.items()
    }
    apart = {
        name: [a - b for a, b in zip(values, means["equal"], strict=True)]
        for name, values in means.items()
        if name != "equal"
    }
    chances = {name: float(stats.ttest_1samp(values, 0.0).pvalue) for name, values in apart.items()}
    adjusted = holm(chances)
    print("| | left | right | average | minus equal | p | p, Holm | CPU seconds |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in sorted(rows, key=lambda name: -statistics.fmean(means[name])):
        left, right = ([one["test"][task] for one in rows[name]] for task in range(2))
        spent = statistics.fmean(one["seconds"] for one in rows[name])
        tested = " | | "
        if name in apart:
            tested = f"{interval(apart[name])} | {chances[name]:.3f} | {adjusted[name]:.3f}"
        print(
            f"| {name} | {interval(left)} | {interval(right)} | {interval(means[name])} "
            f"| {tested} | {spent:.1f} |"
        )


def main() -> None:
    """Train what is missing in the folder, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--only", nargs="*", choices=[*METHODS, *ALONE])
    args = parser.parse_args()
    report(results(args))


if __name__ == "__main__":
    main()
