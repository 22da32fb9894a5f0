"""Strangers that go through the loop unchanged: images, sounds, language modelling, tables.

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
from polytask.core.columns import Column, file_content
from polytask.core.encoder import Encoder
from polytask.core.features import CellLayout, Features, FrameLayout, GridLayout
from polytask.core.padding import lengths_to_mask, pad
from polytask.tasks import Head, HeadContext, Predictions, Task


class Pictures(Encoder):
    """A picture in grey, shrunk to 8 × 8 pixels, as a sequence of its rows; cropped in training."""

    reads = frozenset({"image"})
    width = 8

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        self.project = nn.Linear(8, self.width)
        self.stack = _stack(self.width)

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
        for layer in self.stack:
            tokens_BLD = layer(tokens_BLD)
        return Features(tokens_BLD, torch.ones(tokens_BLD.shape[:2]).bool(), GridLayout(8, 1))

    @override
    def save(self, folder: Path) -> None: ...

    @override
    def restore(self, folder: Path) -> None:
        self.fit(())

    @property
    @override
    def layers(self) -> Sequence[nn.Module]:
        return [*self.stack]


class Sounds(Encoder):
    """The loudness of a sound, a logarithm, every 20 ms, as tokens; louder or softer in training."""

    reads = frozenset({"audio"})
    width = 8

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        self.project = nn.Linear(1, self.width)
        self.stack = _stack(self.width)

    @override
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        files = [file_content(sound) for (sound,) in rows]
        return [{"file": file, "stretches": len(_stretches(file))} for file in files]

    @override
    def read(self, inputs: Inputs, rng: np.random.Generator | None) -> Inputs:
        gain = 1.0 if rng is None else rng.uniform(0.8, 1.25)
        volumes = [gain * np.abs(part).mean() for part in _stretches(inputs["file"])]
        return {"loudness": np.log(np.array(volumes) + 1e-3)}

    @override
    def num_tokens(self, inputs: Inputs) -> int:
        stretches: int = inputs["stretches"]
        return stretches

    @override
    def collate(self, rows: Sequence[Inputs]) -> Collated:
        loudness = [row["loudness"] for row in rows]
        lengths_B = torch.tensor([*map(len, loudness)])
        return Collated(loudness=pad(loudness, 0.0, torch.float), lengths=lengths_B)

    @override
    def forward(self, inputs: Collated) -> Features:
        loudness_BL = inputs["loudness"]
        tokens_BLD = torch.tanh(self.project(loudness_BL.unsqueeze(-1)))
        for layer in self.stack:
            tokens_BLD = layer(tokens_BLD)
        mask_BL = lengths_to_mask(inputs["lengths"], loudness_BL.shape[1])
        return Features(tokens_BLD, mask_BL, FrameLayout(0.02))

    @override
    def save(self, folder: Path) -> None: ...

    @override
    def restore(self, folder: Path) -> None:
        self.fit(())

    @property
    @override
    def layers(self) -> Sequence[nn.Module]:
        return [*self.stack]


def _stack(width: int) -> nn.ModuleList:
    """Return two layers that change each token by itself."""
    return nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.GELU()) for _ in range(2))


def _stretches(file: bytes) -> list[Any]:
    """Return the samples of a WAV file with one channel of 16 bits, 20 ms each."""
    with wave.open(io.BytesIO(file)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16) / 2**15
        size = sound.getframerate() // 50
    return [samples[at : at + size] for at in range(0, len(samples), size)]


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
    """A table row as one token per number; a missing number is padding.

    A row has a token at least: where all numbers are missing, the first counts as zero.
    """

    reads = frozenset({"number"})
    accepts_missing = True
    width = 8
    names: tuple[str, ...] = ()

    @override
    def set_columns(self, columns: Sequence[Column]) -> None:
        self.names = tuple(column.name for column in columns)

    @override
    def fit(self, rows: Iterable[Fields]) -> None:
        self.columns = nn.Parameter(torch.randn(2, len(next(iter(rows))), self.width))

    @override
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        prepared = []
        for cells in rows:
            known = [int(cell is not None) for cell in cells]
            known[0] |= not any(known)
            prepared.append({"numbers": [cell or 0.0 for cell in cells], "known": known})
        return prepared

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
        return Features(torch.tanh(tokens_BLD), inputs["known"] > 0, CellLayout(self.names))

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
