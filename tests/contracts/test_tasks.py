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

from polytask.core.accounting import LeftOut
from polytask.core.batch import Fields, Row
from polytask.core.collated import Collated
from polytask.core.errors import DataError
from polytask.core.features import Features, TextLayout
from polytask.core.padding import pad
from polytask.core.prompts import LEARNED
from polytask.encoders import encoders
from polytask.tasks import Head, HeadContext, Task, tasks
from polytask.tasks.generation import GenerationHead
from polytask.tasks.language_head import LanguageHead
from polytask.tasks.losses import total
from polytask.tasks.preference import Preference
from polytask.tasks.spans import parse_spans

WIDTH = 6
SIZE = 4
"""Words, texts or choices of a row whose label does not say how many."""
SAID_TOKENS = 3
"""Of the tokens of a prepared row, those of a completion."""
TEXT = "ab c de"
IGNORED = -100
WITHOUT_CONFIDENCE = {
    "regression",
    "extraction",
    "embedding",
    "generation",
    "language_model",
    "instruction",
    "chat",
    "preference",
    "approval",
}
"""Task types whose predictions are numbers, vectors or texts, which have no probability."""
LEAST = {"perplexity": 1}
"""The best value of metrics of which lower is better, where that is not 0."""


@dataclass(frozen=True)
class Example:
    """Rows of a task, and how scores that know the answer look.

    :param decoded: What scores that know it are decoded to, where that is not the reference.
    """

    kind: str
    rows: Sequence[Row]
    perfect: Callable[[Task, Any], Any]
    unseen: Row | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    coupled: bool = False
    """Whether the rows of a batch are compared with each other, so that one alone has no loss."""
    decoded: Sequence[Any] | None = None
    columns: Sequence[str] = ()
    """The input columns, where they are not the usual ones."""

    def __str__(self) -> str:
        return "-".join([self.kind, *(f"{name}={value}" for name, value in self.options.items())])

    def labels_of(self, task: Task, row: int) -> int:
        """Number of labels of a row, in units of equal weight in the loss."""
        label = self.rows[row]["label"]
        if self.per_token:
            return int(task.label_counts(task.collate([targets_of(task, self)[row]])).sum())
        if self.kind == "keyphrases":
            return 2 * SIZE - 1  # all tokens but the first are of the text
        if self.kind == "relations":
            spans = len(spans_of(self.rows[row]))
            return spans * (spans - 1) if self.options.get("pairs") != "first" else 1
        return len(label) if self.per_word or self.kind == "extraction" else 1

    @property
    def per_word(self) -> bool:
        return tasks.part(self.kind).label_type in ("tags", "words", "tree")

    @property
    def per_item(self) -> bool:
        """Whether a row has a label for each item of a list, and nothing else is read."""
        return self.kind == "extraction" or (self.per_word and "tokens" not in self.rows[0])

    @property
    def per_token(self) -> bool:
        return tasks.part(self.kind).label_type in ("text", "surprisals")

    def with_options(self, **options: Any) -> Example:
        return replace(self, options={**self.options, **options})


def perfect_label(task: Task, values: Tensor) -> Tensor:
    return 30.0 * functional.one_hot(values, len(task.labels))


def perfect_labels(task: Task, values: Tensor) -> Tensor:
    return 30.0 * (2 * values - 1)


def perfect_number(task: Task, values: Tensor) -> Tensor:
    return values.unsqueeze(-1)


def perfect_tags(task: Task, values: Tensor) -> dict[str, Tensor]:
    tags_bWC = 30.0 * functional.one_hot(values.clamp(min=0), len(task.labels))
    return {"tags_bWC": tags_bWC, "kept_bW": values != IGNORED}


def perfect_choice(task: Task, values: Tensor) -> dict[str, Tensor]:
    scores_bP = 30.0 * functional.one_hot(values, SIZE)
    return {"scores_bP": scores_bP, "there_bP": torch.ones_like(scores_bP, dtype=torch.bool)}


