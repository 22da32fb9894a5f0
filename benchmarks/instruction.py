"""Instruction tuning: packing against padding, and one LoRA for all tasks against one for each.

No pretrained language model is at hand, so a small one is first trained here, on the prompts of P3 (training rows) as plain
text, and then kept frozen as a folder that recipes name by ``path``.

``packing``: the same batches through the same model, each row padded to the longest of its batch or
several rows in a sequence. Rows of like length stand together, as the sampler puts them, or rows in
random order. Both ways alternate, so that a busy machine slows both alike; their losses and gradients are compared.

``joint``: the 12 tasks of P3 in ``recipes/instruct.yaml``. Joint and single trainings see the same rows as often. Scores are
of the test rows: exact match, and the mean cost of a token of the completion, which is less noisy.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from polytask.assembly.data.labels import Labels
from polytask.assembly.data.loading import load_data
from polytask.assembly.data.pools import collation, training_pool
from polytask.assembly.model.assemble import load_model
from polytask.assembly.run.evaluation import evaluate
from polytask.assembly.run.loaded_run import LoadedRun
from polytask.assembly.run.training import train
from polytask.assembly.run.training_parts import Fitted, fit_parts, training_parts
from polytask.core.batch import Batch
from polytask.core.files import read_json, write_json, write_text
from polytask.core.run_folder import RunFolder
from polytask.data.pools import Pool, collate
from polytask.data.prepared_rows import PreparedRow
from polytask.encoders.huggingface import HuggingFaceEncoder
from polytask.modeling import MultiTaskModel
from polytask.recipe import Recipe, load

INSTRUCT = Path(__file__).parents[1] / "recipes" / "instruct.yaml"
LEFT_OUT = "gsm8k"
ROWS = 80
"""Training rows of each task."""
SETTINGS = ("precision=fp32", "batch_tokens=1024", "learning_rate=2e-3")
LENGTH, ROOM = 128, 512
"""Longest rows of trainings; of packing, where it is the length of a sequence."""
BASE = """
data:
  p3: {kind: jsonl, train: llm/p3_mini/train.jsonl.gz, test: llm/p3_mini/test.jsonl.gz, split: {validation: 0.02}}
encoder:
  kind: huggingface
  config: {model_type: llama, hidden_size: 128, num_hidden_layers: 3, num_attention_heads: 4, intermediate_size: 384, tie_word_embeddings: true}
  vocabulary: 2000
  max_length: 128
tasks:
  p3: {kind: language_model, input: prompt, target: prompt, limit: 2000}
