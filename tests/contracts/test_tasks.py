"""What every registered task type promises."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from polytask.core.batch import Row
from polytask.core.errors import DataError
from polytask.core.features import Features
from polytask.tasks import Head, Task, tasks

WIDTH = 6
IGNORED = -100


@dataclass(frozen=True)
class Example:
    """Rows of a task, and how scores that know the answer look."""

    kind: str
    rows: Sequence[Row]
    perfect: Callable[[Task, Any], Any]
    unseen: Row | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.kind, *(f"{name}={value}" for name, value in self.options.items())])

    def labels_of(self, row: int) -> int:
        """Number of labels of a row, in units of equal weight in the loss."""
        label = self.rows[row]["label"]
        return len(label) if self.per_word else 1

    @property
    def per_word(self) -> bool:
        return tasks.part(self.kind).form in ("tags", "words", "tree")

    def with_options(self, **options: Any) -> Example:
        return replace(self, options=options)


def perfect_label(task: Task, values: Tensor) -> Tensor:
    return 30.0 * functional.one_hot(values, len(task.labels))


def perfect_labels(task: Task, values: Tensor) -> Tensor:
    return 30.0 * (2 * values - 1)


def perfect_number(task: Task, values: Tensor) -> Tensor:
    return values.unsqueeze(-1)


def perfect_tags(task: Task, values: Tensor) -> dict[str, Tensor]:
    tags_bWC = 30.0 * functional.one_hot(values.clamp(min=0), len(task.labels))
    return {"tags_bWC": tags_bWC, "kept_bW": values != IGNORED}


def perfect_chain(task: Task, values: Tensor) -> dict[str, Tensor]:
    states = len(task.labels) + 1
    return {**perfect_tags(task, values), "moves_bSS": torch.zeros(len(values), states, states)}


def perfect_tree(task: Task, values: dict[str, Tensor]) -> dict[str, Tensor]:
    heads_bW, relations_bW = values["heads_bW"], values["relations_bW"]
    arcs_bWH = 30.0 * functional.one_hot(heads_bW.clamp(min=0), heads_bW.shape[1] + 1)
    relations_bWR = 30.0 * functional.one_hot(relations_bW.clamp(min=0), len(task.labels))
    relations_bWHR = relations_bWR.unsqueeze(2).expand(-1, -1, heads_bW.shape[1] + 1, -1)
    return {
        "arcs_bWH": arcs_bWH,
        "relations_bWHR": relations_bWHR,
        "kept_bW": heads_bW != IGNORED,
    }


def rows(*labels: Any) -> list[Row]:
    return [{"text": "t", "label": label} for label in labels]


CLASSIFICATION = Example(
    "classification", rows("no", 1, True, "no", 10), perfect_label, {"label": "never"}
)
MULTILABEL = Example(
    "multilabel",
    rows(["b", "a"], [], ["c"], ["a", "b", "c"]),
    perfect_labels,
    {"label": ["never"]},
)
REGRESSION = Example("regression", rows(3, "4.5", -1.25, 100), perfect_number)
TAGGING = Example(
    "tagging",
    rows(["B-x", "I-x", "O"], ["O"], ["B-x", "B-y", "I-y", "I-y"]),
    perfect_tags,
    {"label": ["B-z"]},
)
CRF = replace(TAGGING, perfect=perfect_chain, options={"crf": True})
FEATS = Example(
    "feats",
    rows(["A=1|B=2", "_", "B=1"], ["A=1"], ["B=2", "_"]),
    perfect_tags,
    {"label": ["C=1"]},
)
LEMMA = Example(
    "lemma",
    [
        {"tokens": ["Cats", "sat"], "label": ["cat", "sit"]},
        {"tokens": ["Ann", "was", "Ann's"], "label": ["Ann", "be", "Ann"]},
    ],
    perfect_tags,
    {"tokens": ["a"], "label": ["never"]},
)
PARSING = Example(
    "parsing",
    [
        {"label": [2, 0, 2], "deprel": ["det", "root", "punct"]},
        {"label": [0], "deprel": ["root"]},
        {"label": [2, 4, 2, 0], "deprel": ["det", "nsubj:pass", "punct", "root"]},
    ],
    perfect_tree,
)
PLAIN = [CLASSIFICATION, MULTILABEL, REGRESSION, TAGGING, CRF, FEATS, LEMMA, PARSING]
EXAMPLES = [
    *PLAIN,
    CLASSIFICATION.with_options(pool="attention"),
    CLASSIFICATION.with_options(pool="first", hidden=5),
    CLASSIFICATION.with_options(class_weights="balanced", label_smoothing=0.1),
    CLASSIFICATION.with_options(labels=[10, 1, "no", True], class_weights={1: 3, "no": 0.5}),
    MULTILABEL.with_options(class_weights="balanced", hidden=5),
    MULTILABEL.with_options(labels=["c", "b", "a"], pool="attention"),
    REGRESSION.with_options(loss="huber", pool="attention"),
    TAGGING.with_options(hidden=5),
    TAGGING.with_options(scheme="none"),
    CRF.with_options(crf=True, scheme="none", hidden=5),
    FEATS.with_options(hidden=5),
    PARSING.with_options(hidden=5, relation_hidden=4, dropout=0.0),
    Example(
        "tagging",
        rows(["B-x", "M-x", "E-x", "O", "S-y"], ["S-y", "B-x", "E-x"]),
        perfect_tags,
        {"label": ["S-z"]},
    ),
]
every_example = pytest.mark.parametrize("example", EXAMPLES, ids=str)


def fitted(example: Example) -> tuple[Task, list[Any]]:
    task = tasks.build({"kind": example.kind, **example.options}, "t")
    task.fit([task.lesson(row) for row in example.rows])
    return task, [task.reference(row) for row in example.rows]


def words(size: int) -> dict[str, list[int]]:
    """A prepared row of that many words, two tokens each."""
    return {"words": list(range(0, 2 * size, 2))}


def size_of(row: Row) -> int:
    """Number of words of a row."""
    return len(row["label"]) if isinstance(row["label"], list) and row["label"] else 2


def targets_of(task: Task, example: Example) -> list[Any]:
    return [task.encode(task.lesson(row), words(size_of(row))) for row in example.rows]


def features_of(example: Example, chosen: Sequence[int], padding: int = 0) -> Features:
    """Features of some rows that depend only on the row; padding holds large numbers."""
    sizes = [size_of(example.rows[row]) for row in chosen]
    width = max(sizes) + padding
    tokens_BLD = torch.full((len(sizes), 2 * width, WIDTH), 1e4)
    mask_BL = torch.zeros(len(sizes), 2 * width, dtype=torch.bool)
    words_BW = torch.full((len(sizes), width), -1)
    for place, (row, size) in enumerate(zip(chosen, sizes, strict=True)):
        generator = torch.Generator().manual_seed(row)
        tokens_BLD[place, : 2 * size] = torch.randn(2 * size, WIDTH, generator=generator)
        mask_BL[place, : 2 * size] = True
        words_BW[place, :size] = torch.tensor(words(size)["words"])
    return Features(tokens_BLD, mask_BL, words_BW)


def loss_of(
    task: Task, head: Head, example: Example, chosen: Sequence[int], padding: int = 0
) -> Tensor:
    targets = targets_of(task, example)
    values = task.collate([targets[row] for row in chosen])
    return task.loss(head(features_of(example, chosen, padding)), values)


def new_head(task: Task) -> Head:
    torch.manual_seed(0)
    return task.head(WIDTH)


def all_rows(example: Example) -> list[int]:
    return list(range(len(example.rows)))


def test_every_task_type_has_an_example() -> None:
    assert {example.kind for example in EXAMPLES} == set(tasks.kinds())


@every_example
def test_perfect_scores_decode_to_the_references(example: Example) -> None:
    task, references = fitted(example)
    values = task.collate(targets_of(task, example))
    decoded = task.decode(example.perfect(task, values))
    decoded = [
        task.answer(one, (row.get("tokens"),)) if task.rewrites else one
        for one, row in zip(decoded, example.rows, strict=True)
    ]
    if example.kind == "regression":
        assert decoded == pytest.approx(references, rel=1e-5)
    else:
        assert decoded == references


@every_example
def test_perfect_scores_cost_less_than_their_opposite(example: Example) -> None:
    task, _ = fitted(example)
    values = task.collate(targets_of(task, example))
    perfect = example.perfect(task, values)
    if isinstance(perfect, dict):
        opposite: Any = {
            name: scores if scores.dtype == torch.bool else -scores
            for name, scores in perfect.items()
        }
    else:
        opposite = -perfect
    assert task.loss(perfect, values) < task.loss(opposite, values)


@every_example
def test_the_loss_is_the_mean_over_labels_whatever_the_padding(example: Example) -> None:
    task, _ = fitted(example)
    head = new_head(task).eval()
    alone = [loss_of(task, head, example, [row]).item() for row in all_rows(example)]
    counts = [example.labels_of(row) for row in all_rows(example)]
    mean = sum(loss * count for loss, count in zip(alone, counts, strict=True)) / sum(counts)
    assert loss_of(task, head, example, all_rows(example)).item() == pytest.approx(mean, rel=1e-5)
    padded = loss_of(task, head, example, all_rows(example), padding=3)
    assert padded.item() == pytest.approx(mean, rel=1e-5)


@every_example
@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_missing_value_is_no_label(example: Example, missing: object) -> None:
    task, _ = fitted(example)
    assert task.reference({"label": missing}) is None
    assert task.lesson({"label": missing}) is None


@pytest.mark.parametrize(
    "example",
    [one for one in EXAMPLES if one.unseen is not None and "labels" not in one.options],
    ids=str,
)
def test_a_label_never_seen_in_training_has_no_target(example: Example) -> None:
    task, _ = fitted(example)
    assert example.unseen is not None
    lesson = task.lesson(example.unseen)
    assert lesson is not None
    assert task.encode(lesson, words(1)) is None


@every_example
def test_an_absent_column_is_named_with_the_nearest_one(example: Example) -> None:
    task, _ = fitted(example)
    with pytest.raises(DataError, match=r"no column 'label'\. Did you mean 'lable'"):
        task.reference({"text": "t", "lable": 1, "_line": 3})


@every_example
def test_training_rows_without_any_label_are_refused(example: Example) -> None:
    task = tasks.build(example.kind, "t")
    with pytest.raises(DataError, match=r"task t: no training row has .* 'label'"):
        task.fit([])


@every_example
def test_the_state_survives_json(example: Example) -> None:
    task, references = fitted(example)
    again = tasks.build({"kind": example.kind, **example.options}, "t")
    again.restore(json.loads(json.dumps(task.state())))
    assert again.state() == task.state()
    assert again.labels == task.labels
    assert again.default_metrics == task.default_metrics
    assert again.head_shape == task.head_shape
    assert targets_of(again, example) == targets_of(task, example)
    head = new_head(task).eval()
    loss = loss_of(again, head, example, all_rows(example))
    assert torch.equal(loss, loss_of(task, head, example, all_rows(example)))
    scores = head(features_of(example, all_rows(example)))
    assert again.decode(scores) == task.decode(scores)
    assert len(task.decode(scores)) == len(references)


@every_example
def test_every_parameter_of_the_head_gets_a_finite_gradient(example: Example) -> None:
    task, _ = fitted(example)
    head = new_head(task)
    loss_of(task, head, example, all_rows(example)).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@every_example
def test_a_row_without_tokens_leaves_the_head_finite(example: Example) -> None:
    task, _ = fitted(example)
    features = features_of(example, all_rows(example))
    features.mask_BL[0] = False
    head = new_head(task)
    loss = task.loss(head(features), task.collate(targets_of(task, example)))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


@every_example
def test_the_loss_is_fp32_under_autocast(example: Example) -> None:
    task, _ = fitted(example)
    head = new_head(task).eval()
    exact = loss_of(task, head, example, all_rows(example))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = loss_of(task, head, example, all_rows(example))
        scores = head(features_of(example, all_rows(example)))
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.05)
    assert len(task.decode(scores)) == len(example.rows)
    for row in task.probabilities(scores) or []:
        assert row.dtype.name == "float64"


class Raw(nn.Module):
    """A head as a module of tensors, as exporters want it."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, tokens_BLD: Tensor, mask_BL: Tensor, words_BW: Tensor) -> Any:
        return self.head(Features(tokens_BLD, mask_BL, words_BW))


