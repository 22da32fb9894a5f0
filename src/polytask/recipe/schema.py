"""The recipe: a whole experiment as one typed, validated value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveInt,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from polytask.balancing import balancers
from polytask.core.registry import Options
from polytask.data.augmentation import augmentations
from polytask.data.mixing import mixtures
from polytask.data.sources import sources
from polytask.data.splits import SplitOptions
from polytask.data.text import text_steps
from polytask.encoders import encoders
from polytask.evaluation.options import EvaluationOptions
from polytask.recipe.names import AnyTexts, Name, TaskName, Texts
from polytask.recipe.parts import Part, RecipeSection
from polytask.recipe.references import fill_references, wrong_references
from polytask.sharing import architectures
from polytask.tasks import metrics, tasks
from polytask.training.options import TrainingOptions

SourcePart: TypeAlias = Annotated[Options, Part(sources)]
TextPart: TypeAlias = Annotated[Options, Part(text_steps)]
AugmentPart: TypeAlias = Annotated[Options, Part(augmentations)]
EncoderPart: TypeAlias = Annotated[Options, Part(encoders)]
SharingPart: TypeAlias = Annotated[Options, Part(architectures)]
TaskPart: TypeAlias = Annotated[Options, Part(tasks)]
MetricPart: TypeAlias = Annotated[Options, Part(metrics)]
MixingPart: TypeAlias = Annotated[Options, Part(mixtures)]
BalancingPart: TypeAlias = Annotated[Options, Part(balancers)]

_CONFIG = ConfigDict(extra="forbid", frozen=True)


def _default(value: str | Mapping[str, Any], description: str) -> Any:
    """A default as it would be written in a recipe."""
    return Field(default=value, validate_default=True, description=description)


class SourceSection(RecipeSection):
    """One entry of ``data``: a source and how it is split."""

    part: SourcePart
    split: SplitOptions | None = Field(
        default=None, description="How to split rows that come unsplit."
    )


class AllColumns(BaseModel):
    """All columns of a source but its labels.

    :param excluded: Other columns that are left out.
    """

    model_config = _CONFIG
    excluded: AnyTexts = Field(alias="except", description="Columns that are not read.")


def _how_named(value: Any) -> str:
    return "all" if isinstance(value, Mapping | AllColumns) else "names"


InputColumns: TypeAlias = Annotated[
    Annotated[AllColumns, Tag("all")] | Annotated[Texts, Tag("names")],
    Discriminator(_how_named),
    BeforeValidator(lambda value: {"except": []} if value == "all" else value),
]


class TaskSection(RecipeSection):
    """One entry of ``tasks``: a task, where its rows come from and how it is measured."""

    part: TaskPart
    sources: AnyTexts = Field(
        alias="from",
        description="Names of its data; may be left out if there is only one. An empty list is a "
        "task that start.keep keeps.",
    )
    inputs: InputColumns = Field(
        alias="input",
        description="Columns the encoder reads; two for a pair. `all` stands for all columns but "
        "labels, `except: [...]` for all of these but some. May be left out: tokens for tags, "
        "lemmas and trees, with tags for relations, question and context for answers, else text.",
    )
    limit: PositiveInt | None = Field(default=None, description="Most training rows; None for all.")
    weight: str | None = Field(
        default=None,
        min_length=1,
        description="Column of the weights of training rows: a row with weight 2 counts as if it "
        "were there twice, one with weight 0 is left out. Scores do not weigh rows.",
    )
    metrics: tuple[MetricPart, ...] | None = Field(
        default=None,
        description="What is measured; the first one selects. None: what suits the task.",
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """The input columns; known once ``with_columns`` has looked them up."""
        assert not isinstance(self.inputs, AllColumns), "with_columns comes first"
        return self.inputs


class PooledSection(BaseModel):
    """One entry of ``pooled``: a metric over the joined predictions of several tasks."""

    model_config = _CONFIG
    tasks: Texts = Field(description="Names of the tasks whose predictions are joined.")
    metric: MetricPart = Field(description="What is measured over all of them.")
    by_row: bool = Field(
        default=False,
        description="Join what the tasks predict for the same row into one prediction, instead of "
        "taking one task's rows after the other's; with the metric exact_match, the share of rows "
        "on which all tasks are right.",
    )


class StartOptions(BaseModel):
    """What a training takes from a run before its first step."""

    model_config = _CONFIG
    run: str = Field(
        description="Folder of a finished training, as seen from the working folder. Its encoder with its vocabulary, and all "
        "parameters that fit by name and size, are where this training starts."
    )
    keep: bool = Field(
        default=False,
        description="Also hold the run's other tasks, without training anything that they read.",
    )
    freeze: bool = Field(
        default=False, description="Do not train what the encoder takes from the run."
    )
    freeze_layers: NonNegativeInt = Field(
        default=0, description="The same, for the embeddings and this many layers after them."
    )
    freeze_heads: AnyTexts = Field(
        default=(), description="Tasks whose heads, taken from the run, are not trained."
    )


class CompareOptions(BaseModel):
    """What ``polytask compare`` compares."""

    model_config = _CONFIG
    strategies: Texts = Field(
        default=("linear", "single", "joint"), description="Ways of training that are compared."
    )
    seeds: PositiveInt = Field(
        default=5, description="Paired repetitions; counted on from training.seed."
    )
    trials: NonNegativeInt = Field(
        default=0,
        description="Settings tried for every model: learning rate, options of the balancing "
        "method, static weights. The best on validation rows, with the first seed, is taken for "
        "all seeds. 0: as the recipe says.",
    )
    groups: tuple[Texts, ...] = Field(
        default=(), description="For strategy grouped: the tasks of each model."
    )


class Recipe(BaseModel):
    """Everything needed to repeat an experiment."""

    model_config = _CONFIG
    name: Name = Field(
        default="experiment", description="What to call it; by default, as its file."
    )
    data_root: str | None = Field(
        default=None, description="Folder of relative data paths; by default, that of the recipe."
    )
    data: Mapping[Name, SourceSection] = Field(
        min_length=1, description="Where rows come from, by names of your choice."
    )
    drop_leaks: bool = Field(
        default=False, description="Remove training rows that occur in validation or test."
    )
    start: StartOptions | None = Field(
        default=None, description="A run to go on from, with other data or more tasks."
    )
    text: tuple[TextPart, ...] = Field(
        default=(), description="Steps that every text goes through, in order."
    )
    augment: tuple[AugmentPart, ...] = Field(
        default=(), description="What training sees besides the rows as they are."
    )
    encoder: EncoderPart = Field(description="What turns rows into features.")
    sharing: SharingPart = _default("hard", "Which computation the tasks share.")
    tasks: Mapping[TaskName, TaskSection] = Field(
        min_length=1, description="What to predict from a row, by names of your choice."
    )
    pooled: Mapping[Name, PooledSection] = Field(
        default={}, description="Metrics over the joined predictions of several tasks, by name."
    )
    mixing: MixingPart = _default("proportional", "Which rows each step sees.")
    balancing: BalancingPart = _default("equal", "How the losses of the tasks become one update.")
    training: TrainingOptions = _default({}, "Budget, batches, optimiser, selection, checkpoints.")
    evaluation: EvaluationOptions = _default({}, "How sure the scores are.")
    compare: CompareOptions = _default({}, "What polytask compare compares.")

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        return fill_references(values)

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        mistakes = wrong_references(self.model_dump(mode="json", by_alias=True))
        if mistakes:
            text = "\n".join(map(str, mistakes))
            raise PydanticCustomError("references", "{m}", {"m": text})
        return self

    @property
    def trained(self) -> dict[str, TaskSection]:
        """The tasks that have data; the others are kept as the run had them that it starts from."""
        return {name: section for name, section in self.tasks.items() if section.sources}

    def search(self, folder: Path = Path()) -> tuple[Path, ...]:
        """The folders in which relative data paths are looked up, first match wins.

        :param folder: The folder of the recipe.
        :return: ``data_root`` or the folder, then the folder named by ``POLYTASK_DATA``, if set.
        """
        return search_folders(folder / os.path.expanduser(self.data_root or ""))


def search_folders(root: Path) -> tuple[Path, ...]:
    """Return the folders in which relative data paths are looked up; see ``Recipe.search``."""
    return tuple(Path(place) for place in (root, os.environ.get("POLYTASK_DATA")) if place)
