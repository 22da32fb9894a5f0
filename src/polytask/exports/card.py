"""The model card of an export: tasks, scores, data and limits, from the files of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polytask.assembly.run.loaded_run import LoadedRun
from polytask.core.files import read_json

_LICENCE = "FILL-IN"


def model_card(
    run: LoadedRun,
    tasks: Sequence[str],
    left_out: Mapping[str, str],
    int8: Mapping[str, Any] | None = None,
) -> str:
    """Return the card in Markdown.

    :param tasks: Exported tasks.
    :param left_out: Other tasks, and the reason.
    :param int8: The loss by quantisation, if there is any.
    """
    facts = read_json(run.folder.facts)
    scores = read_json(run.folder.scores) if run.folder.scores.is_file() else {}
    sections = [
        f"---\nlicense: {_LICENCE}\ntags: [polytask, multi-task-learning]\n---\n\n# {run.recipe.name}",
        f"Trained with polytask {facts['versions']['polytask']}: encoder "
        f"`{run.recipe.encoder.kind}`, sharing `{run.recipe.sharing.kind}`, "
        f"{facts['parameters']:,} parameters, seed {facts['seed']}.",
        _tasks(run, tasks),
        *_left_out(left_out),
        _scores(scores),
        *_int8(int8),
        _data(facts.get("data", {})),
        _limits(run, tasks),
        f"## Licence\n\n`license: {_LICENCE}` at the top is a placeholder. Fill it in according to the "
        "licences of the data and of the pretrained model.",
    ]
    return "\n\n".join(sections) + "\n"


def _tasks(run: LoadedRun, tasks: Sequence[str]) -> str:
    rows = [
        (name, run.recipe.tasks[name].part.kind, ", ".join(run.tasks[name].labels) or "-")
        for name in tasks
    ]
    return f"## Tasks\n\n{_table(('task', 'kind', 'labels'), rows)}"


def _left_out(left_out: Mapping[str, str]) -> list[str]:
    lines = [f"- `{name}`: {reason}" for name, reason in left_out.items()]
    return ["## Tasks that are not exported\n\n" + "\n".join(lines)] if lines else []


def _scores(scores: Mapping[str, Any]) -> str:
    rows = [
        (split, task, str(own["rows"]), metric, f"{value['value']:.4f}", _interval(value))
        for split, found in scores.items()
        for task, own in found["tasks"].items()
        for metric, value in own.items()
        if isinstance(value, Mapping) and isinstance(value.get("value"), float)
    ]
    if not rows:
        return "## Scores\n\nThe run has not been scored."
    header = ("split", "task", "rows", "metric", "score", "95 % interval")
    return f"## Scores\n\n{_table(header, rows)}"


def _int8(int8: Mapping[str, Any] | None) -> list[str]:
    if int8 is None:
        return []
    rows = [
        (
            int8["split"],
            task,
            str(own["rows"]),
            own["metric"],
            f"{own['fp32']:.4f}",
            f"{own['int8']:.4f}",
            f"{own['loss']:.2f}",
        )
        for task, own in int8["tasks"].items()
    ]
    header = ("split", "task", "rows", "metric", "fp32", "int8", "points lost")
    text = "Matrix products are in int8. The scores above are from the run, in the precision of the run."
    return [f"## Quantisation\n\n{text}\n\n{_table(header, rows)}"]


def _interval(value: Mapping[str, Any]) -> str:
    low, high = value.get("low"), value.get("high")
    return "-" if low is None or high is None else f"{low:.4f} to {high:.4f}"


def _data(data: Mapping[str, Any]) -> str:
    rows = [
        (source, split, str(own["rows"]), f"`{own.get('sha256', '-')}`")
        for source, splits in data.items()
        for split, own in splits.items()
    ]
    return f"## Data\n\n{_table(('source', 'split', 'rows', 'SHA-256'), rows)}"


def _limits(run: LoadedRun, tasks: Sequence[str]) -> str:
    lines = [
        "The scores hold for data like the held-out rows above; nothing is known about other data.",
        "Of the encoder, use `last_hidden_state`: a pooler that AutoModel adds is not trained.",
        "The export was compared with the run on a few stored rows, in fp32 on a CPU.",
    ]
    if (most := getattr(run.encoder, "max_length", None)) is not None:
        lines.append(f"Texts are read up to {most} tokens. Pass `truncation=True` to pipelines.")
    kinds = {run.recipe.tasks[name].part.kind for name in tasks}
    if "multilabel" in kinds:
        found = {
            name: run.tasks[name].threshold  # type: ignore[attr-defined]
            for name in tasks
            if run.recipe.tasks[name].part.kind == "multilabel"
        }
        lines += [
            f"`{task}` predicts labels from probability {own}." for task, own in found.items()
        ]
    if "tagging" in kinds:
        lines.append(
            "A tag is that of the first token of a word. The run also repairs tags that break the "
            "scheme of spans; the export does not."
        )
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines
    )
