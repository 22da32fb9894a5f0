"""The models behind the baselines: one per type of labels for terms, for numbers, and of trees."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
from typing_extensions import override

from polytask.analysis.linear_features import Matrix
from polytask.core.columns import ColumnType
from polytask.tasks.metrics.base import Floats

_TOLERANCE = 1e-2  # of the gradient; a smaller one takes longer and moves no score to speak of
_ITERATIONS = 1000
_EPOCHS = 5


class LinearPredictions(NamedTuple):
    """The predictions of a model for some rows.

    ``probabilities`` follow the order of the labels; empty for numbers.
    """

    predictions: list[Any]
    probabilities: list[Floats]


class LinearModel(ABC):
    """A matrix of rows -> their labels.

    :param labels: The label set, in the order of the probabilities.
    :param strength: Weight C of the training rows against the penalty, half the squared norm of
        the coefficients.
    :param seed: Of the order in which rows are visited, where that matters.
    :param types: The types of the input columns, for models that treat categories apart.
    """

    strengths: ClassVar[Sequence[float]] = (1.0, 10.0, 100.0)
    """Strengths to choose from; without validation rows the middle one is taken."""

    def __init__(
        self,
        labels: Sequence[str],
        strength: float,
        seed: int,
        types: Sequence[ColumnType] = (),
    ) -> None:
        self.labels = tuple(labels)
        self.strength = strength
        self.seed = seed
        self.types = types

    @abstractmethod
    def fit(self, rows: Matrix, references: Sequence[Any]) -> None:
        """Learn from rows and their labels; labels outside the label set are left out."""

    @abstractmethod
    def answer(self, rows: Matrix) -> LinearPredictions:
        """Predict the labels of rows."""

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Return the number of coefficients and intercepts; for trees, of nodes."""


class _OneVsRest(LinearModel):
    """A binary model per label."""

    _model: Any

    def _estimator(self, rows: int) -> Any:
        """Return a binary model for that many training rows."""
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
        return sum(map(_size, getattr(self._model, "estimators_", [self._model])))


class Classifier(_OneVsRest):
    """Logistic regression, one against the rest; two labels share one model."""

    @override
    def fit(self, rows: Matrix, references: Sequence[str]) -> None:
        known = frozenset(self.labels)
        kept = [place for place, label in enumerate(references) if label in known]
        self._fit(rows[kept], [references[place] for place in kept])

    @override
    def answer(self, rows: Matrix) -> LinearPredictions:
        found = self._model.classes_.tolist()
        places = [self.labels.index(label) for label in found]
        probabilities_NC = np.zeros((rows.shape[0], len(self.labels)))
        probabilities_NC[:, places] = self._model.predict_proba(rows)[:, : len(found)]
        best = [self.labels[place] for place in probabilities_NC.argmax(1).tolist()]
        return LinearPredictions(best, list(probabilities_NC))


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


class LabelSetClassifier(_OneVsRest):
    """Logistic regression for every label by itself; predicted from a probability of a half."""

    @override
    def fit(self, rows: Matrix, references: Sequence[Sequence[str]]) -> None:
        from sklearn.preprocessing import MultiLabelBinarizer  # slow

        known = frozenset(self.labels)
        targets = [known.intersection(labels) for labels in references]
        self._fit(rows, MultiLabelBinarizer(classes=self.labels).fit_transform(targets))

    @override
    def answer(self, rows: Matrix) -> LinearPredictions:
        # A single label is a binary problem, whose probabilities have a column for its absence.
        probabilities_NC = self._model.predict_proba(rows)[:, -len(self.labels) :]
        chosen = [
            [label for label, present in zip(self.labels, row, strict=True) if present]
            for row in (probabilities_NC >= 0.5).tolist()
        ]
        return LinearPredictions(chosen, list(probabilities_NC))


