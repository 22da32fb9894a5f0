"""Heads as the stock classes of transformers compute them: an exact copy, or the reason why there is none.

A stock class for sequences puts a dense layer and an activation between the first token, or the mean,
and its last layer. A linear head passes them unchanged, since x = relu(x) - relu(-x), and x = gelu(x) -
gelu(-x). tanh(x) = x for the smallest x in fp32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from polytask.core.errors import RunError
from polytask.tasks import Task
from polytask.tasks.classification import Classification
from polytask.tasks.heads import Pool
from polytask.tasks.multilabel import Multilabel
from polytask.tasks.regression import Regression
from polytask.tasks.sentence import SentenceTask
from polytask.tasks.tagging import Tagging

_SCALE = 2.0**-16
"""Of tanh(x), x - x³ / 3 + …: for tokens below 10 the second term is below the precision of fp32."""

Activation = Literal["gelu", "relu", "tanh", "linear"]


@dataclass(frozen=True)
class StockHead:
    """The head of a stock class for sequences.

    :param dense: Name of its first linear layer.
    :param output: Name of its last one.
    :param activation: The function between them.
    :param pools: For each way of pooling the settings of the configuration.
    """

    dense: str
    output: str
    activation: Activation
    pools: Mapping[Pool, Mapping[str, Any]]


_FIRST: dict[Pool, dict[str, Any]] = {"first": {}}
_BERT = StockHead("bert.pooler.dense", "classifier", "tanh", _FIRST)
_ROBERTA = StockHead("classifier.dense", "classifier.out_proj", "tanh", _FIRST)
_DEBERTA = StockHead(
    "pooler.dense", "classifier", "linear", {"first": {"pooler_hidden_act": "linear"}}
)
STOCK: dict[str, StockHead] = {
    "bert": _BERT,
    "camembert": _ROBERTA,
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA,
    "distilbert": StockHead("pre_classifier", "classifier", "relu", _FIRST),
    "electra": StockHead("classifier.dense", "classifier.out_proj", "gelu", _FIRST),
    "eurobert": StockHead(
        "dense",
        "classifier",
        "gelu",
        {"first": {"classifier_pooling": "bos"}, "mean": {"classifier_pooling": "mean"}},
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}
"""Stock classes for sequences, by type of model."""

_KINDS: tuple[type[Task], ...] = (Classification, Multilabel, Regression, Tagging)
_ELSE = "Export it with --to onnx."


def refusal(task: Task, model_type: str, width: int) -> str | None:
    """Return why no stock class of transformers computes the head of a task; None if one does."""
    if type(task) not in _KINDS:
        return f"no stock class computes this kind of task. {_ELSE}"
    if isinstance(task, Tagging):
        return _tagging_refusal(task)
    assert isinstance(task, SentenceTask)
    return _sequence_refusal(task, model_type, width)


def _sequence_refusal(task: SentenceTask, model_type: str, width: int) -> str | None:
    known = STOCK.get(model_type)
    if known is None:
        return (
            f"how the stock class of a {model_type} scores a text is not known here; known are "
            f"{', '.join(STOCK)}. {_ELSE}"
        )
    if _pool(task) not in known.pools:
        return (
            f"found pool: {_pool(task)}, but the stock class of a {model_type} reads "
            f"{' or '.join(known.pools)}. Train with pool: {next(iter(known.pools))}, or export it "
            "with --to onnx."
        )
    if isinstance(task, Classification) and task.outputs == 1:
        return f"it has one label, which pipelines read as yes or no. {_ELSE}"
    return _width_refusal(task, model_type, known.activation, width)


def _pool(task: SentenceTask) -> Pool:
    """Return how a task pools tokens; none of these models reads from left to right."""
    return "mean" if task.pool == "auto" else task.pool


def _tagging_refusal(task: Tagging) -> str | None:
    if task.crf:
        return f"stock classes score each tag alone, without crf. Train with crf: false. {_ELSE}"
    if task.hidden is not None:
        return f"stock classes have no hidden layer for words. Omit hidden. {_ELSE}"
    return None


def _width_refusal(
    task: SentenceTask, model_type: str, activation: Activation, width: int
) -> str | None:
    """Return why the dense layer of a stock class cannot hold a head."""
    if task.hidden is not None:
        if activation != "gelu":
            return (
                f"it has a hidden layer with GELU, the stock class of a {model_type} one with "
                f"{activation}. Omit hidden, or export it with --to onnx."
            )
        needed = task.hidden
    else:
        needed = 2 * task.outputs if activation in ("gelu", "relu") else 0
    if needed > width:
        return f"it needs {needed} hidden units, but the stock class has {width}. {_ELSE}"
    return None


def settings_of(task: Task, model_type: str) -> dict[str, Any]:
    """Return the settings of a stock configuration for a task."""
    labels = [*task.labels] or ["number"]
    settings: dict[str, Any] = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: place for place, label in enumerate(labels)},
    }
    if isinstance(task, SentenceTask):
        kinds = {Multilabel: "multi_label", Classification: "single_label"}
        kind = kinds.get(type(task))
        settings["problem_type"] = f"{kind}_classification" if kind else "regression"
        settings |= STOCK[model_type].pools[_pool(task)]
    return settings


@torch.no_grad()
def fill_head(stock: nn.Module, task: Task, scorer: nn.Sequential, model_type: str) -> None:
    """Copy a head into a stock model.

    :param scorer: The layers of the head; see ``tasks.heads.scorer``.
    :raises RunError: If the stock model is not built as expected.
    """
    linear = [layer for layer in scorer if isinstance(layer, nn.Linear)]
    *hidden, last = [(layer.weight, layer.bias) for layer in linear]
    if isinstance(task, Regression):
        # The model scores standard numbers; the export answers in the unit of the column.
        mean, deviation = task.state()["mean"], task.state()["deviation"]
        last = last[0] * deviation, last[1] * deviation + mean
    if isinstance(task, Tagging):
        _put(_only_linear(stock), *last)
        return
    known = STOCK[model_type]
    dense, output = stock.get_submodule(known.dense), stock.get_submodule(known.output)
    assert isinstance(dense, nn.Linear)
    assert isinstance(output, nn.Linear)
    if hidden:
        _put(dense, *hidden[0])
        _put(output, *last)
    elif known.activation in ("gelu", "relu"):
        _put(dense, torch.cat([last[0], -last[0]]), torch.cat([last[1], -last[1]]))
        one_CC = torch.eye(len(last[1]))
        _put(output, torch.cat([one_CC, -one_CC], dim=1), torch.zeros_like(last[1]))
    else:
        scale = _SCALE if known.activation == "tanh" else 1.0
        _put(dense, scale * torch.eye(dense.in_features), torch.zeros(dense.in_features))
        _put(output, last[0] / scale, last[1])


def _put(layer: nn.Linear, weight_OI: Tensor, bias_O: Tensor) -> None:
    """Set a layer that may be larger: the rest is zero."""
    layer.weight.zero_()
    layer.bias.zero_()
    layer.weight[: weight_OI.shape[0], : weight_OI.shape[1]] = weight_OI
    layer.bias[: len(bias_O)] = bias_O


def _only_linear(stock: nn.Module) -> nn.Linear:
    """Return the layer of a stock class for tokens.

    :raises RunError: If its head is not one linear layer.
    """
    prefix = str(stock.base_model_prefix)
    names = [name for name, _ in stock.named_parameters() if not name.startswith(f"{prefix}.")]
    heads: Sequence[str] = sorted({name.rpartition(".")[0] for name in names})
    layer = stock.get_submodule(heads[0]) if len(heads) == 1 else None
    if isinstance(layer, nn.Linear) and layer.bias is not None:
        return layer
    raise RunError(
        f"{type(stock).__name__} scores tokens by {', '.join(heads) or 'nothing'}, expected one "
        f"linear layer with a bias. {_ELSE}"
    )
