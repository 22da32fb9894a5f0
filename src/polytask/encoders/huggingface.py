"""Any text model of the transformers library.

Wolf et al., "Transformers: State-of-the-Art Natural Language Processing", EMNLP 2020.
https://arxiv.org/abs/1910.03771
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import NonNegativeInt
from torch import Tensor, nn
from typing_extensions import override

from polytask.core.batch import Fields, Inputs
from polytask.core.collated import Collated
from polytask.core.errors import RecipeError
from polytask.core.features import Features, TextLayout
from polytask.core.prompts import Detokenizer
from polytask.core.texts import texts_in
from polytask.encoders.base import encoders
from polytask.encoders.pretrained import (
    feature_model,
    layer_stack,
    longest_input,
    recompute_activations,
)
from polytask.encoders.sequences import SequenceEncoder
from polytask.encoders.subwords import Subwords
from polytask.encoders.tokens import collate_tokens, mask_of
from polytask.encoders.trial import TEXTS, try_out

if TYPE_CHECKING:
    import transformers


@encoders.register("huggingface")
class HuggingFaceEncoder(SequenceEncoder):
    """Any AutoModel: pretrained, by name or folder, or from scratch by its configuration.

    Of an encoder-decoder model it is the encoder; decoders read from left to right.

    :param search: Folders in which ``path`` and ``tokenizer`` are looked up.
    :param stride: Read a longer text, or the second of a pair, in windows of ``max_length`` that
        share this many subwords; 0: cut it. Each window is encoded by itself.
    :param freeze: Do not train the model, and switch its dropout off.
    :param freeze_layers: Do not train the embeddings and this many layers after them.
    :param gradient_checkpointing: Compute hidden states twice instead of keeping them.
    """

    def __init__(
        self,
        search: tuple[Path, ...] = (),
        /,
        *,
        stride: NonNegativeInt = 0,
        freeze: bool = False,
        freeze_layers: NonNegativeInt = 0,
        gradient_checkpointing: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(search, **options)
        self._stride = stride
        self._freeze = freeze
        self._freeze_layers = freeze_layers
        self._checkpoint = gradient_checkpointing

    @override
    def use(self, model: transformers.PreTrainedModel) -> None:
        super().use(model)
        self.config = model.config
        self.model = feature_model(model)
        self._padding = self.tokenizer.pad_token_id or 0
        self._reads_segments = getattr(self.config, "type_vocab_size", 0) > 1
        self.subwords = self._new_subwords()
        rows = [texts_in(row)[0] for row in self.prepare([(text,) for text in TEXTS])]
        trial = try_out(self.model, rows, self._read)
        self.width, self.pads = trial.width, trial.pads
        if self._checkpoint:
            recompute_activations(self.model)
        if self._freeze:
            self.model.requires_grad_(False)
        elif self._freeze_layers:
            self._freeze_lowest()

    @override
    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self._freeze and hasattr(self, "model"):
            self.model.eval()
        return self

    @override
    def prepare(self, rows: Sequence[Fields]) -> list[Inputs]:
        return self.subwords.encode(rows)

    @override
    def num_tokens(self, inputs: Inputs) -> int:
        return len(inputs["ids"])

    @override
    def collate(self, rows: Sequence[Inputs]) -> Collated:
        return collate_tokens(rows, self._padding)

    @override
    def forward(self, inputs: Collated) -> Features:
        tokens_BLD, mask_BL = self._tokens(self.model, inputs)
        return Features(tokens_BLD, mask_BL, TextLayout(inputs.get("words")))

    @property
    @override
    def layers(self) -> Sequence[nn.Module]:
        return layer_stack(self.model)

    @property
    @override
    def max_tokens(self) -> int | None:
        return longest_input(self.model)

    @property
    @override
    def embedding(self) -> nn.Embedding | None:
        table = self.model.get_input_embeddings()
        return table if isinstance(table, nn.Embedding) else None

    @property
    @override
    def mask_id(self) -> int:
        mask = self.tokenizer.mask_token_id
        return self._padding if mask is None else mask

    @property
    @override
    def special_ids(self) -> Sequence[int]:
        return (self._padding, *self.tokenizer.all_special_ids)

    @property
    @override
    def detokenizer(self) -> Detokenizer:
        return self.subwords

    def _read(self, model: transformers.PreTrainedModel, rows: Sequence[Inputs]) -> Tensor:
        return self._tokens(model, self.collate(rows))[0]

    def _tokens(
        self, model: transformers.PreTrainedModel, inputs: Collated
    ) -> tuple[Tensor, Tensor]:
        """The vectors of tokens, and which tokens are real: tokens_BLD, mask_BL."""
        mask_BL = mask_of(inputs)
        arguments = self.arguments(inputs, mask_BL)
        if self._reads_segments and "segments" in inputs:
            arguments["token_type_ids"] = inputs["segments"]
        tokens_BLD: Tensor = model(**arguments).last_hidden_state
        return tokens_BLD, mask_BL

    def _new_subwords(self) -> Subwords:
        limit = longest_input(self.model)
        if limit is not None and self._max_length > limit:
            raise RecipeError(
                [
                    f"encoder.max_length: {self._max_length} tokens asked for, but this "
                    f"{self.config.model_type} reads at most {limit}"
                ]
            )
        marks = (self.tokenizer.unk_token_id, self.tokenizer.eos_token_id, self._padding)
        empty = next(mark for mark in marks if mark is not None)
        backend = self.tokenizer.backend_tokenizer
        end = self.tokenizer.eos_token_id
        return Subwords(backend, self._max_length, empty, self._stride, end)

    def _freeze_lowest(self) -> None:
        """Freeze what is registered up to the last frozen layer: embeddings come before layers."""
        layers, count = self.layers, self._freeze_layers
        if count > len(layers):
            raise RecipeError([f"encoder.freeze_layers: {count}, but there are {len(layers)}"])
        *_, last = layers[count - 1].parameters()
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
            if parameter is last:
                return
