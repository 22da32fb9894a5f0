"""Bodies of requests and answers. Unknown keys of requests are mistakes, so that a misspelt option is not ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from polytask.assembly.run.prediction import RecordOptions

_STRICT = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """A mistake in a request."""

    code: str = Field(description="The reason, one word for programs.")
    message: str = Field(
        description="A sentence with the value found, the value expected and the next step."
    )


class ErrorAnswer(BaseModel):
    """The body of every error answer."""

    error: Problem


_ERRORS = {
    400: "The body is not JSON, or no form",
    401: "The key is missing or wrong",
    408: "The body did not arrive in time",
    413: "Too many rows or bytes",
    415: "The body is compressed",
    422: "A task is unknown, a column is missing, or the body is not as described",
    429: "The queue is full; Retry-After says when to try again",
    503: "The server is starting or shutting down",
    504: "The deadline has passed",
}
ERROR_ANSWERS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text} for status, text in _ERRORS.items()
}
"""The error answers of requests, for the OpenAPI document."""


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


class StatusAnswer(BaseModel):
    """The answer of a probe."""

    status: str


class TasksAnswer(BaseModel):
    """The runs of a server."""

    runs: list[dict[str, Any]]


class PredictAnswer(BaseModel):
    """A record for each row: by task ``label`` and the like, or ``error``."""

    run: str
    records: list[dict[str, dict[str, Any]]]


class Embedding(BaseModel):
    """The vector of a text; base64 of little-endian fp32 if asked for."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsAnswer(BaseModel):
    """An answer as servers of OpenAI give it."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: dict[str, int]


class LabelScore(BaseModel):
    """A label with its probability."""

    label: str
    score: float


ClassifyAnswer: TypeAlias = list[LabelScore] | list[list[LabelScore]]
"""An answer as text-embeddings-inference gives it: for one text, or for a list of them."""
