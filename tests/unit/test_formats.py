"""Numbers as people read them."""

from __future__ import annotations

import pytest

from polytask.reports.formats import format_difference, format_score


@pytest.mark.parametrize(
    "metric",
    ["f1", "mean_f1_for_against", "keyphrase_f1_5", "span_f1_LOC", "squad_em", "exact_match"],
)
def test_shares_are_shown_in_percent(metric: str) -> None:
    assert format_score(metric, 0.1234) == "12.3"
    assert format_difference(metric, -0.0123) == "-1.2"


@pytest.mark.parametrize("metric", ["mae", "ndcg", "spearman", "mrr", "item"])
def test_other_metrics_are_shown_as_they_are(metric: str) -> None:
    assert format_score(metric, 0.1234) == "0.123"
