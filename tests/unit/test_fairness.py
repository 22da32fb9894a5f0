"""What is said about how strategies were treated."""

from __future__ import annotations

from typing import Any

from polytask.analysis.fairness import fairness


def result(strategy: str, tokens: int | None = 100, **notes: Any) -> dict[str, Any]:
    return {"strategy": strategy, "tokens": tokens, **notes}


def test_a_grid_that_others_did_not_have_is_said() -> None:
    static = result("static", tuning={"": {"trials": 9}})
    notes = fairness([result("joint"), static], "test")
    assert "Trained with 9 settings per model, the best on validation rows taken: static." in notes
    assert "Trained with the settings of the recipe alone: joint." in notes


def test_equal_trials_are_one_sentence() -> None:
    tuned = {"a": {"trials": 3}, "b": {"trials": 3}}
    notes = fairness([result("single", tuning=tuned), result("joint", tuning=tuned)], "test")
    assert [note for note in notes if "settings" in note] == [
        "Trained with 3 settings per model, the best on validation rows taken: single, joint."
    ]


def test_tokens_are_means_over_seeds_as_multiples_of_joint() -> None:
    results = [result("joint", 50), result("joint", 150), result("single_all", 400)]
    notes = fairness([*results, result("majority", None)], "test")
    assert notes[-1] == "Tokens trained on, as multiples of joint: single_all 4.00."


def test_operations_are_said_where_they_do_not_go_with_tokens() -> None:
    results = [result("joint", flops=100), result("single", flops=50), result("sum", flops=110)]
    notes = fairness([*results, result("single_all", 200, flops=200)], "test")
    assert notes[-1] == "Floating point operations of training, as multiples of joint: single 0.50."


def test_strategies_of_a_few_steps_are_named() -> None:
    results = [result("single", steps=30), result("single", steps=9), result("joint", steps=63)]
    [note] = [note for note in fairness([*results, result("linear")], "test") if "steps" in note]
    assert note.startswith("Some models were trained for few steps, at the least: single 9. ")


def test_fewer_passes_at_the_same_compute_are_said() -> None:
    results = [result("joint", passes=1.0), result("single", passes=0.25)]
    [note] = [
        note for note in fairness([*results, result("linear", None)], "test") if "pass" in note
    ]
    assert note == (
        "To take no more tokens than joint, single passed over the rows 0.25 times as often."
    )


def test_without_a_joint_model_tokens_are_multiples_of_another() -> None:
    notes = fairness([result("single", 150), result("sum", 100)], "test")
    assert notes[-1] == "Tokens trained on, as multiples of sum: single 1.50."


def test_coefficients_and_rows_that_others_do_not_learn_from_are_said() -> None:
    merged = result("merge_ties", coefficient=1.0, validation={"1.0": 0.5, "0.3": 0.4})
    linear = result("linear", None, strengths={"a": 1.0})
    notes = fairness([merged, linear], "test")
    assert "Coefficients tried on validation rows, without training: merge_ties 2." in notes
    assert any(note.startswith("Fitted to training") and "linear" in note for note in notes)


def test_scores_of_the_rows_that_were_selected_by_are_called_too_good() -> None:
    assert (
        fairness([result("joint")], "test")[-1:] != fairness([result("joint")], "validation")[-1:]
    )
    assert "no test rows" in fairness([result("joint")], "validation")[-1]
