"""Evaluation options of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt


class EvaluationOptions(BaseModel):
    """How sure scores are: percentile bootstrap intervals over rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    bootstrap: NonNegativeInt = Field(
        default=1000, description="Resamples for confidence intervals; 0: no intervals."
    )
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.95, description="Probability that an interval is meant to cover."
    )
