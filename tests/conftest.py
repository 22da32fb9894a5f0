"""What holds for all tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, each with a core of its own
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests that need the network are skipped, not stuck
