"""Numbers and short texts as readers see them."""

from __future__ import annotations

import math
from collections.abc import Iterable

SHARES = (
    "accuracy",
    "precision",
    "recall",
    "f1",
    "auc",
    "exact_match",
    "em",
    "las",
    "uas",
    "ufeats",
    "lemmas",
)
"""Words in the names of metrics that are shares and shown in percent."""

NOTHING = "–"


def is_share(metric: str) -> bool:
    """Return whether a metric is a share, shown in percent."""
    return any(f"_{share}_" in f"_{metric}_" for share in SHARES)


def scale_of(metric: str) -> float:
    """Return the factor of a metric for display: 100 for shares, else 1."""
    return 100.0 if is_share(metric) else 1.0


def format_score(metric: str, value: float | None) -> str:
    """Format a score: shares in percent with one decimal, other metrics with three decimals."""
    if value is None:
        return NOTHING
    return f"{100 * value:.1f}" if is_share(metric) else f"{value:.3f}"


def format_difference(metric: str, value: float | None) -> str:
    """Format a difference of two scores with its sign; shares in percentage points."""
    if value is None:
        return NOTHING
    return f"{100 * value:+.1f}" if is_share(metric) else f"{value:+.3f}"


def format_signed(value: float | None) -> str:
    """Format a number with its sign and one decimal."""
    return NOTHING if value is None else f"{value:+.1f}".replace("-", "−")


def format_p_value(p: float | None) -> str:
    """Format a p-value."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def format_short(value: float) -> str:
    """Format a number with four significant digits, for small labels."""
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.4g}" if abs(value) < 1e4 else format_amount(value)


def format_amount(value: float | None) -> str:
    """Format a count with a unit: 12.3k, 4.56M."""
    if value is None:
        return NOTHING
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def format_seconds(value: float | None) -> str:
    """Format a time in seconds: 12.3 s, 4 min 10 s, 2 h 05 min."""
    if value is None:
        return NOTHING
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 100:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def clip(text: str, most: int) -> str:
    """Return a text of at most ``most`` characters; a longer one ends in an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def list_groups(groups: Iterable[Iterable[str]]) -> str:
    """Format groups of tasks as in a recipe: ``[[a, b], [c]]``."""
    inner = ", ".join(f"[{', '.join(group)}]" for group in groups)
    return f"[{inner}]"
