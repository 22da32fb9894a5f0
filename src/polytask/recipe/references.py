"""References between the sections of a recipe.

They are checked in plain data, so that these mistakes are reported together with all others. Values
of an unexpected type are ignored here; validation reports them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from polytask.core.errors import PolytaskError
from polytask.core.registry import Registry
from polytask.data.text import text_steps
from polytask.encoders import encoders
from polytask.recipe.mistakes import Keys, Mistake, unknown
from polytask.recipe.task_options import find_unknown_tasks, list_trained_tasks, replace_task_names
from polytask.tasks import Metric, metrics, tasks

Plain = Mapping[str, Any]
_PER_WORD = ("tags", "words", "tree")
"""Label types with one entry per word."""


def fill_references(values: Any) -> Any:
    """Return a recipe with the defaults that depend on another section.

    A task without ``from`` reads the only source, and a task without ``input`` the columns of its
    kind. Columns that a task reads as JSON get this type. The default learning rate depends on the encoder. Names of tasks in the options of parts
    become positions.
    """
    if not isinstance(values, Mapping):
        return values
    return replace_task_names(_fill_learning_rate(_fill_types(_fill_tasks(values))))


def _fill_tasks(values: Plain) -> Plain:
    sources = list(_get_mapping(values, "data"))
    only = {"from": sources} if len(sources) == 1 else {}
    sections = _sections(values, "tasks").items()
    # the keys of the recipe come last: they override the defaults
    filled = {
        name: {**only, "input": _get_default_columns(task), **task} for name, task in sections
    }
    return {**values, "tasks": {**values["tasks"], **filled}} if filled else values


def _fill_types(values: Plain) -> Plain:
    sources = dict(_get_mapping(values, "data"))
    for task in _sections(values, "tasks").values():
        kind = _part(tasks, task)
        json = (
            [column for column in kind.inputs.json if column in _names(task["input"])]
            if kind
            else []
        )
        for name in _names(task.get("from")) if json else ():
            if isinstance(source := sources.get(name), Mapping):
                types = {**dict.fromkeys(json, "json"), **_get_mapping(source, "types")}
                sources[name] = {**source, "types": types}
    return {**values, "data": sources} if sources else values


def _get_default_columns(task: Plain) -> Sequence[str]:
    kind = _part(tasks, task)
    return ["text"] if kind is None else [*kind.inputs.columns]


def _fill_learning_rate(values: Plain) -> Plain:
    encoder, training = _part(encoders, values.get("encoder")), values.get("training", {})
    if encoder is None or not isinstance(training, Mapping):
        return values
    rate = encoder.default_learning_rate(_get_mapping(values, "encoder"))
    return {**values, "training": {"learning_rate": rate, **training}}


def find_wrong_references(values: Any) -> list[Mistake]:
    """Return a mistake for every unknown name, and for all sections that do not fit together."""
    if not isinstance(values, Mapping):
        return []
    sections = _sections(values, "tasks")
    checks = (
        _find_wrong_sources,
        _find_wrong_pools,
        _find_wrong_groups,
        _find_wrong_metrics,
        _find_wrong_selection,
        _find_wrong_rates,
        _find_lost_words,
        _find_moved_options,
    )
    found = [mistake for check in checks for mistake in check(values, sections)]
    return [*found, *find_unknown_tasks(values)]


def _find_wrong_sources(values: Plain, sections: Mapping[str, Plain]) -> Iterator[Mistake]:
    """Yield a mistake for each task without data, and for each unknown source."""
    known = list(_get_mapping(values, "data"))
    # a task that start.keep holds is not trained, so it needs no data
    kept = _get_mapping(values, "start").get("keep") is True
    for name, task in sections.items():
        if task.get("from") == [] and not kept:
            text = "found an empty list, expected one entry or more."
            yield Mistake(("tasks", name, "from"), text)
        yield from _find_unknown_names(("tasks", name, "from"), task.get("from"), "data", known)


def _find_wrong_pools(values: Plain, sections: Mapping[str, Plain]) -> Iterator[Mistake]:
    """Yield a mistake for each unknown task of a pool, and for a pool with a task's name."""
    known = list(_get_mapping(values, "tasks"))
    for name, pool in _sections(values, "pooled").items():
        yield from _find_unknown_names(("pooled", name, "tasks"), pool.get("tasks"), "task", known)
        if name in known:
            yield Mistake(("pooled", name), "a task has this name. Choose another.")
        grouped = [metric.name for metric in _build_metrics([pool.get("metric")]) if metric.group]
        if grouped and pool.get("by_row") is True:
            text = f"{grouped[0]} ranks rows by one prediction, but by_row joins several."
            yield Mistake(("pooled", name, "metric"), f"{text} Remove by_row.")


def _find_wrong_groups(values: Plain, sections: Mapping[str, Plain]) -> Iterator[Mistake]:
    """Yield a mistake for each unknown task of a group, and for a task in several groups."""
    known, seen = list(_get_mapping(values, "tasks")), set[Any]()
    for index, group in enumerate(_items(_get_mapping(values, "compare").get("groups"))):
        keys = ("compare", "groups", index)
        yield from _find_unknown_names(keys, group, "task", known)
        for name in [group] if isinstance(group, str) else _items(group):
            if name in seen:
                yield Mistake(keys, f"task {name!r} is in a group already. Take it out of one.")
            seen.add(name)


