"""Three strangers that go through the loop unchanged: images, language modelling, tables.

They are also small, complete examples of an encoder and a task.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.batch import Fields, Inputs, Row
from polytask.core.capabilities import Causal, TokenTable, token_table
from polytask.core.collated import Collated
from polytask.core.columns import file_content
from polytask.core.encoder import Encoder
from polytask.core.features import Features, FrameLayout, GridLayout
from polytask.core.padding import pad
from polytask.tasks import Head, HeadContext, Predictions, Task


class Patches(Encoder):
    """An image of H × W numbers as a sequence of its rows."""

    width = 8

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        self.project = nn.Linear(len(next(iter(rows))[0][0]), self.width)

    @override
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        return [{"patches": image} for (image,) in rows]

    @override
    def num_tokens(self, inputs: Inputs) -> int:
        return len(inputs["patches"])

    @override
    def collate(self, rows: Sequence[Inputs]) -> Collated:
        return Collated(patches=torch.tensor([row["patches"] for row in rows], dtype=torch.float))

    @override
    def forward(self, inputs: Collated) -> Features:
        tokens_BLD = torch.tanh(self.project(inputs["patches"]))
        return Features(tokens_BLD, torch.ones(tokens_BLD.shape[:2], dtype=torch.bool))

    @override
    def save(self, folder: Path) -> None:
        (folder / "patch.txt").write_text(str(self.project.in_features))

    @override
    def restore(self, folder: Path) -> None:
        self.project = nn.Linear(int((folder / "patch.txt").read_text()), self.width)


class Pictures(Encoder):
    """A picture in grey, shrunk to 8 × 8 pixels, as a sequence of its rows; cropped in training."""

    reads = frozenset({"image"})
    width = 8

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        self.project = nn.Linear(8, self.width)

    @override
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        return [{"file": file_content(picture)} for (picture,) in rows]

    @override
    def read(self, inputs: Inputs, rng: np.random.Generator | None) -> Inputs:
        with Image.open(io.BytesIO(inputs["file"])) as picture:
            pixels = np.asarray(picture.convert("L").resize((10, 10)), dtype=np.float32) / 255
        top, left = (1, 1) if rng is None else rng.integers(0, 3, 2)
        return {"pixels": pixels[top : top + 8, left : left + 8]}

    @override
    def num_tokens(self, inputs: Inputs) -> int:
        return 8

    @override
    def collate(self, rows: Sequence[Inputs]) -> Collated:
        return Collated(pixels=torch.from_numpy(np.stack([row["pixels"] for row in rows])))

    @override
    def forward(self, inputs: Collated) -> Features:
        tokens_BLD = torch.tanh(self.project(inputs["pixels"]))
        return Features(tokens_BLD, torch.ones(tokens_BLD.shape[:2]).bool(), GridLayout(8, 1))

    @override
    def save(self, folder: Path) -> None: ...

    @override
    def restore(self, folder: Path) -> None:
        self.fit(())


class Sounds(Encoder):
    """The loudness of 50 stretches of a sound, as tokens."""

    reads = frozenset({"audio"})
    width = 8

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        self.project = nn.Linear(1, self.width)

    @override
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        return [{"file": file_content(sound)} for (sound,) in rows]

    @override
    def read(self, inputs: Inputs, rng: np.random.Generator | None) -> Inputs:
        with wave.open(io.BytesIO(inputs["file"])) as sound:
            samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16) / 2**15
        parts = np.array_split(samples, 50)
        return {"loudness": np.array([np.abs(part).mean() for part in parts], dtype=np.float32)}

    @override
    def num_tokens(self, inputs: Inputs) -> int:
        return 50

    @override
    def collate(self, rows: Sequence[Inputs]) -> Collated:
        return Collated(loudness=torch.from_numpy(np.stack([row["loudness"] for row in rows])))

    @override
    def forward(self, inputs: Collated) -> Features:
        tokens_BLD = torch.tanh(self.project(inputs["loudness"].unsqueeze(-1)))
        return Features(tokens_BLD, torch.ones(tokens_BLD.shape[:2]).bool(), FrameLayout(0.02))

    @override
    def save(self, folder: Path) -> None: ...

    @override
    def restore(self, folder: Path) -> None:
        self.fit(())


class Bytes(Encoder, TokenTable):
    """A causal recurrent network over the bytes of a text."""

    width = 16

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        self.table = nn.Embedding(257, self.width)
        self.recurrent = nn.GRU(self.width, self.width, batch_first=True)

    @override
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        return [{"ids": list(text.encode())} for (text,) in rows]

    @override
    def num_tokens(self, inputs: Inputs) -> int:
        return len(inputs["ids"])

    @override
    def collate(self, rows: Sequence[Inputs]) -> Collated:
        return Collated(ids=pad([row["ids"] for row in rows], 256))

    @override
    def forward(self, inputs: Collated) -> Features:
        tokens_BLD, _ = self.recurrent(self.table(inputs["ids"]))
        return Features(tokens_BLD, inputs["ids"] != 256)

    @override
    def save(self, folder: Path) -> None: ...

    @override
    def restore(self, folder: Path) -> None:
        self.fit(())

    @property
    @override
    def embedding(self) -> nn.Embedding:
        return self.table


class Cells(Encoder):
    """A table row as one token per number; a missing number is padding."""

    reads = frozenset({"number"})
    accepts_missing = True

    width = 8

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        self.columns = nn.Parameter(torch.randn(2, len(next(iter(rows))), self.width))

    @override
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        return [
            {"numbers": [c or 0.0 for c in cells], "known": [int(c is not None) for c in cells]}
            for cells in rows
        ]

    @override
    def num_tokens(self, inputs: Inputs) -> int:
        return sum(inputs["known"])

    @override
    def collate(self, rows: Sequence[Inputs]) -> Collated:
        return Collated(
            {name: torch.tensor([row[name] for row in rows]) for name in ("numbers", "known")}
        )

    @override
    def forward(self, inputs: Collated) -> Features:
        tokens_BLD = inputs["numbers"].unsqueeze(-1) * self.columns[0] + self.columns[1]
        return Features(torch.tanh(tokens_BLD), inputs["known"] > 0)

    @override
    def save(self, folder: Path) -> None:
        (folder / "columns.txt").write_text(str(self.columns.shape[1]))

    @override
    def restore(self, folder: Path) -> None:
        self.columns = nn.Parameter(
            torch.empty(2, int((folder / "columns.txt").read_text()), self.width)
        )


class NextToken(Task):
    """Predicts every token of a text from those before it; needs no label column."""

    @override
    def reference(self, row: Row) -> Any:
        return True

    @override
    def fit(self, references: Iterable[Any]) -> None: ...

    @override
    def encode(self, reference: Any, inputs: Inputs) -> Any:
        return [*inputs["ids"][1:], -100]

    @override
    def collate(self, targets: Sequence[Any]) -> Tensor:
        return pad(targets, -100)

    @override
    def head(self, width: int) -> Head:
        return TiedHead()

    @override
    def loss(self, scores: Tensor, values: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            scores.float().flatten(0, 1)[: values.numel()], values.flatten(), ignore_index=-100
        )

    @override
    def decode(self, scores: Tensor, rows: Sequence[Fields]) -> Predictions:
        return Predictions(scores.argmax(-1).tolist())

    @override
    def state(self) -> dict[str, Any]:
        return {}

    @override
    def restore(self, state: Mapping[str, Any]) -> None: ...


class TiedHead(Head):
    """Scores tokens by the encoder's own token vectors."""

    @override
    def bind(self, encoder: nn.Module) -> None:
        self.weight = table_of(encoder).weight

    @override
    def forward(self, features: Features, *context: HeadContext) -> Tensor:
        return features.tokens_BLD @ self.weight.T


def table_of(encoder: nn.Module) -> nn.Embedding:
    """Return the table of token vectors of an encoder that has one."""
    table = token_table(encoder)
    assert table is not None
    return table


def causal(encoder: nn.Module) -> Causal:
    """Return an encoder that texts are written with, as such."""
    assert isinstance(encoder, Causal)
    return encoder