class NumberModel(LinearModel):
    """Ridge regression."""

    strengths: ClassVar[Sequence[float]] = (0.01, 0.1, 1.0)

    def _estimator(self) -> Any:
        from sklearn.linear_model import Ridge  # slow

        return Ridge(alpha=1 / self.strength, solver="sparse_cg")

    @override
    def fit(self, rows: Matrix, references: Sequence[float]) -> None:
        self._model = self._estimator().fit(rows, references)

    @override
    def answer(self, rows: Matrix) -> LinearPredictions:
        return LinearPredictions(self._model.predict(rows).tolist(), [])

    @property
    @override
    def parameters(self) -> int:
        return _size(self._model)


def _size(model: Any) -> int:
    """Return how many numbers a fitted model of scikit-learn holds."""
    if hasattr(model, "coef_"):
        return int(np.size(model.coef_) + np.size(model.intercept_))
    rounds = getattr(model, "_predictors", ())
    return sum(len(tree.nodes) for trees in rounds for tree in trees)


class _Dense(_OneVsRest):
    """Logistic regression on numbers of one scale."""

    strengths = (0.001, 0.01, 0.1, 1.0)

    @override
    def _estimator(self, rows: int) -> Any:
        from sklearn.linear_model import LogisticRegression  # slow

        return LogisticRegression(C=self.strength, tol=_TOLERANCE, max_iter=_ITERATIONS)


class _Trees(_OneVsRest):
    """Boosted trees over histograms. The strength is how many there are for each label.

    Ke et al., "LightGBM", NeurIPS 2017.
    https://papers.nips.cc/paper/6907-lightgbm-a-highly-efficient-gradient-boosting-decision-tree
    """

    strengths = (25, 50, 100, 200, 400)

    @override
    def _estimator(self, rows: int) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier  # slow

        return HistGradientBoostingClassifier(**tree_options(self))


class _AllLabels(Classifier):
    """All labels in one model, not one against the rest."""

    @override
    def _fit(self, rows: Matrix, targets: Any) -> None:
        if len({*targets}) > 1:
            self._model = self._estimator(rows.shape[0]).fit(rows, targets)
        else:  # scikit-learn wants two labels
            super()._fit(rows, targets)


@final
class DenseClassifier(_Dense, _AllLabels):
    """Logistic regression on numbers of one scale."""


@final
class DenseLabelSetClassifier(_Dense, LabelSetClassifier):
    """The same for every label by itself."""


@final
class TreeClassifier(_Trees, _AllLabels):
    """Boosted trees for labels."""


@final
class TreeLabelSetClassifier(_Trees, LabelSetClassifier):
    """Boosted trees for every label by itself."""


@final
class TreeNumberModel(NumberModel):
    """Boosted trees for numbers."""

    strengths = _Trees.strengths

    @override
    def _estimator(self) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor  # slow

        return HistGradientBoostingRegressor(**tree_options(self))


def tree_options(model: LinearModel) -> dict[str, Any]:
    """Return the options of boosted trees; the number of trees is chosen on validation rows."""
    return {
        "max_iter": int(model.strength),
        "early_stopping": False,
        "random_state": model.seed,
        "categorical_features": [kind in ("category", "text") for kind in model.types],
    }


TERM_MODELS: Mapping[str, type[LinearModel]] = {
    "label": Classifier,
    "labels": LabelSetClassifier,
    "number": NumberModel,
    "tags": TagClassifier,
}
"""The model over terms for every type of labels (see ``Task.label_type``)."""

NUMBER_MODELS: Mapping[str, type[LinearModel]] = {
    "label": DenseClassifier,
    "labels": DenseLabelSetClassifier,
    "number": NumberModel,
}
"""The same over numbers of one scale."""

TREE_MODELS: Mapping[str, type[LinearModel]] = {
    "label": TreeClassifier,
    "labels": TreeLabelSetClassifier,
    "number": TreeNumberModel,
}
"""The same as trees."""