def perfect_order(task: Task, values: Tensor) -> dict[str, Tensor]:
    return {"scores_bP": values.clone(), "there_bP": values >= 0}


def perfect_sentences(task: Task, values: Tensor) -> dict[str, Tensor]:
    return {"scores_bP": 30 * (2 * values - 1), "there_bP": values >= 0}


def perfect_edges(task: Task, values: Tensor) -> dict[str, Tensor]:
    edges_bP2L = 30.0 * functional.one_hot(values, 2 * SIZE)
    places_bPL2 = places(len(values), 2 * SIZE).unsqueeze(1)
    return {"edges_bPL2": edges_bP2L.transpose(2, 3), "places_bPL2": places_bPL2}


def perfect_phrases(task: Task, values: Tensor) -> dict[str, Tensor]:
    tags_bPLC = 30.0 * functional.one_hot(values.clamp(min=0), 3)
    return {"tags_bPLC": tags_bPLC, "places_bPL2": places(len(values), 2 * SIZE).unsqueeze(1)}


def perfect_vectors(task: Task, values: Tensor) -> dict[str, Tensor]:
    """Anchors at right angles; partners as near as their number says, other texts opposite."""
    size = len(values)
    values = values if values.ndim == 1 else torch.ones(size)
    anchors_bD = functional.one_hot(torch.arange(size), 2 * size).float()
    own_b1 = values.unsqueeze(1).clamp(0, 1)
    partners_bD = own_b1 * anchors_bD + (1 - own_b1**2).sqrt() * anchors_bD.roll(size, 1)
    vectors_bPD = torch.stack([anchors_bD, partners_bD, -anchors_bD], dim=1)
    return {"vectors_bPD": vectors_bPD, "there_bP": torch.ones(size, 3, dtype=torch.bool)}


def places(size: int, length: int) -> Tensor:
    """Places of tokens of one character each; the first token is none of the text."""
    starts_L = torch.arange(-1, length - 1)
    return torch.stack([starts_L, torch.where(starts_L < 0, -1, starts_L + 1)], -1).repeat(
        size, 1, 1
    )


def perfect_pairs(task: Task, values: Tensor) -> dict[str, Tensor]:
    pairs_bMMC = 30.0 * functional.one_hot(values.clamp(min=0), len(task.labels) + 1)
    return {"pairs_bMMC": pairs_bMMC, "kept_bMM": values != IGNORED}


def opposite(scores: Any) -> Any:
    """Scores that are as wrong as they can be."""
    if not isinstance(scores, dict):
        return -scores
    if "vectors_bPD" in scores:
        return {**scores, "vectors_bPD": scores["vectors_bPD"].flip(1)}
    if "logs_bP" in scores:
        logs_bP = scores["logs_bP"]
        return {**scores, "logs_bP": logs_bP.flip(1) if logs_bP.shape[1] > 1 else -30 - logs_bP}
    if "nats_bK" in scores:
        return {**scores, "nats_bK": torch.ones_like(scores["nats_bK"])}
    return {name: -part if part.is_floating_point() else part for name, part in scores.items()}


def perfect_chain(task: Task, values: Tensor) -> dict[str, Tensor]:
    states = len(task.labels) + 1
    return {**perfect_tags(task, values), "moves_bSS": torch.zeros(len(values), states, states)}


def perfect_tree(task: Task, values: dict[str, Tensor]) -> dict[str, Tensor]:
    heads_bW, relations_bW = values["heads_bW"], values["relations_bW"]
    arcs_bWH = 30.0 * functional.one_hot(heads_bW.clamp(min=0), heads_bW.shape[1] + 1)
    relations_bWR = 30.0 * functional.one_hot(relations_bW.clamp(min=0), len(task.labels))
    return {
        "arcs_bWH": arcs_bWH,
        "sides_bWRK": relations_bWR.unsqueeze(-1),
        "heads_bHK": torch.ones(len(heads_bW), heads_bW.shape[1] + 1, 1),
        "kept_bW": heads_bW != IGNORED,
    }


