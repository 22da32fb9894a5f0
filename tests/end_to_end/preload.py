"""What trainings import, imported once for all of them."""

import torch._dynamo
from tqdm import tqdm

import polytask.assembly.run.evaluation
import polytask.assembly.run.training

tqdm.get_lock()  # one for all; those of killed processes would be reported as leaks

__all__ = ["polytask", "torch"]
