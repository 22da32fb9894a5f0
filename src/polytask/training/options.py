"""The training options of a recipe."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

Fraction = Annotated[float, Field(ge=0, le=1)]


class OptimiserOptions(BaseModel):
    """AdamW; no decay on norms, biases and the balancer's own parameters.

    Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2.
    https://arxiv.org/abs/1711.05101
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    learning_rate: PositiveFloat = Field(
        default=3e-5,
        description="Peak rate of the encoder. The default for pretrained encoders; from "
        "scratch it is 5e-4 for transformers and 2e-3 for others.",
    )
    head_learning_rate: PositiveFloat | None = Field(
        default=None,
        description="Peak rate of everything outside the encoder; the same by default.",
    )
    task_learning_rates: Mapping[str, PositiveFloat] = Field(
        default={},
        description="Peak rate of what one task alone trains outside the encoder, such as its "
        "head, by task; head_learning_rate for the others.",
    )
    freeze_encoder_epochs: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Epochs at the start in which the encoder is not updated."
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        default=0.01, description="Share of a weight taken off per update, times its rate."
    )
    betas: tuple[Fraction, Fraction] = Field(
        default=(0.9, 0.999),
        description="Decay of the running means of the gradient and of its square.",
    )
    epsilon: PositiveFloat = Field(
        default=1e-8, description="Added to the root of the mean square, to divide by."
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="Rate of a layer, divided by the rate of the layer above it."
    )
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="How the rate falls to zero after the warm-up, if at all."
    )
    warmup: Fraction = Field(
        default=0.06, description="Share of all steps in which the rate rises."
    )
    clip: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="Largest gradient norm; 0: any."
    )


class TrainingOptions(OptimiserOptions):
    """Budgets, batches, precision, selection, checkpoints."""

    epochs: PositiveFloat = Field(default=3.0, description="Passes over the training rows.")
    steps: PositiveInt | None = Field(
        default=None, description="Optimiser updates, instead of epochs."
    )
    batch_tokens: PositiveInt = Field(
        default=4096, description="Tokens of a batch with its padding."
    )
    batch_rows: PositiveInt | None = Field(
        default=None,
        description="Most rows of a batch; with it, batch_tokens is only an upper bound.",
    )
    accumulate: PositiveInt = Field(default=1, description="Batches per step.")
    workers: NonNegativeInt = Field(
        default=0,
        description="Processes that read rows ahead, for encoders that decode images or sounds. "
        "0: a thread does. Any number gives the same batches.",
    )
    placement: Literal["rows", "tasks"] = Field(
        default="rows",
        description="What several processes share out: the rows of every batch evenly, or whole "
        "tasks, so that less is sent.",
    )
    shard: bool = Field(
        default=False,
        description="Divide parameters, optimiser and task gradients among several processes "
        "with FSDP2; the parameters are put together for each step.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="Numbers of the forward pass; auto: bf16 where the device is fast at it.",
    )
    device: str = Field(default="auto", description="auto: CUDA where there is one, else the CPU.")
    compile: bool = Field(default=False, description="Compile the model with torch.compile.")
    seed: int = Field(
        default=0, description="Decides initial weights, dropout and the order of rows."
    )
    evaluate_every: PositiveFloat = Field(default=1.0, description="Epochs between validations.")
    select: str = Field(
        default="average",
        description="What picks the best model: average, or TASK.METRIC, also of pooled tasks.",
    )
    patience: PositiveInt | None = Field(
        default=None,
        description="Validations without a better selection score before training stops.",
    )
    task_best: bool = Field(
        default=False,
        description="Also keep the model at the best validation of each task, "
        "for evaluate and predict with --task-best.",
    )
    task_patience: PositiveInt | None = Field(
        default=None,
        description="Validations without a better score of a task before it stops alone.",
    )
    not_finite: Literal["stop", "skip"] = Field(
        default="stop", description="Reaction to a loss that is NaN or infinite."
    )
    checkpoint_minutes: PositiveFloat = Field(
        default=10.0, description="Minutes between checkpoints."
    )
    checkpoint_steps: PositiveInt | None = Field(
        default=None, description="Steps between checkpoints, instead of minutes."
    )
    keep: PositiveInt = Field(default=2, description="Verified checkpoints kept.")
    trackers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = Field(
        default=(), description="Other places that the records of metrics.jsonl go to."
    )
    interference: Literal["auto"] | NonNegativeInt = Field(
        default=0,
        description="Steps between looks at how the gradients of tasks agree, kept for polytask "
        "analyse; auto: as often as adds 5 % to the time at most; 0: never.",
    )
    threads: NonNegativeInt = Field(default=0, description="CPU threads; 0: PyTorch's choice.")

    @property
    def budget(self) -> str:
        """The length of the training, for messages."""
        return f"{self.epochs:g} epochs" if self.steps is None else f"{self.steps} steps"

    def only(self, tasks: Collection[str]) -> TrainingOptions:
        """Return the options restricted to some of the tasks."""
        rates = {task: r for task, r in self.task_learning_rates.items() if task in tasks}
        return self.model_copy(update={"task_learning_rates": rates})
