"""An image encoder as a plugin has it: files are decoded, shifted and flipped at every draw."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from typing_extensions import override

from polytask.core.batch import Fields, Inputs
from polytask.core.collated import Collated
from polytask.core.columns import ColumnType, file_content
from polytask.core.encoder import Encoder
from polytask.core.features import Features
from polytask.encoders import encoders

SIZE, SHIFT = 28, 2


@encoders.register("shifted_images")
class ShiftedImages(Encoder):
    """Rows of grey images, shifted and flipped in training."""

    reads = frozenset[ColumnType]({"image"})
    width = 16

    def __init__(self, search: Sequence[Path], /) -> None:
        super().__init__()

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        self.project = nn.Linear(SIZE, self.width)

    @override
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        return [{"file": file_content(image)} for (image,) in rows]

    @override
    def read(self, inputs: Inputs, rng: np.random.Generator | None) -> Inputs:
        image_HW = np.asarray(Image.open(io.BytesIO(inputs["file"])), dtype=np.float32) / 255
        if rng is not None:
            image_HW = np.roll(image_HW, rng.integers(-SHIFT, SHIFT + 1, 2), (0, 1))
            image_HW = image_HW[:, :: rng.choice([-1, 1])]
        return {"image": image_HW}

    @override
    def num_tokens(self, inputs: Inputs) -> int:
        return SIZE

    @override
    def collate(self, rows: Sequence[Inputs]) -> Collated:
        return Collated(image=torch.from_numpy(np.stack([row["image"] for row in rows])))

    @override
    def forward(self, inputs: Collated) -> Features:
        tokens_BLD = torch.relu(self.project(inputs["image"]))
        return Features(tokens_BLD, torch.ones(tokens_BLD.shape[:2], dtype=torch.bool))

    @override
    def save(self, folder: Path) -> None: ...

    @override
    def restore(self, folder: Path) -> None:
        self.fit(())