def perfect_text(task: Task, values: Tensor) -> dict[str, Tensor]:
    return {"logits_bTV": 30.0 * functional.one_hot(values, task.head_shape["subwords"])}


def perfect_costs(task: Task, values: Tensor) -> dict[str, Tensor]:
    kept_bK = torch.arange(int(values.max())) < values.unsqueeze(1)
    costs = {"nats_bK": torch.zeros(kept_bK.shape), "kept_bK": kept_bK}
    return {**costs, "weights_bK": kept_bK.float()}


def perfect_completion(task: Task, values: Tensor) -> dict[str, Tensor]:
    written_bZ = pad([[*f" {text}".encode()] for text in WANTED], -1)
    return {**perfect_costs(task, values), "written_bZ": written_bZ}


def perfect_option(task: Task, values: Tensor) -> dict[str, Tensor]:
    scores_bP = torch.tensor([[0.0, -30], [-30, 0], [0, -30]])
    there_bP = torch.ones_like(scores_bP, dtype=torch.bool)
    return {**perfect_costs(task, values), "scores_bP": scores_bP, "there_bP": there_bP}


def perfect_preference(task: Task, values: Tensor) -> dict[str, Tensor]:
    logs_bP = torch.tensor([[0.0, -30.0]]).expand(len(values), 2)
    return {"logs_bP": logs_bP, "tokens_bP": torch.full_like(logs_bP, 2)}


def perfect_approval(task: Task, values: Tensor) -> dict[str, Tensor]:
    logs_bP = 30 * (values[:, :1] - 1)
    return {"logs_bP": logs_bP, "tokens_bP": torch.full_like(logs_bP, 2)}


def rows(*labels: Any) -> list[Row]:
    return [{"text": "t", "label": label} for label in labels]


def said(*answers: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"text": text, "start": start} for text, start in answers]


