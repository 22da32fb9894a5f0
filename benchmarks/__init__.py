"""One script per claim; each prints what it measured, side by side in one run."""
