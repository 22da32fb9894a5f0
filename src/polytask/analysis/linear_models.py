"""The linear models behind the baselines, one per label type."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
from typing_extensions import override

from polytask.analysis.linear_features import Matrix
from polytask.tasks.metrics.base import Floats

_TOLERANCE = 1e-2  # of the gradient; a smaller one takes longer and moves no score to speak of
_ITERATIONS = 1000
_EPOCHS = 5


class Answers(NamedTuple):
    """What a model says about some rows.

    ``probabilities`` are those of the labels, in their order; empty for numbers.
    """

    predictions: list[Any]
    probabilities: list[Floats]


class LinearModel(ABC):
    """A matrix of rows -> their labels.

    :param labels: The label set, in the order of the probabilities.
    :param strength: Weight C of the training rows against the penalty, half the squared norm of
        the coefficients.
    :param seed: Of the order in which rows are visited, where that matters.
    """

    strengths: ClassVar[Sequence[float]] = (1.0, 10.0, 100.0)
    """What to choose from; the middle one where there is nothing to choose by."""

    def __init__(self, labels: Sequence[str], strength: float, seed: int) -> None:
        self.labels = tuple(labels)
        self.strength = strength
        self.seed = seed

    @abstractmethod
    def fit(self, rows: Matrix, references: Sequence[Any]) -> None:
        """Learn from rows and their labels; labels outside the label set are left out."""

    @abstractmethod
    def answer(self, rows: Matrix) -> Answers:
        """Predict."""

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Number of coefficients and intercepts."""


class _OneVsRest(LinearModel):
    """A binary model per label."""

    _model: Any

    def _estimator(self, rows: int) -> Any:
        """A binary model for that many training rows."""
        from sklearn.linear_model import LogisticRegression  # slow

        return LogisticRegression(
            C=self.strength, solver="liblinear", tol=_TOLERANCE, max_iter=_ITERATIONS
        )

    def _fit(self, rows: Matrix, targets: Any) -> None:
        from sklearn.multiclass import OneVsRestClassifier  # slow

        self._model = OneVsRestClassifier(self._estimator(rows.shape[0]))
        with warnings.catch_warnings():  # a label on no row, or on all, is nothing unusual
            warnings.filterwarnings("ignore", "Label .* is present in all training examples")
            self._model.fit(rows, targets)

    @property
    @override
    def parameters(self) -> int:
        learned = [model for model in self._model.estimators_ if hasattr(model, "coef_")]
        return sum(model.coef_.size + model.intercept_.size for model in learned)


class Classifier(_OneVsRest):
    """Logistic regression, one against the rest; two labels share one model."""

    @override
    def fit(self, rows: Matrix, references: Sequence[str]) -> None:
        known = frozenset(self.labels)
        kept = [place for place, label in enumerate(references) if label in known]
        self._fit(rows[kept], [references[place] for place in kept])

    @override
    def answer(self, rows: Matrix) -> Answers:
        found = self._model.classes_.tolist()
        places = [self.labels.index(label) for label in found]
        probabilities_NC = np.zeros((rows.shape[0], len(self.labels)))
        probabilities_NC[:, places] = self._model.predict_proba(rows)[:, : len(found)]
        best = [self.labels[place] for place in probabilities_NC.argmax(1).tolist()]
        return Answers(best, list(probabilities_NC))


@final
class TagClassifier(Classifier):
    """The same by stochastic gradient descent, as there are many words.

    There is one strength, to save the time of choosing: of 3, 10 and 30 it had the best accuracy
    on the development rows of UD EWT, SNIPS, WNUT 2017 and CLUENER.
    """

    strengths = (10.0,)

    @override
    def _estimator(self, rows: int) -> Any:
        from sklearn.linear_model import SGDClassifier  # slow

        return SGDClassifier(
            loss="log_loss",
            alpha=1 / (self.strength * rows),
            max_iter=_EPOCHS,
            tol=None,
            random_state=self.seed,
        )


@final
class LabelSetClassifier(_OneVsRest):
    """Logistic regression for every label by itself; predicted from a probability of a half."""

    @override
    def fit(self, rows: Matrix, references: Sequence[Sequence[str]]) -> None:
        from sklearn.preprocessing import MultiLabelBinarizer  # slow

        known = frozenset(self.labels)
        targets = [known.intersection(labels) for labels in references]
        self._fit(rows, MultiLabelBinarizer(classes=self.labels).fit_transform(targets))

    @override
    def answer(self, rows: Matrix) -> Answers:
        # A single label is a binary problem, whose probabilities have a column for its absence.
        probabilities_NC = self._model.predict_proba(rows)[:, -len(self.labels) :]
        chosen = [
            [label for label, present in zip(self.labels, row, strict=True) if present]
            for row in (probabilities_NC >= 0.5).tolist()
        ]
        return Answers(chosen, list(probabilities_NC))


@final
class NumberModel(LinearModel):
    """Ridge regression."""

    strengths = (0.01, 0.1, 1.0)

    @override
    def fit(self, rows: Matrix, references: Sequence[float]) -> None:
        from sklearn.linear_model import Ridge  # slow

        self._model = Ridge(alpha=1 / self.strength, solver="sparse_cg")
        self._model.fit(rows, references)

    @override
    def answer(self, rows: Matrix) -> Answers:
        return Answers(self._model.predict(rows).tolist(), [])

    @property
    @override
    def parameters(self) -> int:
        return int(self._model.coef_.size) + 1


MODELS: Mapping[str, type[LinearModel]] = {
    "label": Classifier,
    "labels": LabelSetClassifier,
    "number": NumberModel,
    "tags": TagClassifier,
}
"""The model for every ``Task.label_type`` that has one."""
