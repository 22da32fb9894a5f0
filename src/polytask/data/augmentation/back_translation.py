"""Back-translation: translates texts to another language and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, final

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from polytask.data.augmentation.base import Answer, TextAugmentation, augmentations


class Hop(BaseModel):
    """A task of a finished run that generates texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    run: str = Field(description="Folder of a finished training, as seen from the working folder.")
    task: str = Field(description="Its task of kind generation.")


@final
@augmentations.register("back_translation")
class BackTranslation(TextAugmentation):
    """Copies texts by translation: trained runs translate them, the last one back.

    Sennrich, Haddow and Birch, "Improving Neural Machine Translation Models with Monolingual
    Data", ACL 2016, section 3. https://aclanthology.org/P16-1009 The paper makes sources
    for targets. Labels are assumed to stay true, as in Xie et al., "Unsupervised Data Augmentation
    for Consistency Training", NeurIPS 2020. Lists of words stay as they are.

    :param through: Tasks that translate the texts, one after the other, each with ``run``, its
        folder, and ``task``, its name.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        through: Annotated[tuple[Hop, ...], Field(min_length=1)],
    ) -> None:
        super().__init__(search)
        self._through = through

    @override
    def rewrite(self, texts: Sequence[str], answer: Answer) -> list[str]:
        written = list(texts)
        for hop in self._through:
            found = answer(hop.run, hop.task, written)
            written = [new if new.strip() else old for new, old in zip(found, written, strict=True)]
        return written
