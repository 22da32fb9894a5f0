"""``python -m benchmarks``: what there is, and how to run it."""

import ast
from pathlib import Path

for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
    summary = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    print(f"python -m benchmarks.{path.stem:12} {summary.splitlines()[0]}")
