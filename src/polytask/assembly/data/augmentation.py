"""Augmentation of training rows as a recipe asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from polytask.assembly.data.views import View
from polytask.core.batch import Fields
from polytask.core.errors import RecipeError
from polytask.data.augmentation import (
    Adversary,
    Augmentation,
    EmbeddingAugmentation,
    RowMixing,
    TextAugmentation,
    augmentations,
)
from polytask.data.augmentation.copying import Copying, TextCopying, list_word_copyings
from polytask.modeling import MultiTaskModel
from polytask.recipe import Recipe
from polytask.tasks import Task, tasks

Answer = Callable[[str, str, Sequence[str]], list[str]]

_ALONE: Mapping[type[Augmentation], str] = {
    RowMixing: "mix the rows of a batch",
    Adversary: "look at the gradients of a batch before it is learned from",
}
"""Augmentations that can be used once only, with the reason."""


@dataclass(frozen=True)
class Augmentations:
    """The augmentations of a training.

    :param copyings: What makes each changed copy of the rows.
    :param augmentable: The tasks whose labels a copy can carry (see ``Task.augment_label``).
    """

    parts: tuple[Augmentation, ...]
    copyings: tuple[Copying, ...]
    augmentable: frozenset[str]

    @classmethod
    def of(cls, recipe: Recipe, rows: Iterable[Fields], answer: Answer) -> Augmentations:
        """Return the augmentations of a recipe.

        :param rows: The training rows.
        :param answer: Returns the texts that a task of a run writes when it reads some texts.
        :raises PolytaskError: If a file or a run is missing, or parts do not go together.
        """
        parts = tuple(augmentations.build(part, recipe.search()) for part in recipe.augment)
        for shape, what in _ALONE.items():
            if sum(isinstance(part, shape) for part in parts) > 1:
                raise RecipeError([f"augment: two parts {what}; keep one of them"])
        if recipe.training.compile and any(isinstance(part, Adversary) for part in parts):
            text = "augment: a part looks at gradients, which a compiled model does not show it"
            raise RecipeError([f"{text}. Remove it, or set training.compile: false."])
        seed = recipe.training.seed
        rewriting = [part for part in parts if isinstance(part, TextAugmentation)]
        copyings = *list_word_copyings(parts, seed), *_text_copyings(rewriting, rows, seed, answer)
        kinds = {name: tasks.part(section.part.kind) for name, section in recipe.tasks.items()}
        augmentable = [
            name for name, kind in kinds.items() if kind.augment_label is not Task.augment_label
        ]
        return cls(parts, copyings, frozenset(augmentable))

    def copies(self, view: View) -> list[View]:
        """Return a view of every changed copy of its rows; none where no task can learn from them."""
        if self.augmentable.isdisjoint(view.tasks):
            return []
        return [replace(view, copying=one) for one in self.copyings]

    def with_copies(self, views: Iterable[View]) -> list[View]:
        """Return all views, each followed by the views of its copies."""
        return [each for view in views for each in (view, *self.copies(view))]

    def attach(self, model: MultiTaskModel) -> None:
        """Let a model see changed token vectors and mixed rows, while it is trained.

        :raises RecipeError: If its encoder has no token vectors to change.
        """
        for part in self.parts:
            if isinstance(part, RowMixing):
                model.mixing = part
            if isinstance(part, EmbeddingAugmentation):
                model.change_embeddings(part)
            if isinstance(part, Adversary):
                model.attack_embeddings(part)


def _text_copyings(
    parts: Sequence[TextAugmentation], rows: Iterable[Fields], seed: int, answer: Answer
) -> Iterator[TextCopying]:
    """Yield the copies of training rows that other runs write, all of them at once.

    :param rows: The training rows.
    :param seed: Decides what runs write that draw their words.
    :raises PolytaskError: If a run is missing, or has no such task.
    """
    if not parts:
        return
    texts = list(dict.fromkeys(field for row in rows for field in row if isinstance(field, str)))
    for part in parts:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            written = part.rewrite(texts, answer)
        yield TextCopying(dict(zip(texts, written, strict=True)))
