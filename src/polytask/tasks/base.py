"""The interface of a task: everything there is to know about what to predict from a row."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from torch import Tensor, nn

from polytask.core.accounting import LeftOut
from polytask.core.alignment import Alignment
from polytask.core.batch import Fields, Inputs, Row
from polytask.core.collated import Collated
from polytask.core.errors import DataError, RecipeError
from polytask.core.features import Features
from polytask.core.registry import Options, Registry
from polytask.tasks.answered import AnsweredRow
from polytask.tasks.inputs import InputSpec
from polytask.tasks.labels import did_you_mean
from polytask.tasks.lines import one_line
from polytask.tasks.losses import Objective
from polytask.tasks.metrics.base import Metric, metrics
from polytask.tasks.predictions import Predictions
from polytask.tasks.presentation import Presentation

Encode: TypeAlias = Callable[[Collated], Features]
"""Inputs of b rows to features, as a task reads them."""


@dataclass(frozen=True)
class HeadContext:
    """The input of a head beside the features of b rows.

    :param task: Name of the task that asks, as several may share a head.
    :param inputs: The collated inputs of their texts, as they were before ``Head.corrupt_inputs``.
    :param values: Their collated targets in training; None in prediction.
    :param encode: Inputs of b rows to features, as the task reads them.
    """

    task: str
    inputs: Collated
    values: Any | None
    encode: Encode


class Head(nn.Module, ABC):
    """Features of b rows -> scores of a task."""

    reads_rows: ClassVar[bool] = False
    """Whether ``forward`` also takes a ``HeadContext``."""

    needs_causal: ClassVar[bool] = False
    """Whether features of a token must not depend on later tokens."""

    @abstractmethod
    def forward(self, features: Features, *context: HeadContext) -> Any:
        """Return scores: a tensor with b rows, or a dict of such tensors."""

    def corrupt_inputs(self, inputs: Collated, rows_b: Tensor) -> Collated:
        """Return the inputs of a batch of single texts, some of them corrupted.

        A task that changes them has exclusive rows, so that no other task reads these.
        """
        return inputs

    def bind(self, encoder: nn.Module) -> None:
        """Tie parameters to parameters of the encoder; called once, when both exist."""

    def validate(self, encode: Encode) -> None:
        """Check that the encoder suits; called once per task of the head, in evaluation mode.

        :raises RecipeError: If it does not.
        """


class PooledHead(Head, ABC):
    """A head that reads one vector per row."""

    @abstractmethod
    def pooled(self, features: Features) -> Features:
        """That vector as the only token of each row; scores the same."""


class Task(Objective, Presentation):
    """A prediction target: label, head, loss, decoding and metrics.

    Three forms of a label: the ``reference`` is what people read and metrics compare (a label, a
    number, a list of tags); the ``target`` is its numeric form; ``values`` are collated targets.

    :param name: Name of the task in the recipe.
    :param target: Column, or columns, of the label.
    :param head: Tasks with the same name here share one head, as does the task of that name.
    """

    label_type: ClassVar[str] = ""
    """The type of its labels, which decides the metrics that fit; empty: any metric."""

    inputs: ClassVar[InputSpec] = InputSpec()
    """How it reads rows."""

    joint_fit: ClassVar[bool] = False
    """Whether tasks that share a head learn one state from the references of them all."""

    def __init__(self, name: str, /, *, target: str = "label", head: str | None = None) -> None:
        self.name = name
        self.target_column = target
        self.head_name = head
        self.input_columns: tuple[str, ...] = ()

    @property
    def default_metrics(self) -> Sequence[str | dict[str, Any]]:
        """The metrics used if the recipe names none; the first one selects checkpoints."""
        return ()

    @abstractmethod
    def reference(self, row: Row) -> Any | None:
        """Return the label of a row as people read it, or None where it is missing.

        :raises DataError: If the column is absent or its value is of the wrong kind.
        """

    def set_group(self, names: Sequence[str]) -> None:
        """Set the tasks that are fitted together; called before ``fit``."""

    def training_label(self, row: Row) -> Any | None:
        """Return the label that ``fit`` and ``encode`` get: the reference, or another form of it.

        :raises DataError: As ``reference`` does.
        """
        return self.reference(row)

    def set_columns(self, columns: Sequence[str]) -> None:
        """Set the input columns; called once, before anything else.

        :raises RecipeError: If these are not the columns that it needs.
        """
        self.input_columns = tuple(columns)

    def texts(self, row: Row, fields: Fields, *, training: bool) -> list[Fields]:
        """Return the texts of a row that are encoded. Called for tasks that read rows as prompts.

        :param training: True for rows to learn from; else the label may be missing.
        :raises DataError: If a column is not what is expected of it.
        """
        return [fields]

    def augment_label(self, label: Any, alignment: Alignment) -> Any | None:
        """Return the label of an augmented copy of a row; see ``data.augmentation``.

        :param label: The ``training_label`` of the row.
        :param alignment: Where the words of the copy come from; of none if the row has no words.
        :return: None if the copy is not trained on, which is the default.
        """
        return None

    @abstractmethod
    def fit(self, references: Iterable[Any]) -> None:
        """Learn the label set and such from the references of the training rows (None left out)."""

    def correction(self, row: Row) -> str | None:
        """Return what ``reference`` corrects in a label: few words, which rows are counted by."""
        return None

    def notes(self) -> Sequence[str]:
        """Return sentences about the fitted label set that a person should read before training."""
        return ()

    @abstractmethod
    def encode(self, reference: Any, inputs: Inputs) -> Any | LeftOut:
        """Return the target of one row: a number or nested lists of numbers.

        :param inputs: The row as prepared by the encoder, for tasks whose target depends on it.
        :return: ``LeftOut`` if it cannot be learned from (a label never seen in training).
        """

    def read_target(self, target: Any, inputs: Inputs) -> Any:
        """Return the target of a row as ``Encoder.read`` returned it: a flip moves boxes, too."""
        return target

    @abstractmethod
    def collate(self, targets: Sequence[Any]) -> Any:
        """Stack b targets into a tensor, or a dict of tensors, padded where they differ in length."""

    @abstractmethod
    def head(self, width: int) -> Head:
        """Return a new head for features of that width; call after ``fit`` or ``restore``."""

    @abstractmethod
    def decode(self, scores: Any, rows: Sequence[Fields]) -> Predictions:
        """Return the best prediction for each of b rows, in the form of a reference.

        :param rows: The input fields of the b rows, read when they are first looked at.
        """

    def pad_prediction(self, prediction: Any, items: Sequence[Any]) -> Any:
        """Extend a prediction about words or sentences to all ``items``, also those cut off.

        :raises DataError: If there are fewer items than predictions.
        """
        return prediction

    def columns(self, prediction: Any) -> dict[str, Sequence[Any]]:
        """Return a prediction about words as columns of an annotated source."""
        return {self.target_column: prediction}

    @property
    def labels(self) -> Sequence[str]:
        """The label set, in the order of the scores; empty for tasks without one."""
        return ()

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What ``fit`` learned, as JSON."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Undo ``state``."""

    def export(self, rows: Iterable[AnsweredRow]) -> dict[str, Sequence[str]]:
        """Return the task's official files: the ending of each name, and its lines.

        :param rows: All rows of a split; they can be walked several times.
        """
        own = [row for row in rows if row.reference is not None]
        lines = self.scorer_lines(
            [row.reference for row in own],
            [row.prediction for row in own],
            [row.fields for row in own],
        )
        return {"txt": lines}

    def scorer_lines(
        self, references: Sequence[Any], predictions: Sequence[Any], fields: Sequence[Fields]
    ) -> list[str]:
        """Return the lines of ``txt`` for labelled rows: by default one prediction each.

        :param fields: The input fields of the rows, for formats that repeat words.
        """
        return [one_line(str(prediction)) for prediction in predictions]

    @property
    def head_key(self) -> str:
        """Tasks with equal keys share one head."""
        return self.head_name or self.name

    @property
    def head_shape(self) -> dict[str, Any]:
        """What tasks must agree on to share one head; call after ``fit`` or ``restore``."""
        return {"kind": type(self).__name__.lower(), "labels": list(self.labels)}

    def build_metrics(self, chosen: Sequence[Options | str | dict[str, Any]] = ()) -> list[Metric]:
        """Return the metrics a recipe chose, or the default ones; call after ``fit`` or ``restore``.

        :raises RecipeError: If a metric does not measure what this task predicts.
        """
        built = [metrics.build(one, self.labels) for one in chosen or self.default_metrics]
        misfits = [metric for metric in built if not metric.measures(self.label_type)]
        if misfits:
            fits = [one for one in metrics.kinds() if metrics.part(one).measures(self.label_type)]
            raise RecipeError(
                [
                    f"tasks.{self.name}.metrics: {metric.name} measures "
                    f"{' or '.join(metric.forms)}, but the task predicts {self.label_type}. "
                    f"Choose from: {', '.join(fits)}."
                    for metric in misfits
                ]
            )
        return built

    def _column(self, row: Row) -> Any | None:
        """Return the value of the target column, or None where it is missing (null, not a number)."""
        if self.target_column not in row:
            columns = [name for name in row if not name.startswith("_")]
            hint = did_you_mean(self.target_column, columns)
            raise DataError(
                f"task {self.name}: no column {self.target_column!r}.{hint} "
                f"Columns: {', '.join(columns)}."
            )
        value = row[self.target_column]
        return None if isinstance(value, float) and math.isnan(value) else value


tasks: Registry[Task] = Registry("task type", Task)
