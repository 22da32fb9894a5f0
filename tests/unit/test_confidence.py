"""Confidences against sums over all possibilities, by hand and by torch."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from polytask.core.batch import Fields
from polytask.tasks import Predictions, Task, tasks


def fitted(kind: str, rows: list[Any], **options: Any) -> Task:
    task = tasks.build({"kind": kind, "target": "label", **options}, "t")
    task.set_columns(task.inputs.columns)
    task.fit([task.training_label({"label": label} | more) for label, more in rows])
    return task


def confident(task: Task, scores: Any, fields: list[Fields]) -> list[tuple[Any, Any]]:
    """Predictions of all rows, each with its confidence."""
    found = task.decode(scores, fields)
    return [*zip(found.labels, found.confidences, strict=True)]


def random(*shape: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_words_have_the_probability_of_their_tag_and_cut_words_none() -> None:
    task = fitted("tagging", [(["a", "b", "c"], {})])
    tags_bWC = random(1, 4, 3)
    scores = {"tags_bWC": tags_bWC, "kept_bW": torch.tensor([[True, False, True, False]])}
    [(tags, confidence)] = confident(task, scores, [(["w"] * 5,)])
    chances_WC = tags_bWC[0].double().exp() / tags_bWC[0].double().exp().sum(-1, keepdim=True)
    assert len(tags) == len(confidence) == 5
    assert [confidence[at] is None for at in range(5)] == [False, True, False, True, True]
    for at in (0, 2):
        assert confidence[at] == pytest.approx(float(chances_WC[at]["abc".index(tags[at])]))


def test_tags_of_a_chain_have_their_marginal() -> None:
    task = fitted("tagging", [(["a", "b"], {})], crf=True)
    tags_bWC, moves_bSS = random(1, 3, 2), random(1, 3, 3)
    scores = {"tags_bWC": tags_bWC, "moves_bSS": moves_bSS, "kept_bW": torch.ones(1, 3).bool()}
    weights = {}
    for path in itertools.product(range(2), repeat=3):
        moves = itertools.pairwise((2, *path, 2))
        score = sum(float(moves_bSS[0, one, other]) for one, other in moves)
        score += sum(float(tags_bWC[0, at, tag]) for at, tag in enumerate(path))
        weights[path] = torch.tensor(score).double().exp().item()
    [(tags, confidence)] = confident(task, scores, [(["w"] * 3,)])
    for at, tag in enumerate(tags):
        own = sum(weight for path, weight in weights.items() if "ab"[path[at]] == tag)
        assert confidence[at] == pytest.approx(own / sum(weights.values()), abs=1e-5)


def test_a_tag_that_a_repair_has_written_has_the_highest_probability() -> None:
    task = fitted("tagging", [(["I-x", "O"], {})], scheme="bio")  # there is no B-x to choose
    tags_bWC = torch.tensor([[[1.0, 0.0]]])
    scores = {"tags_bWC": tags_bWC, "kept_bW": torch.ones(1, 1).bool()}
    [(tags, [confidence])] = confident(task, scores, [(["w"],)])
    assert tags == ["B-x"]
    assert confidence == pytest.approx(float(tags_bWC[0, 0].softmax(-1)[0]))


def test_heads_have_their_probability() -> None:
    task = fitted("parsing", [([2, 0], {"deprel": ["x", "root"]})], target="label")
    arcs_bWH = random(1, 2, 3)
    arcs_bWH[0, 0, 1] = arcs_bWH[0, 1, 2] = torch.finfo(torch.float32).min
    scores = {
        "arcs_bWH": arcs_bWH,
        "sides_bWRK": torch.zeros(1, 2, 2, 1),
        "heads_bHK": torch.zeros(1, 3, 1),
        "kept_bW": torch.ones(1, 2).bool(),
    }
    [(arcs, confidence)] = confident(task, scores, [(["w"] * 3,)])
    for at in range(2):
        chances_H = arcs_bWH[0, at].softmax(-1)
        assert confidence[at] == pytest.approx(float(chances_H[arcs[at][0]]))
    assert confidence[2] is None


@pytest.mark.parametrize("none", [True, False])
def test_answers_in_windows_have_the_product_of_start_and_end(none: bool) -> None:
    rows: list[Any] = [([{"text": "a", "start": 0}], {}), *[([], {})][:none]]
    task = fitted("span", [(label, {"context": "abcd"}) for label, _ in rows], max_tokens=2)
    # Two windows of a text of four letters: a b c, and c d; the first token is of no text.
    starts = torch.tensor([[-1, 0, 1, 2], [-1, 2, 3, -1]])
    places_PL2 = torch.stack([starts, torch.where(starts < 0, -1, starts + 1)], -1)
    edges_PL2 = random(2, 4, 2)
    scores = {"edges_bPL2": edges_PL2[None], "places_bPL2": places_PL2[None]}
    [(answers, confidence)] = confident(task, scores, [("q", "abcd")])
    ends: list[dict[int, float]] = [{}, {}]
    worst = min(range(2), key=lambda window: float(edges_PL2[window, 0].sum()))
    for side, window, token in itertools.product(range(2), range(2), range(4)):
        place = int(starts[window, token])
        if place >= 0 or (none and token == 0 and window == worst):
            weight = float(edges_PL2[window, token, side].double().exp())
            ends[side][place] = ends[side].get(place, 0) + weight
    start = answers[0]["start"] if answers else -1
    last = start + len(answers[0]["text"]) - 1 if answers else -1
    expected = ends[0][start] / sum(ends[0].values()) * ends[1][last] / sum(ends[1].values())
    assert confidence == pytest.approx(expected)


def test_a_text_of_no_tokens_has_an_answer_of_no_probability() -> None:
    task = fitted("span", [([{"text": "a", "start": 0}], {"context": "a"})])
    scores = {"edges_bPL2": random(1, 1, 3, 2), "places_bPL2": torch.full((1, 1, 3, 2), -1)}
    assert confident(task, scores, [("q", "")]) == [([], None)]


def test_relations_keep_their_confidence_when_they_are_ordered() -> None:
    spans = [[4, 5], [0, 1], [2, 3]]
    label = [{"head": [4, 5], "tail": [0, 1], "type": "x"}, {"head": 0, "tail": 2, "type": "y"}]
    task = fitted("relations", [(label, {"tags": spans})])
    pairs_bMMC = random(1, 3, 3, 3)
    scores = {"pairs_bMMC": pairs_bMMC, "kept_bMM": torch.ones(1, 3, 3).bool()}
    [(relations, confidence)] = confident(task, scores, [(["w"] * 5, spans)])
    assert len(relations) > 1
    for one, own in zip(relations, confidence, strict=True):
        head, tail = spans.index(one["head"]), spans.index(one["tail"])
        chances_C = pairs_bMMC[0, head, tail].softmax(-1)
        assert own == pytest.approx(float(chances_C[["x", "y"].index(one["type"]) + 1]))


def test_a_phrase_of_two_places_has_the_higher_score() -> None:
    label = ["a"]
    task = fitted("keyphrases", [(label, {"text": "a b A"})])
    starts = torch.tensor([0, 2, 4])
    places_bPL2 = torch.stack([starts, starts + 1], -1)[None, None]
    tags_bPLC = torch.tensor([[[[0.0, 1, 0], [2, 0, 0], [0, 3, 0]]]])
    [(phrases, confidence)] = confident(
        task, {"tags_bPLC": tags_bPLC, "places_bPL2": places_bPL2}, [("a b A",)]
    )
    assert [phrase["text"].lower() for phrase in phrases] == ["a"]
    assert confidence == [pytest.approx(float(tags_bPLC[0, 0, 2].softmax(-1)[1]))]


@pytest.mark.parametrize("kind", ["multiple_choice", "ranking"])
def test_choices_that_are_there_share_the_probability(kind: str) -> None:
    task = fitted(kind, [(0 if kind == "multiple_choice" else [1, 0], {})])
    scores_bP = random(2, 3)
    there_bP = torch.tensor([[True, True, True], [True, True, False]])
    found = confident(task, {"scores_bP": scores_bP, "there_bP": there_bP}, [("q",)] * 2)
    for row, (answer, confidence) in enumerate(found):
        chances_P = scores_bP[row][there_bP[row]].softmax(-1)
        expected = chances_P.tolist() if kind == "ranking" else float(chances_P[int(answer)])
        assert confidence == pytest.approx(expected)


def test_the_most_probable_labels_come_first() -> None:
    chances_C = torch.tensor([0.2, 0.5, 0.05, 0.25]).double().numpy()
    found = Predictions(["b"], [chances_C], [0.5])
    assert list(found.certainty(0, "abcd")["probabilities"]) == list("abcd")
    top = found.certainty(0, "abcd", 2)
    assert top["confidence"] == 0.5
    assert list(top["probabilities"].items()) == [("b", 0.5), ("d", 0.25)]
    assert found.certainty(0, "abcd", 9)["probabilities"] == pytest.approx(
        {"b": 0.5, "d": 0.25, "a": 0.2, "c": 0.05}
    )