training: {batch_tokens: 2048, learning_rate: 3e-3, precision: fp32}
evaluation: {bootstrap: 0}
"""
"""With the training rows alone."""


def base(folder: Path, epochs: int) -> Path:
    """A small language model as a folder of the transformers library."""
    model = folder / "base"
    if not (model / "config.json").is_file():
        write_text(folder / "base.yaml", BASE)
        recipe = load(folder / "base.yaml", [f"training.epochs={epochs}"])
        run = train(recipe, folder / "base-run", resume=True, console=Console(stderr=True))
        _, encoder = load_model(recipe, run)
        encoder.save(model)
        encoder.model.save_pretrained(model)  # type: ignore[operator, union-attr]
        scores = evaluate(LoadedRun.load(run)).scores["tasks"]
        print({task: round(entry["perplexity"]["value"], 1) for task, entry in scores.items()})
    return model


def tuned(
    path: Path, settings: Sequence[str], tasks: Sequence[str] = (), length: int = LENGTH
) -> Recipe:
    """The recipe of instructions with a LoRA on a model, for some of its tasks."""
    recipe = load(
        INSTRUCT,
        [
            f"encoder={{kind: huggingface, path: {path.absolute()}, max_length: {length}}}",
            "sharing={kind: lora, rank: 16, alpha: 32}",
            "evaluation.bootstrap=0",
            *settings,
        ],
    )
    chosen = [task for task in recipe.tasks if task != LEFT_OUT and (task in tasks or not tasks)]
    return recipe.model_copy(
        update={
            "tasks": {t: recipe.tasks[t].model_copy(update={"limit": ROWS}) for t in chosen},
            "data": {task: recipe.data[task] for task in chosen},
        }
    )


def batches_of(recipe: Recipe, fitted: Fitted, scratch: Path, count: int) -> dict[str, list[Batch]]:
    """Training batches as the sampler makes them, and of as many rows in random order."""
    parts = training_parts(recipe, load_data(recipe), fitted, scratch)
    loader = iter(parts.loader)
    like = [next(loader) for _ in range(count)]
    generator = np.random.default_rng(0)
    mixed = []
    for batch in like:
        pools = generator.choice(len(parts.pools), batch.size)
        rows = [_row(parts.pools[pool], generator) for pool in pools]
        mixed.append(collate(rows, parts.collation))
    return {"like lengths": like, "random order": mixed}


def _row(pool: Pool, generator: np.random.Generator) -> PreparedRow:
    return pool.fetch(generator.integers(len(pool), size=1))[0]


def step(model: MultiTaskModel, batch: Batch) -> tuple[float, torch.Tensor]:
    """Processor seconds of a forward and a backward pass, and the losses with a part of the gradient."""
    model.zero_grad()
    torch.manual_seed(0)
    began = time.process_time()
    losses = model.losses(batch)
    torch.stack([*losses.values()]).sum().backward()
    seconds = time.process_time() - began
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return seconds, torch.cat([torch.stack([*losses.values()]).detach(), *gradients])


def packing(path: Path, count: int) -> None:
    """Print tokens a second of padded and packed batches, and how far their losses are apart."""
    print("| rows | | tokens/s | padding % | sequences |\n|---|---|---:|---:|---:|")
    for sharing in ("lora", "task_lora"):
        recipe = tuned(path, [f"sharing={{kind: {sharing}, rank: 16, alpha: 32}}"], length=ROOM)
        with tempfile.TemporaryDirectory() as folder:
            fitted = fit_parts(
                recipe, RunFolder(Path(folder) / "run"), load_data(recipe), started=False
            )
            found = batches_of(recipe, fitted, Path(folder), count)
        model = fitted.beginning.model.train()
        model.tasks_apart = False
        for name, batches in found.items():
            _compare(model, f"{sharing}, {name}", batches)


def _compare(model: MultiTaskModel, name: str, batches: Sequence[Batch]) -> None:
    encoder = model.sharing.encoder_of(next(iter(model.tasks)))
    assert isinstance(encoder, HuggingFaceEncoder)
    shapes: list[tuple[int, int]] = []
    hook = encoder.register_forward_pre_hook(
        lambda _module, given: shapes.append(tuple(given[0]["ids"].shape))
    )
    seconds: dict[bool, list[float]] = {False: [], True: []}
    numbers: dict[bool, list[tuple[int, int]]] = {}
    apart = 0.0
    step(model, batches[0])  # what is done once is not timed
    for batch in batches:
        results = []
        for packs in (False, True):
            encoder._packing = packs
            shapes.clear()
            took, result = step(model, batch)
            seconds[packs].append(took)
            numbers.setdefault(packs, []).extend(shapes)
            results.append(result)
        apart = max(apart, float((results[0] - results[1]).abs().max()))
    hook.remove()
    real = sum(batch.tokens for batch in batches)
    for packs in (False, True):
        cells = sum(rows * length for rows, length in numbers[packs])
        rows = statistics.mean(rows for rows, _ in numbers[packs])
        print(
            f"| {name} | {'packed' if packs else 'padded'} | {real / sum(seconds[packs]):.0f} | "
            f"{100 * (1 - real / cells):.1f} | {rows:.1f} |"
        )
    ratio = sum(seconds[False]) / sum(seconds[True])
    print(
        f"{name}: packed / padded {ratio:.2f}; losses and gradients differ by at most {apart:.1e}"
    )


def joint(path: Path, folder: Path, epochs: int, seeds: int) -> None:
    """Print the scores of one LoRA for all tasks and of one for each."""
    tasks = list(tuned(path, []).tasks)
    groups = {"joint": [tasks], "single": [[task] for task in tasks]}
    found: dict[str, list[dict[str, tuple[float, float]]]] = {}
    for seed in range(seeds):
        for name, parts in groups.items():
            scores: dict[str, tuple[float, float]] = {}
            for part in parts:
                own = f"{name}-{seed}" if name == "joint" else f"{name}-{part[0]}-{seed}"
                scores |= _scores(path, folder / own, part, epochs, seed)
            found.setdefault(name, []).append(scores)
    print("| task | exact match, single | joint | nats per token, single | joint |")
    print("|---|---:|---:|---:|---:|")
    for task in tasks:
        cells = [
            _mean(found[name], task, place) for place in (0, 1) for name in ("single", "joint")
        ]
        print(
            f"| {task} | {100 * cells[0]:.1f} | {100 * cells[1]:.1f} | {cells[2]:.3f} | {cells[3]:.3f} |"
        )
    means = [
        statistics.mean(_mean(found[name], task, place) for task in tasks)
        for place in (0, 1)
        for name in ("single", "joint")
    ]
    print(
        f"| mean | {100 * means[0]:.1f} | {100 * means[1]:.1f} | {means[2]:.3f} | {means[3]:.3f} |"
    )


def _mean(found: Sequence[dict[str, tuple[float, float]]], task: str, place: int) -> float:
    return statistics.mean(scores[task][place] for scores in found)


def _scores(
    path: Path, folder: Path, tasks: Sequence[str], epochs: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Exact match and cost per token of a completion on the test rows; trained if it is not yet."""
    kept = folder / "found.json"
    if not kept.is_file():
        settings = [f"training.{one}" for one in (f"epochs={epochs}", f"seed={seed}", *SETTINGS)]
        recipe = tuned(path, settings, tasks)
        run = train(recipe, folder, resume=True, console=Console(quiet=True))
        scores = evaluate(LoadedRun.load(run), "test").scores["tasks"]
        costs = dict(_costs(recipe, run))
        write_json(kept, {t: (scores[t]["text_match"]["value"], costs[t]) for t in tasks})
    return {task: (match, cost) for task, (match, cost) in read_json(kept).items()}


