"""Notes that help a reader judge whether all strategies of a comparison were treated alike."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from polytask.assembly.data.loading import VALIDATION

Result = Mapping[str, Any]
BASES = ("joint", "sum", "single")
"""Tokens are compared with the first of these strategies that the comparison has."""
_FEW_STEPS = 20
_FEWER_PASSES = 0.95
_ALIKE = 1.25
"""Largest ratio of operations that counts as the same compute."""


def fairness(results: Sequence[Result], split: str) -> list[str]:
    """Return notes on tuning, steps, tokens, and the rows that are scored.

    :param results: Results of a comparison, as ``compare`` describes them.
    :param split: The split that scores are of.
    """
    fitted = *_note_fitted(results), *_without_model(results)
    trained = *_note_tuned(results), *_note_merged(results), *fitted, *_short(results)
    used = *_tokens(results), *_operations(results), *_passes(results)
    selected = (
        "Scores are of validation rows, as there are no test rows. The best step of each training "
        "was chosen by them, so they are too good."
    )
    return [*trained, *used, *([selected] if split == VALIDATION else [])]


def fewer_passes(results: Sequence[Result]) -> dict[str, float]:
    """Return the passes of strategies that saw rows less often, as a share of the joint model.

    At the same compute, several models for the same rows see them less often than one model.
    """
    passes = {result["strategy"]: result.get("passes", 1.0) for result in results}
    return {name: share for name, share in passes.items() if share < _FEWER_PASSES}


def _note_tuned(results: Sequence[Result]) -> Iterator[str]:
    trials = {
        result["strategy"]: max(model["trials"] for model in result["tuning"].values())
        for result in results
        if "tuning" in result
    }
    for count in sorted({*trials.values()}, reverse=True):
        names = ", ".join(name for name, own in trials.items() if own == count)
        yield f"Trained with {count} settings per model, the best on validation rows taken: {names}."
    untuned = [name for name in _means(results, "tokens") if name not in trials]
    if untuned:
        yield f"Trained with the settings of the recipe alone: {', '.join(untuned)}."


def _note_merged(results: Sequence[Result]) -> Iterator[str]:
    tried = {r["strategy"]: len(r["validation"]) for r in results if "validation" in r}
    if tried:
        names = ", ".join(f"{name} {count}" for name, count in tried.items())
        yield f"Coefficients tried on validation rows, without training: {names}."


def _note_fitted(results: Sequence[Result]) -> Iterator[str]:
    names = [*dict.fromkeys(result["strategy"] for result in results if "strengths" in result)]
    if names:
        yield (
            "Fitted to training rows, and after the choice of a penalty to training and "
            f"validation rows: {', '.join(names)}."
        )


def _without_model(results: Sequence[Result]) -> Iterator[str]:
    for result in results:
        for task, reason in result.get("no_model", {}).items():
            yield f"No baseline {result['strategy']} for {task}, which {reason}."


def _short(results: Sequence[Result]) -> Iterator[str]:
    """Yield a note on models with so few steps that they may have learned little."""
    fewest: dict[str, int] = {}
    for result in results:
        name, steps = result["strategy"], result.get("steps", _FEW_STEPS)
        fewest[name] = min(steps, fewest.get(name, steps))
    few = ", ".join(f"{name} {steps}" for name, steps in fewest.items() if steps < _FEW_STEPS)
    if few:
        yield (
            f"Some models were trained for few steps, at the least: {few}. They may have learned "
            "little for that alone; take smaller batches, as in training.batch_rows: 16, or more "
            "epochs."
        )


def _tokens(results: Sequence[Result]) -> Iterator[str]:
    base, ratios = _multiples(_means(results, "tokens"))
    if ratios:
        yield f"Tokens trained on, as multiples of {base}: {_list_ratios(ratios)}."


def _operations(results: Sequence[Result]) -> Iterator[str]:
    """Yield a note where operations differ more than tokens, as with heads that generate text."""
    _, tokens = _multiples(_means(results, "tokens"))
    base, ratios = _multiples(_means(results, "flops"))
    apart = {
        name: ratio
        for name, ratio in ratios.items()
        if not 1 / _ALIKE < ratio / tokens.get(name, ratio) < _ALIKE
    }
    if apart:
        yield f"Floating point operations of training, as multiples of {base}: {_list_ratios(apart)}."


def _passes(results: Sequence[Result]) -> Iterator[str]:
    by_passes: dict[str, list[str]] = {}
    for name, passes in fewer_passes(results).items():
        by_passes.setdefault(f"{passes:.2f}", []).append(name)
    for times, names in by_passes.items():
        yield (
            f"To take no more tokens than joint, {', '.join(names)} passed over the rows {times} "
            "times as often."
        )


def _means(results: Sequence[Result], cost: str) -> dict[str, float]:
    """Return a cost of the strategies that have it, mean over seeds, without tuning."""
    found: dict[str, list[float]] = {}
    for result in results:
        if result.get(cost):
            found.setdefault(result["strategy"], []).append(result[cost])
    return {name: statistics.fmean(values) for name, values in found.items()}


def _multiples(means: Mapping[str, float]) -> tuple[str | None, dict[str, float]]:
    """Return the reference strategy, and the costs of the others as multiples of it."""
    base = next((name for name in BASES if name in means), None)
    if base is None:
        return None, {}
    return base, {name: mean / means[base] for name, mean in means.items() if name != base}


def _list_ratios(ratios: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