def _find_wrong_metrics(values: Plain, sections: Mapping[str, Plain]) -> Iterator[Mistake]:
    """Yield a mistake for each metric that does not fit the labels of its task."""
    for name, task in sections.items():
        form = _get_label_type(task)
        for index, chosen in enumerate(_items(task.get("metrics"))):
            metric = _part(metrics, chosen)
            if metric is not None and not metric.measures(form):
                fitting = [kind for kind in metrics.kinds() if metrics.part(kind).measures(form)]
                text = f"measures {' or '.join(metric.forms)}, but the task predicts {form}."
                known = f" Choose from: {', '.join(fitting)}."
                yield Mistake(("tasks", name, "metrics", index), text + known)


def _find_wrong_selection(values: Plain, sections: Mapping[str, Plain]) -> Iterator[Mistake]:
    """Yield a mistake if training.select names a score that will not exist."""
    keys, select = ("training", "select"), _get_mapping(values, "training").get("select", "average")
    if not isinstance(select, str) or select == "average":
        return
    name, dot, metric = select.rpartition(".")
    pools = _sections(values, "pooled").items()
    chosen = {task: section.get("metrics") for task, section in sections.items()}
    chosen |= {pool: [section.get("metric")] for pool, section in pools}
    if not dot:
        text = f"found {select!r}, expected average, or TASK.METRIC such as TASK.accuracy."
        yield Mistake(keys, text)
    elif name not in chosen:
        yield Mistake(keys, unknown("task", name, list(chosen)))
    elif (known := [each.name for each in _build_metrics(chosen[name])]) and metric not in known:
        yield Mistake(keys, unknown(f"metric of {name}", metric, known))


def _find_wrong_rates(values: Plain, sections: Mapping[str, Plain]) -> Iterator[Mistake]:
    """Yield a mistake for each learning rate of an untrained task or of a shared head."""
    heads = Counter(str(task.get("head") or name) for name, task in sections.items())
    known = list_trained_tasks(values)
    for name in _get_mapping(_get_mapping(values, "training"), "task_learning_rates"):
        keys = ("training", "task_learning_rates", name)
        if name not in known:
            yield Mistake(keys, unknown("task", name, known))
        elif heads[str(sections.get(name, {}).get("head") or name)] > 1:
            text = "shares its head with another task, and a head has one rate."
            yield Mistake(keys, f"{text} Remove it, or use head_learning_rate.")


def _find_lost_words(values: Plain, sections: Mapping[str, Plain]) -> Iterator[Mistake]:
    """Yield a mistake for each text step that drops words which have labels."""
    tagging = [name for name, task in sections.items() if _get_label_type(task) in _PER_WORD]
    for index, chosen in enumerate(_items(values.get("text"))):
        step = _part(text_steps, chosen)
        if tagging and step is not None and not step.keeps_words:
            text = f"drops words, but every word has a label in {', '.join(tagging)}. Remove it."
            yield Mistake(("text", index), text)


def _find_moved_options(values: Plain, sections: Mapping[str, Plain]) -> Iterator[Mistake]:
    """Yield a mistake for each text step before a task whose answers are character offsets."""
    kinds = {name: _part(tasks, task) for name, task in sections.items()}
    quoting = [
        name for name, kind in kinds.items() if kind is not None and kind.inputs.needs_offsets
    ]
    for index, _ in enumerate(_items(values.get("text")) if quoting else ()):
        text = (
            f"moves characters, but {', '.join(quoting)} finds answers by their place. Remove it."
        )
        yield Mistake(("text", index), text)


def _find_unknown_names(
    keys: Keys, value: Any, what: str, known: Sequence[str]
) -> Iterator[Mistake]:
    """Yield a mistake for each unknown name, of one name or of a list.

    Without known names the section that should define them is wrong itself, and reported elsewhere.
    """
    listed = {(*keys, index): name for index, name in enumerate(_items(value))}
    for place, name in ({keys: value} if isinstance(value, str) else listed).items():
        if isinstance(name, str) and known and name not in known:
            yield Mistake(place, unknown(what, name, known))


def _build_metrics(chosen: Any) -> list[Metric]:
    """Return the metrics that a recipe lists; empty unless all are valid."""
    try:  # their names and groups do not depend on the labels, which are known only with the data
        return [metrics.build(each, ()) for each in _items(chosen)]
    except (PolytaskError, ValueError):
        return []  # reported where the metric is validated


def _get_label_type(task: Plain) -> str:
    """Return the label type of a task; empty if its kind is unknown."""
    part = _part(tasks, task)
    return part.label_type if part else ""


def _part(registry: Registry[Any], chosen: Any) -> Any:
    """Return the class of a chosen part; None if its kind is unknown."""
    kind = chosen.get("kind") if isinstance(chosen, Mapping) else chosen
    return registry.part(kind) if kind in registry.kinds() else None


def _get_mapping(values: Plain, key: str) -> Plain:
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _names(value: Any) -> Sequence[Any]:
    """Return a list of names; a name alone is a list of one."""
    return [value] if isinstance(value, str) else _items(value)


def _sections(values: Plain, key: str) -> dict[str, Plain]:
    """Return the entries of a section as mappings; a bare name is a kind."""
    entries = {
        name: {"kind": entry} if isinstance(entry, str) else entry
        for name, entry in _get_mapping(values, key).items()
    }
    return {name: entry for name, entry in entries.items() if isinstance(entry, Mapping)}
