"""Bodies of requests. Unknown keys are mistakes, so that a misspelt option is not ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from polytask.assembly.run.prediction import RecordOptions

_STRICT = ConfigDict(extra="forbid")


class TaskOptions(BaseModel):
    """What the record of one task holds."""

    model_config = _STRICT
    top_k: int | None = Field(
        default=None, ge=1, description="Keep this many labels, the most probable first."
    )
    probabilities: bool = Field(default=True, description="Give the probability of each label.")

    def options(self) -> RecordOptions:
        """Return the options as prediction takes them."""
        return RecordOptions(self.top_k, self.probabilities)


class PredictRequest(BaseModel):
    """Rows to predict, as mappings of columns to values, or as texts alone."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"texts": ["The coat is warm."], "tasks": "all"}]},
    )
    rows: list[dict[str, Any]] | None = Field(default=None, description="Rows by column name.")
    texts: list[str] | None = Field(
        default=None, description="Texts, for runs whose tasks all read one column."
    )
    tasks: list[str] | Literal["all"] = Field(default="all", description="Names of tasks.")
    options: dict[str, TaskOptions] = Field(default={}, description="Options by task.")
    run: str | None = Field(default=None, description="Name of the run; the first one by default.")

    @model_validator(mode="after")
    def _one_kind_of_rows(self) -> PredictRequest:
        if (self.rows is None) == (self.texts is None):
            raise ValueError("expected either rows or texts")
        if not (self.rows or self.texts):
            raise ValueError("expected one row or more, found none")
        return self


class EmbeddingsRequest(BaseModel):
    """A request as clients of OpenAI send it."""

    model_config = ConfigDict(extra="ignore")
    input: str | list[str]
    model: str | None = Field(
        default=None, description="RUN or RUN/TASK: whose features are given; the first by default."
    )
    encoding_format: Literal["float", "base64"] = "float"


class ClassifyRequest(BaseModel):
    """A request as clients of text-embeddings-inference send it to /predict."""

    model_config = ConfigDict(extra="ignore")
    inputs: str | Annotated[list[str | list[str]], Field(min_length=1)]
    raw_scores: bool = False
