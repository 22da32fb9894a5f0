"""The model of an export: onnxruntime computes the scores, the tasks decode them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from polytask.core.batch import DRAW_SEED
from polytask.core.collated import Collated
from polytask.core.errors import RecipeError, RunError
from polytask.core.features import Features
from polytask.core.optional import require
from polytask.core.texts import ENDS, SPANS, STARTS
from polytask.data.augmentation import Mix
from polytask.modeling import MultiTaskModel
from polytask.sharing import Architecture
from polytask.tasks import Task

MODEL = "model.onnx"

_FILLERS = {"words": -1, "segments": 0, STARTS: -1, ENDS: -1, SPANS: -1}
"""Inputs that only some rows have, and what the others have in a batch with such rows."""

_TYPES = {"tensor(int64)": torch.int64, "tensor(float)": torch.float32, "tensor(bool)": torch.bool}


class OnnxModel(MultiTaskModel):
    """A model whose scores onnxruntime computes; its own parameters have a size, but no values.

    :param session: The session of an exported model.
    """

    def __init__(self, sharing: Architecture, tasks: Mapping[str, Task], session: Any) -> None:
        super().__init__(sharing, tasks)
        self.to("meta").eval()
        self._session = session

    @override
    def forward(
        self,
        inputs: Collated,
        rows: Mapping[str, Tensor],
        values: Mapping[str, Any] | None = None,
        mixes: Mapping[str, Mix] = MappingProxyType({}),
    ) -> dict[str, Any]:
        names = [one.name for one in self._session.get_outputs()]
        wanted = [name for name in names if name.partition(".")[0] in rows]
        found = self._session.run(wanted, self._given(inputs))
        scores: dict[str, Any] = {}
        for name, array in zip(wanted, found, strict=True):
            task, _, part = name.partition(".")
            own = torch.from_numpy(array).index_select(0, rows[task])
            scores[task] = {**scores.get(task, {}), part: own} if part else own
        return scores

    @override
    def features(self, inputs: Collated, rows: Mapping[str, Tensor]) -> dict[str, Features]:
        raise RecipeError(["vectors: an export holds scores alone. Take vectors from the run."])

    def _given(self, inputs: Collated) -> dict[str, Any]:
        """Return the inputs of the session.

        :raises RunError: If a row has inputs that the exported model does not read.
        """
        expected = self._session.get_inputs()
        given = {name: tensor for name, tensor in inputs.items() if name != DRAW_SEED}
        if other := given.keys() - {one.name for one in expected}:
            raise RunError(
                f"a row has the inputs {', '.join(sorted(other))}, which the export does not read: it "
                "has several texts, or is in windows. Answer with the run."
            )
        shapes = {one.name: one.shape for one in expected}
        # A dimension without a fixed size has a name, which inputs of equal size share.
        sizes = {
            name: size
            for key, tensor in given.items()
            for name, size in zip(shapes[key], tensor.shape, strict=True)
        }
        for one in expected:
            if one.name not in given:
                shape = _shape(one.shape, sizes, inputs.size)
                given[one.name] = torch.full(shape, _FILLERS[one.name], dtype=_TYPES[one.type])
        return {name: tensor.numpy() for name, tensor in given.items()}


def _shape(names: Sequence[Any], sizes: Mapping[Any, int], rows: int) -> list[int]:
    """Return a shape with the sizes that are known, and 1 for others."""
    return [rows, *(sizes.get(one, one if isinstance(one, int) else 1) for one in names[1:])]


def new_session(path: Path) -> Any:
    """Return onnxruntime's session for a model on the CPU.

    :raises MissingExtraError: If onnxruntime is not installed.
    """
    runtime = require("onnxruntime", part=str(path), extra="onnx")
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
