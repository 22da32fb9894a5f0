"""Time and error of inner products and weighted sums of task gradients that are kept.

As many numbers for each task as a layer of 384 by 1536 with its bias has. Run it at two commits to
compare them; the median of processor time over some calls, on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from polytask.balancing.engine.base import inner_products, sum_rows


def median_ms(call: Callable[[], Tensor], calls: int) -> float:
    """Milliseconds of processor time; the first two calls are left out."""
    seconds = []
    for _ in range(calls + 2):
        before = time.process_time()
        call()
        seconds.append(time.process_time() - before)
    return 1000 * statistics.median(seconds[2:])


def main() -> None:
    """Print a row for every precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--numbers", type=int, default=384 * 1536 + 384)
    parser.add_argument("--calls", type=int, default=50)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(
        "| | inner products, ms | error over the largest | weighted sum, ms |\n|---|---:|---:|---:|"
    )
    for dtype in (torch.float32, torch.bfloat16):
        rows_tP = torch.randn(args.tasks, args.numbers).to(dtype)
        weights_t = torch.rand(args.tasks)
        exact_tt = rows_tP.double() @ rows_tP.double().T
        error = (inner_products(rows_tP) - exact_tt).abs().max() / exact_tt.max()
        products = median_ms(partial(inner_products, rows_tP), args.calls)
        sums = median_ms(partial(sum_rows, weights_t, rows_tP), args.calls)
        print(f"| {dtype} | {products:.2f} | {error:.0e} | {sums:.2f} |")


if __name__ == "__main__":
    main()
