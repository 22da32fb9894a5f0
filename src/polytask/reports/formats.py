"""Numbers as people read them."""

from __future__ import annotations

import math

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
"""Metrics with these in their names, between underscores, are shares, and shown in percent."""

NOTHING = "–"


def is_share(metric: str) -> bool:
    """Whether a metric is a share of something."""
    return any(f"_{share}_" in f"_{metric}_" for share in SHARES)


def scale_of(metric: str) -> float:
    """Return the factor that a metric is multiplied with before it is shown."""
    return 100.0 if is_share(metric) else 1.0


def score(metric: str, value: float | None) -> str:
    """Shares in percent with one decimal, other metrics with three."""
    if value is None:
        return NOTHING
    return f"{100 * value:.1f}" if is_share(metric) else f"{value:.3f}"


def difference(metric: str, value: float | None) -> str:
    """A difference of two scores with its sign, in percentage points for shares."""
    if value is None:
        return NOTHING
    return f"{100 * value:+.1f}" if is_share(metric) else f"{value:+.3f}"


def format_signed(value: float | None) -> str:
    """A number with its sign and one decimal."""
    return NOTHING if value is None else f"{value:+.1f}".replace("-", "−")


def chance(p: float | None) -> str:
    """A p value."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def short(value: float) -> str:
    """Four significant digits, for labels that have little room."""
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.4g}" if abs(value) < 1e4 else amount(value)


def amount(value: float | None) -> str:
    """A count with a unit: 12.3k, 4.56M."""
    if value is None:
        return NOTHING
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def seconds(value: float | None) -> str:
    """A time: 12.3 s, 4 min 10 s, 2 h 05 min."""
    if value is None:
        return NOTHING
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 100:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def clip(text: str, most: int) -> str:
    """A text that is no longer than so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