@torch.inference_mode()
def _costs(recipe: Recipe, run: RunFolder) -> Iterator[tuple[str, float]]:
    model, encoder = load_model(recipe, run)
    data = load_data(recipe, run.splits)
    collated = collation(encoder, model.tasks)
    for view in data.views:
        [task] = view.tasks
        with tempfile.TemporaryDirectory() as folder:
            labels = {task: Labels(model.tasks[task])}
            table = data.split("test")[view.source]
            pool = training_pool(view, table, encoder, labels, Path(folder))
            sums = [
                _sums(model, task, collate(pool.fetch(rows), collated))
                for rows in np.array_split(np.arange(len(pool)), 4)
            ]
        yield task, sum(nats for nats, _ in sums) / sum(count for _, count in sums)


def _sums(model: MultiTaskModel, task: str, batch: Batch) -> tuple[float, int]:
    count = int(model.tasks[task].label_counts(batch.targets[task].values).sum())
    return float(model.losses(batch)[task]) * count, count


def main() -> None:
    """Run the benchmarks that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["packing", "joint"])
    parser.add_argument("--folder", type=Path, default=Path("runs/instruction"))
    parser.add_argument("--base-epochs", type=int, default=3)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    path = base(chosen.folder, chosen.base_epochs)
    if "packing" in chosen.what:
        packing(path, chosen.batches)
    if "joint" in chosen.what:
        joint(path, chosen.folder, chosen.epochs, chosen.seeds)


if __name__ == "__main__":
    main()