def related(head: object, tail: object, kind: str) -> dict[str, Any]:
    return {"head": head, "tail": tail, "type": kind}


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
SPAN = Example(
    "span", rows(said(("b c", 1)), said(), said((TEXT, 0)), said(("e", 6))), perfect_edges
)
PHRASES = Example(
    "keyphrases",
    [{"text": TEXT, "label": label} for label in (["ab c", "de"], ["c"], [], ["ab", "c de"])],
    perfect_phrases,
)
CHOICE = Example("multiple_choice", rows(0, "2", 3), perfect_choice)
RANKING = Example("ranking", rows([0, 1, 0], [1, 0.5, 2, 0], [1, 0]), perfect_order)
EXTRACTION = Example("extraction", rows([0, 1, 0], [1], [0, 1, 1, 0]), perfect_sentences)
EMBEDDING = Example(
    "embedding",
    rows(0, 1, 0.5, 0.75),
    perfect_vectors,
    options={"loss": "cosine"},
)
PARTNERS = Example("embedding", rows(1, 1, 1), perfect_vectors, coupled=True)
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
RELATIONS = Example(
    "relations",
    [
        {"tags": ["B-a", "I-a", "O", "B-b"], "label": [related(1, 3, "x"), related(3, 1, "y")]},
        {"tags": [[0, 1], [1, 3], [3, 4]], "label": [related([3, 4], [1, 3], "x")]},
        {"tags": ["B-a", "O", "B-a", "O"], "label": []},
    ],
    perfect_pairs,
)
RELATION = replace(
    RELATIONS,
    rows=[{"tags": [[2, 4], [0, 1]], "label": label} for label in ("x", "no", "y", 1)],
    options={"pairs": "first", "negative": "no"},
)
GENERATION = Example(
    "generation",
    rows("ein Hund", ["eine Katze", "Katze"], "你好, zwei Hunde"),
    perfect_text,
    decoded=["ein Hund", "eine Katze", "你好, zwei Hunde"],
    options={
        "vocabulary": 300,
        "layers": 1,
        "width": 8,
        "heads": 2,
        "max_tokens": 24,
        "dropout": 0.0,
    },
)
CAUSAL = Example(
    "language_model",
    rows(["a", "b", "c"], "a text", ["a", "b"]),
    perfect_costs,
    decoded=[[0.0] * 5, [0.0] * 7, [0.0] * 3],
)
MASKED = replace(
    CAUSAL,
    options={"objective": "masked", "share": 0.3},
    decoded=[[0.0] * 2, [0.0] * 2, [0.0]],
)
WANTED = ["yes", "12", "你好 "]
INSTRUCTION = Example(
    "instruction",
    rows("yes", 12, "你好 "),
    perfect_completion,
    options={"max_tokens": 3},
    decoded=["yes", "12", "你好"],
)
OPTIONS = replace(
    INSTRUCTION,
    rows=rows("yes", "no", "yes"),
    perfect=perfect_option,
    options={"options": ["yes", "no"]},
    decoded=None,
)
APPROVAL = Example(
    "approval",
    [{"prompt": "p", "completion": "c", "label": label} for label in (True, False, "no")],
    perfect_approval,
    coupled=True,
    decoded=[0.0, -15.0, -15.0],
)
PREFERENCE = Example(
    "preference",
    [{"prompt": "p", "label": label, "rejected": "r"} for label in ("a", "b c", "d")],
    perfect_preference,
    decoded=[{"chosen": 0.0, "rejected": -15.0}] * 3,
    columns=("prompt", "label", "rejected"),
)
CHAT = replace(INSTRUCTION, kind="chat")
READERS = [
    GENERATION,
    CAUSAL,
    MASKED,
    INSTRUCTION,
    OPTIONS,
    CHAT,
    replace(OPTIONS, kind="chat"),
    APPROVAL,
    PREFERENCE,
    PREFERENCE.with_options(loss="orpo"),
    PREFERENCE.with_options(loss="simpo"),
    PREFERENCE.with_options(loss="ipo"),
]
WORDS = [TAGGING, CRF, FEATS, LEMMA, PARSING]
TEXTS = [SPAN, PHRASES, RELATIONS, CHOICE, RANKING, EXTRACTION, EMBEDDING]
PLAIN = [CLASSIFICATION, MULTILABEL, REGRESSION, *WORDS, *TEXTS]
EXAMPLES = [
    *PLAIN,
    *READERS,
    replace(GENERATION, options={**GENERATION.options, "beam": 2, "label_smoothing": 0.0}),
    CLASSIFICATION.with_options(pool="attention"),
    CLASSIFICATION.with_options(pool="first", hidden=5),
    CLASSIFICATION.with_options(class_weights="balanced", label_smoothing=0.1),
    CLASSIFICATION.with_options(labels=[10, 1, "no", True], class_weights={1: 3, "no": 0.5}),
    MULTILABEL.with_options(class_weights="balanced", hidden=5),
    MULTILABEL.with_options(labels=["c", "b", "a"], pool="attention"),
    REGRESSION.with_options(loss="huber", pool="attention"),
    CHOICE.with_options(names=[2, "x", 0, 3], pool="attention"),
    RANKING.with_options(loss="pairwise", pool="first", hidden=5),
    EXTRACTION.with_options(hidden=5),
    EMBEDDING.with_options(size=5, pool="attention"),
    replace(PARTNERS, coupled=False).with_options(loss="triplet", pool="first"),
    PARTNERS.with_options(size=5),
    RELATION.with_options(hidden=5),
    TAGGING.with_options(hidden=5),
    TAGGING.with_options(scheme="none"),
    CRF.with_options(scheme="none", hidden=5),
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


def new(example: Example) -> Task:
    task = tasks.build({"kind": example.kind, "target": "label", **example.options}, "t")
    task.set_columns(example.columns or task.inputs.columns)
    return task


def fitted(example: Example) -> tuple[Task, list[Any]]:
    task = new(example)
    task.fit([task.training_label(row) for row in example.rows])
    return task, [task.reference(row) for row in example.rows]


def words(size: int) -> dict[str, Any]:
    """A prepared row of that many words, two tokens each."""
    ids = list(range(10, 10 + 2 * size))
    learned = [0.0] * (len(ids) - SAID_TOKENS) + [1.0] * SAID_TOKENS
    return {"words": list(range(0, 2 * size, 2)), "ids": ids, LEARNED: learned}


def size_of(row: Row) -> int:
    """Number of words of a row."""
    label = row["label"]
    counted = isinstance(label, list) and label and not isinstance(label[0], dict)
    counted = counted and row.get("text") != TEXT
    return len(label) if counted else SIZE


def spans_of(row: Row) -> list[list[int]]:
    return parse_spans(row["tags"]) if "tags" in row else [[0, 1]]


def fields_of(row: Row) -> Fields:
    """The input columns of a row."""
    if "tags" in row:
        return (["w"] * SIZE, spans_of(row))
    return (row["tokens"],) if "tokens" in row else ("q", TEXT)


def fields_of_all(example: Example) -> list[Fields]:
    """The input columns of all rows of an example."""
    if example.per_item:
        return [(["w"] * size_of(row),) for row in example.rows]
    return [*map(fields_of, example.rows)]


def prepared(row: Row, place: int = 0) -> dict[str, Any]:
    """A row with words, texts and places of tokens, for tasks of all kinds.

    :param place: That of the row, which tells its texts from those of other rows.
    """
    starts_L, ends_L = places(1, 2 * SIZE)[0].T.tolist()
    size = size_of(row)
    text = {"starts": starts_L, "ends": ends_L}
    texts = [{**words(size), **text, "ids": [place, at]} for at in range(size)]
    return {**words(size), **text, "spans": spans_of(row), "texts": texts}


def inputs_of(task: Task, row: Row, place: int = 0) -> dict[str, Any]:
    inputs = prepared(row, place)
    return inputs if task.inputs.read_as != "joined" else {**inputs, "texts": None}


def targets_of(task: Task, example: Example) -> list[Any]:
    return [
        task.encode(task.training_label(row), inputs_of(task, row, place))
        for place, row in enumerate(example.rows)
    ]


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
    read_as = tasks.part(example.kind).inputs.read_as
    texts = 1 if read_as == "joined" else width
    places_BL2 = places(len(sizes), 2 * width).masked_fill(~mask_BL.unsqueeze(-1), -1)
    spans = [spans_of(example.rows[row]) for row in chosen]
    spans_BM2 = torch.full((len(sizes), max(map(len, spans)) + padding, 2), -1)
    for place, own in enumerate(spans):
        spans_BM2[place, : len(own)] = torch.tensor(own)
    tokens_BLD.requires_grad_()  # as the features of an encoder
    layout = TextLayout(words_BW, places_BL2, spans_BM2)
    if example.kind == "preference":  # two answers, each a text
        tokens_BLD = torch.cat([tokens_BLD, -tokens_BLD], 1).detach().requires_grad_()
        return Features(tokens_BLD, torch.cat([mask_BL, mask_BL], 1), layout, 2)
    return Features(tokens_BLD, mask_BL, layout, texts)


def reading_of(task: Task, features: Features, values: Any | None) -> HeadContext:
    """What a head reads beside features: every row is the ids 10, 11, ..."""

    def encode(inputs: Collated) -> Features:
        added = inputs["ids"].shape[1] - features.mask_BL.shape[1]
        tokens_BLD = functional.pad(features.tokens_BLD, (0, 0, 0, added))
        return Features(tokens_BLD, functional.pad(features.mask_BL, (0, added)))

    assert features.words_BW is not None
    lengths_b = (features.words_BW >= 0).sum(1) * 2
    shape = tuple(features.mask_BL.shape)
    if isinstance(task, Preference):
        lengths_b, shape = lengths_b.repeat_interleave(2), (2 * shape[0], shape[1] // 2)
    ids_bL = torch.arange(10, 10 + shape[1]).expand(shape)
    left_bL = lengths_b.unsqueeze(1) - torch.arange(ids_bL.shape[1])
    learned_bL = ((left_bL > 0) & (left_bL <= SAID_TOKENS)).float()
    inputs = Collated(ids=ids_bL, lengths=lengths_b, learned=learned_bL)
    return HeadContext(task.name, inputs, values, encode)


def scores_of(task: Task, head: Head, features: Features, values: Any | None = None) -> Any:
    return head(features, *[reading_of(task, features, values)] * head.reads_rows)


def loss_of(
    task: Task, head: Head, example: Example, chosen: Sequence[int], padding: int = 0
) -> Tensor:
    targets = targets_of(task, example)
    values = task.collate([targets[row] for row in chosen])
    return total(
        task.loss(scores_of(task, head, features_of(example, chosen, padding), values), values)
    )


def perfect_predictions(task: Task, example: Example) -> list[Any]:
    values = task.collate(targets_of(task, example))
    return task.decode(example.perfect(task, values), fields_of_all(example)).labels


def new_head(task: Task) -> Head:
    torch.manual_seed(0)
    head = task.head(WIDTH)
    sizes = {"layers": 1, "width": WIDTH, "heads": 1, "causal": True, "vocabulary": 300}
    encoder = encoders.build({"kind": "transformer", **sizes}, ())
    encoder.fit([(TEXT,)])
    head.bind(encoder)
    return head


def all_rows(example: Example) -> list[int]:
    return list(range(len(example.rows)))


def test_every_task_type_has_an_example() -> None:
    assert {example.kind for example in EXAMPLES} == set(tasks.kinds())


@every_example
def test_perfect_scores_decode_to_the_references(example: Example) -> None:
    task, references = fitted(example)
    decoded = perfect_predictions(task, example)
    if example.kind == "regression":
        assert decoded == pytest.approx(references, rel=1e-5)
    elif example.kind == "embedding":
        cosines = [sum(a * b for a, b in zip(*own[:2], strict=True)) for own in decoded]
        assert cosines == pytest.approx(references, abs=1e-5)
    elif isinstance(decoded[0], list) and isinstance(decoded[0][0], float):
        expected = example.decoded or references
        assert [pytest.approx(own, abs=1e-6) for own in expected] == decoded
    else:
        assert decoded == (example.decoded or references)


@every_example
def test_perfect_scores_cost_less_than_their_opposite(example: Example) -> None:
    task, _ = fitted(example)
    values = task.collate(targets_of(task, example))
    perfect = example.perfect(task, values)
    assert total(task.loss(perfect, values)) < total(task.loss(opposite(perfect), values))


@every_example
def test_the_loss_is_the_mean_over_labels_whatever_the_padding(example: Example) -> None:
    task, _ = fitted(example)
    head = new_head(task).eval()
    alone = [loss_of(task, head, example, [row]).item() for row in all_rows(example)]
    counts = [example.labels_of(task, row) for row in all_rows(example)]
    mean = sum(loss * count for loss, count in zip(alone, counts, strict=True)) / sum(counts)
    if example.coupled:
        mean = loss_of(task, head, example, all_rows(example)[::-1]).item()
    assert loss_of(task, head, example, all_rows(example)).item() == pytest.approx(mean, rel=1e-5)
    padded = loss_of(task, head, example, all_rows(example), padding=3)
    assert padded.item() == pytest.approx(mean, rel=1e-5)


def without_last_word(features: Features) -> Features:
    """Features of an encoder that has cut off the last word of the first row."""
    assert features.words_BW is not None
    words_BW = features.words_BW.clone()
    words_BW[0, max(int((words_BW[0] >= 0).sum()) - 1, 1) :] = -1
    return replace(features, layout=replace(features.text, words_BW=words_BW))


@every_example
@pytest.mark.parametrize("cut", [False, True])
def test_a_row_with_weight_two_is_that_row_twice(example: Example, cut: bool) -> None:
    task, _ = fitted(example)
    assert task.couples_rows == example.coupled
    if example.coupled:
        return
    targets, found = targets_of(task, example), {}
    for name, chosen in (("weighted", all_rows(example)), ("repeated", [0, *all_rows(example)])):
        head = new_head(task).eval()
        features = features_of(example, chosen, padding=2)
        values = task.collate([targets[row] for row in chosen])
        read = without_last_word(features) if cut else features
        if cut and name == "repeated":  # the first row is there twice
            assert read.words_BW is not None
            words_BW = read.words_BW[[0, 0, *range(2, len(chosen))]]
            read = replace(read, layout=replace(read.text, words_BW=words_BW))
        scores = scores_of(task, head, read, values)
        weights_b = torch.tensor([2.0] + [1.0] * (len(chosen) - 1))
        weighs = name == "weighted"
        loss = (
            task.weighted_loss(scores, values, weights_b) if weighs else task.loss(scores, values)
        )
        total(loss).backward()
        found[name] = total(loss), {key: p.grad for key, p in head.named_parameters()}
    torch.testing.assert_close(found["weighted"], found["repeated"], rtol=1e-4, atol=1e-5)


@every_example
@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_missing_value_is_no_label(example: Example, missing: object) -> None:
    task, _ = fitted(example)
    assert task.reference({"label": missing}) is None
    assert task.training_label({"label": missing}) is None


@pytest.mark.parametrize(
    "example",
    [one for one in EXAMPLES if one.unseen is not None and "labels" not in one.options],
    ids=str,
)
def test_a_label_never_seen_in_training_has_no_target(example: Example) -> None:
    task, _ = fitted(example)
    assert example.unseen is not None
    label = task.training_label(example.unseen)
    assert label is not None
    assert isinstance(task.encode(label, words(1)), LeftOut)


@every_example
def test_an_absent_column_is_named_with_the_nearest_one(example: Example) -> None:
    task, _ = fitted(example)
    with pytest.raises(DataError, match=r"no column 'label'\. Did you mean 'lable'"):
        task.reference({"text": "t", "lable": 1, "_line": 3})


@every_example
def test_training_rows_without_any_label_are_refused(example: Example) -> None:
    task = tasks.build({"kind": example.kind, "target": "label"}, "t")
    with pytest.raises(DataError, match=r"task t: no training row has .* 'label'"):
        task.fit([])


@every_example
def test_the_state_survives_json(example: Example) -> None:
    task, references = fitted(example)
    again = new(example)
    again.restore(json.loads(json.dumps(task.state())))
    assert again.state() == task.state()
    assert again.labels == task.labels
    assert again.default_metrics == task.default_metrics
    assert again.head_shape == task.head_shape
    assert targets_of(again, example) == targets_of(task, example)
    head = new_head(task).eval()
    loss = loss_of(again, head, example, all_rows(example))
    assert torch.equal(loss, loss_of(task, head, example, all_rows(example)))
    scores = scores_of(task, head, features_of(example, all_rows(example)))
    found = task.decode(scores, fields_of_all(example))
    assert again.decode(scores, fields_of_all(example)).labels == found.labels
    assert len(found.labels) == len(references)


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
    values = task.collate(targets_of(task, example))
    loss = total(task.loss(scores_of(task, head, features, values), values))
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
        scores = scores_of(task, head, features_of(example, all_rows(example)))
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.05)
    found = task.decode(scores, fields_of_all(example))
    assert len(found.labels) == len(example.rows)
    for row in found.probabilities:
        assert row.dtype.name == "float64"


class Raw(nn.Module):
    """A head as a module of tensors, as exporters want it; those that write, token by token."""

    def __init__(self, head: Head, texts: int) -> None:
        super().__init__()
        self.head = head
        self.texts = texts

    def forward(
        self,
        tokens_BLD: Tensor,
        mask_BL: Tensor,
        words_BW: Tensor,
        places_BL2: Tensor,
        spans_BM2: Tensor,
    ) -> Any:
        layout = TextLayout(words_BW, places_BL2, spans_BM2)
        features = Features(tokens_BLD, mask_BL, layout, self.texts)
        if isinstance(self.head, GenerationHead):
            return self.head.decoder(words_BW.clamp(min=0), features)
        if isinstance(self.head, LanguageHead):
            return self.head.logits(tokens_BLD)
        return self.head(features)


@pytest.mark.parametrize(
    "example", [*PLAIN, *READERS, CLASSIFICATION.with_options(pool="attention")], ids=str
)
def test_the_head_exports(example: Example) -> None:
    task, _ = fitted(example)
    features = features_of(example, all_rows(example))
    model = Raw(new_head(task), features.segments).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    marks = (features.words_BW, features.offsets_BL2, features.spans_BM2)
    tensors = (features.tokens_BLD, features.mask_BL, *(one for one in marks if one is not None))
    exported = torch.export.export(model, tensors, dynamic_shapes=[{0: batch}] * 5)
    first = [tensor[:2] for tensor in tensors]
    torch.testing.assert_close(exported.module()(*first), model(*first))


@every_example
def test_the_default_metrics_measure_it(example: Example) -> None:
    task, references = fitted(example)
    made = task.label_type == "vectors" or example.decoded is not None
    perfect = perfect_predictions(task, example) if made else references
    built = task.build_metrics()
    assert len({metric.name for metric in built}) == len(built) > 0
    for metric in built:
        best = metric(references, perfect)
        lowest = LEAST.get(metric.name, 0)
        assert best == pytest.approx(1 if metric.higher_is_better else lowest)


@pytest.mark.parametrize("example", [*PLAIN, *READERS], ids=str)
def test_official_files_have_a_line_per_answer(example: Example) -> None:
    task, references = fitted(example)
    fields = [(["w"] * size_of(row),) for row in example.rows]
    lines = task.scorer_lines(references, perfect_predictions(task, example), fields)
    if example.per_word:
        assert lines.count("") == len(references)
        assert len(lines) == len(references) + sum(map(len, references))
    else:
        assert len(lines) == len(references)
    assert not any("\n" in line for line in lines)


def flat(confidences: Any) -> list[float]:
    """The numbers of nested lists, without the parts that have none."""
    if isinstance(confidences, list):
        return [number for part in confidences for number in flat(part)]
    return [] if confidences is None else [confidences]


def answered_with_confidence(task: Task, example: Example, scores: Any) -> list[tuple[Any, Any]]:
    """Final predictions, each with its confidence; none for tasks without."""
    found = task.decode(scores, fields_of_all(example))
    return [*zip(found.labels, found.confidences, strict=True)] if found.confidences else []


@every_example
def test_confidences_are_probabilities_of_the_parts_of_a_prediction(example: Example) -> None:
    task, _ = fitted(example)
    head = new_head(task).eval()
    features = features_of(example, range(len(example.rows)))
    found = answered_with_confidence(task, example, scores_of(task, head, features))
    values = task.collate(targets_of(task, example))
    known = answered_with_confidence(task, example, example.perfect(task, values))
    assert (
        bool(found)
        == bool(known)
        == (example.kind not in WITHOUT_CONFIDENCE or "options" in example.options)
    )
    for answer, confidence in found + known:
        assert all(0 <= number <= 1 + 1e-6 for number in flat(confidence))
        if isinstance(confidence, list):
            assert len(confidence) == len(answer)
    if example.kind != "ranking":  # its scores are the numbers themselves
        assert all(number > 0.999 for _, confidence in known for number in flat(confidence))