@pytest.mark.parametrize(
    "example", [*PLAIN, CLASSIFICATION.with_options(pool="attention")], ids=str
)
def test_the_head_exports(example: Example) -> None:
    task, _ = fitted(example)
    model = Raw(new_head(task)).eval()
    features = features_of(example, all_rows(example))
    batch = torch.export.Dim("batch", min=1, max=64)
    tensors = (features.tokens_BLD, features.mask_BL, features.words_BW)
    exported = torch.export.export(model, tensors, dynamic_shapes=[{0: batch}] * 3)
    first = [tensor[:2] for tensor in tensors if tensor is not None]
    torch.testing.assert_close(exported.module()(*first), model(*first))


@every_example
def test_the_default_metrics_measure_it(example: Example) -> None:
    task, references = fitted(example)
    built = task.build_metrics()
    assert len({metric.name for metric in built}) == len(built) > 0
    for metric in built:
        best = metric(references, references)
        assert best == pytest.approx(1 if metric.higher_is_better else 0)


@pytest.mark.parametrize("example", PLAIN, ids=str)
def test_official_files_have_a_line_per_answer(example: Example) -> None:
    task, references = fitted(example)
    fields = [(["w"] * size_of(row),) for row in example.rows]
    lines = task.scorer_lines(references, references, fields)
    if example.per_word:
        assert lines.count("") == len(references)
        assert len(lines) == len(references) + sum(map(len, references))
    else:
        assert len(lines) == len(references)
    assert not any("\n" in line for line in lines)
