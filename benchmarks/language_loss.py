"""Peak memory and time of the loss of a language model: all scores of tokens at once, or in chunks.

Each case runs in a process of its own: forward and backward pass of the costs of 1,024 tokens of 256
features, fp32. Memory is the largest resident memory of the process over what it holds before.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time

import torch

from polytask.encoders import encoders
from polytask.tasks import language_head
from polytask.tasks.language_head import CausalHead

TOKENS, WIDTH, ROUNDS = 1_024, 256, 3


def measure(vocabulary: int, in_chunks: bool) -> tuple[float, float]:
    """Return the memory in MB and the median seconds of a pass."""
    if not in_chunks:
        language_head._MOST_SCORES = TOKENS * vocabulary
    head = CausalHead("tokens", WIDTH)
    encoder = encoders.build(
        {"kind": "transformer", "layers": 1, "width": WIDTH, "heads": 4, "causal": True}, ()
    )
    encoder.fit([("a",)])
    head.bind(encoder)
    head.token_vectors = torch.nn.Parameter(0.02 * torch.randn(vocabulary, WIDTH))
    head.bias = torch.nn.Parameter(torch.zeros(vocabulary))
    head.token_vectors.grad = torch.zeros_like(head.token_vectors)
    read_nD = torch.randn(TOKENS, WIDTH, requires_grad=True)
    targets_n, kept_bK = (
        torch.randint(vocabulary, (TOKENS,)),
        torch.ones(1, TOKENS, dtype=torch.bool),
    )
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        head.nats(read_nD, targets_n, kept_bK).mean().backward()
        seconds.append(time.perf_counter() - began)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (after - before) / 1024, statistics.median(seconds)


def main() -> None:
    """Print a row for each vocabulary and way."""
    torch.set_num_threads(2)
    print("| vocabulary | scores | peak MB | seconds |\n|---:|---|---:|---:|")
    context = multiprocessing.get_context("spawn")
    for vocabulary in (32_000, 150_000):
        for in_chunks in (False, True):
            with context.Pool(1) as pool:
                memory, seconds = pool.apply(measure, (vocabulary, in_chunks))
            name = "in chunks" if in_chunks else "at once"
            print(f"| {vocabulary:,} | {name} | {memory:,.0f} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
