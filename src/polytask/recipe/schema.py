"""The recipe: all sections of an experiment as typed, validated values."""

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
from polytask.recipe.references import fill_references, find_wrong_references
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
    """Return a field whose default is written as in a recipe."""
    return Field(default=value, validate_default=True, description=description)


class SourceSection(RecipeSection):
    """One entry of ``data``: a source, and how to split its rows."""

    part: SourcePart
    split: SplitOptions | None = Field(
        default=None, description="How to split the rows of a source without splits."
    )


class AllColumns(BaseModel):
    """All columns of a source except its labels.

    :param excluded: Columns to leave out as well.
    """

    model_config = _CONFIG
    excluded: AnyTexts = Field(alias="except", description="Columns not to read.")


InputColumns: TypeAlias = Annotated[
    Annotated[AllColumns, Tag("all")] | Annotated[Texts, Tag("names")],
    Discriminator(lambda value: "all" if isinstance(value, Mapping | AllColumns) else "names"),
    BeforeValidator(lambda value: {"except": []} if value == "all" else value),
]


class TaskSection(RecipeSection):
    """One entry of ``tasks``: a task, the source of its rows, and its metrics."""

    part: TaskPart
    sources: AnyTexts = Field(
        alias="from",
        description="Names of its entries in data. May be left out if there is only one. An empty "
        "list is a task that start.keep keeps.",
    )
    inputs: InputColumns = Field(
        alias="input",
        description="Columns that the encoder reads; two for a pair. `all`: all columns except "
        "labels. `except: [...]`: all of these except some. Default by kind: tokens for tags, lemmas "
        "and trees, tokens and tags for relations, question and context for answers, else text.",
    )
    limit: PositiveInt | None = Field(default=None, description="Maximum training rows; None: all.")
    weight: str | None = Field(
        default=None,
        min_length=1,
        description="Column with the weights of training rows. A row with weight 2 counts twice, a "
        "row with weight 0 is left out. Scores ignore weights.",
    )
    metrics: tuple[MetricPart, ...] | None = Field(
        default=None,
        description="Metrics; the first one selects the model. None: the metrics of the kind.",
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """The input columns, after ``with_columns`` has replaced ``all`` by names."""
        assert not isinstance(self.inputs, AllColumns), "with_columns comes first"
        return self.inputs


class PooledSection(BaseModel):
    """One entry of ``pooled``: a metric over the joined predictions of several tasks."""

    model_config = _CONFIG
    tasks: Texts = Field(description="Names of the tasks whose predictions to join.")
    metric: MetricPart = Field(description="Metric of the joined predictions.")
    by_row: bool = Field(
        default=False,
        description="Join the predictions of all tasks for the same row into one prediction, instead "
        "of counting the rows of each task separately. With the metric exact_match: the share of "
        "rows on which all tasks are right.",
    )


class StartOptions(BaseModel):
    """A finished run from which training takes its first parameters."""

    model_config = _CONFIG
    run: str = Field(
        description="Folder of a finished training, relative to the working folder. Training starts "
        "from its encoder and vocabulary, and from all parameters that fit by name and size."
    )
    keep: bool = Field(
        default=False,
        description="Also keep the other tasks of the run. Parameters that they read are not trained.",
    )
    freeze: bool = Field(
        default=False, description="Do not train the encoder parameters taken from the run."
    )
    freeze_layers: NonNegativeInt = Field(
        default=0, description="Do not train the run's embeddings and this many of its layers."
    )
    freeze_heads: AnyTexts = Field(
        default=(), description="Tasks whose heads are taken from the run and not trained."
    )


class CompareOptions(BaseModel):
    """The strategies and seeds of ``polytask compare``."""

    model_config = _CONFIG
    strategies: Texts = Field(
        default=("linear", "single", "joint"), description="Strategies to compare."
    )
    seeds: PositiveInt = Field(
        default=5, description="Number of paired repetitions. The first seed is training.seed."
    )
    trials: NonNegativeInt = Field(
        default=0,
        description="Number of settings tried for every model: learning rate, options of the "
        "balancing method, static weights. The setting that is best on validation rows with the "
        "first seed is used for all seeds. 0: the settings of the recipe.",
    )
    groups: tuple[Texts, ...] = Field(
        default=(), description="Tasks of each model, for the strategy grouped."
    )


class Recipe(BaseModel):
    """Everything needed to repeat an experiment."""

    model_config = _CONFIG
    name: Name = Field(
        default="experiment", description="Name of the experiment; by default, its file name."
    )
    data_root: str | None = Field(
        default=None, description="Folder of relative data paths; by default, the recipe's folder."
    )
    data: Mapping[Name, SourceSection] = Field(
        min_length=1, description="Sources of rows, by names of your choice."
    )
    drop_leaks: bool = Field(
        default=False, description="Remove training rows that occur in validation or test."
    )
    start: StartOptions | None = Field(
        default=None, description="A finished run to start from, with other data or more tasks."
    )
    text: tuple[TextPart, ...] = Field(
        default=(), description="Steps that change every text, in order."
    )
    augment: tuple[AugmentPart, ...] = Field(
        default=(), description="Augmentations, which change or add training rows."
    )
    encoder: EncoderPart = Field(description="The encoder, which turns rows into features.")
    sharing: SharingPart = _default("hard", "Layers and parameters that the tasks share.")
    tasks: Mapping[TaskName, TaskSection] = Field(
        min_length=1, description="Labels to predict from a row, by names of your choice."
    )
    pooled: Mapping[Name, PooledSection] = Field(
        default={}, description="Metrics over the joined predictions of several tasks, by name."
    )
    mixing: MixingPart = _default("proportional", "How each step samples its rows from the tasks.")
    balancing: BalancingPart = _default("equal", "How to combine the losses of the tasks.")
    training: TrainingOptions = _default({}, "Budget, batches, optimiser, selection, checkpoints.")
    evaluation: EvaluationOptions = _default({}, "Confidence intervals of the scores.")
    compare: CompareOptions = _default({}, "Strategies and seeds of polytask compare.")

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        return fill_references(values)

    @model_validator(mode="after")
    def _check(self) -> Recipe:  # also for recipes that are made in Python, without ``load``
        mistakes = find_wrong_references(self.model_dump(mode="json", by_alias=True))
        if mistakes:
            text = "\n".join(map(str, mistakes))
            raise PydanticCustomError("references", "{m}", {"m": text})
        return self

    @property
    def trained(self) -> dict[str, TaskSection]:
        """The tasks with data; the others are kept unchanged from the run in ``start``."""
        return {name: section for name, section in self.tasks.items() if section.sources}

    def search(self, folder: Path = Path()) -> tuple[Path, ...]:
        """Return the folders in which relative data paths are looked up; the first match wins.

        :param folder: The folder of the recipe.
        :return: ``data_root`` or the folder, then the folder named by ``POLYTASK_DATA``, if set.
        """
        return get_search_folders(folder / os.path.expanduser(self.data_root or ""))


def get_search_folders(root: Path) -> tuple[Path, ...]:
    """Return the folders in which relative data paths are looked up; see ``Recipe.search``."""
    return tuple(Path(place) for place in (root, os.environ.get("POLYTASK_DATA")) if place)
